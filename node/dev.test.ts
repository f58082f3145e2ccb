import { type ChildProcess, spawn } from "node:child_process";
import { EventEmitter } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { freePort } from "#transport";
import { type DevOptions, type DevSurroundings, type ManagedNats, runDev } from "./dev.ts";

const stub = fileURLToPath(new URL("./dev/stub-node.mjs", import.meta.url));
const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

let directory: string;
let lines: string[];
let signals: EventEmitter;
let natsProcess: ChildProcess;
let stoppedBeforeNats: readonly string[];
let usedDirectories: string[];
let ports: { http: number; nats: number };

beforeEach(async () => {
  directory = join(mkdtempSync(join(tmpdir(), "kvorum-dev-test-")), "data");
  lines = [];
  usedDirectories = [];
  signals = new EventEmitter();
  stoppedBeforeNats = [];
  // Two free ones in a row, for two nodes.
  ports = { http: await twoFreePorts(), nats: await freePort() };
});

afterEach(() => {
  natsProcess?.kill("SIGKILL");
  rmSync(join(directory, ".."), { recursive: true, force: true });
});

async function twoFreePorts(): Promise<number> {
  for (;;) {
    const first = await freePort();
    const second: Server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      second.once("error", () => resolve(false)).listen(first + 1, "127.0.0.1", () => resolve(true));
    });
    second.close();
    if (free) return first;
  }
}

/** A process that does nothing, in NATS's place. */
function startNats({ storeDir }: { readonly storeDir: string }): Promise<ManagedNats> {
  const usedDirectory = join(storeDir, "..");
  usedDirectories.push(usedDirectory);
  natsProcess = spawn("sleep", ["1000"]);
  return Promise.resolve({
    url: "nats://127.0.0.1:1",
    get pid() {
      return natsProcess.exitCode === null && natsProcess.signalCode === null ? natsProcess.pid : undefined;
    },
    restart: () => Promise.resolve(),
    stop() {
      stoppedBeforeNats = readdirSync(usedDirectory).filter((name) =>
        existsSync(join(usedDirectory, name, "stopped")),
      );
      natsProcess.kill();
      return Promise.resolve();
    },
  });
}

interface Given extends Partial<Omit<DevOptions, "wishes">> {
  readonly wishes?: Partial<DevOptions["wishes"]>;
  readonly environment?: NodeJS.ProcessEnv;
  readonly ephemeral?: boolean;
}

function run({ wishes, environment, ephemeral, ...given }: Given = {}): Promise<number> {
  const around: DevSurroundings = {
    kvorum: [process.execPath, stub],
    environment: { PATH: process.env["PATH"], ...environment },
    signals,
    startNats,
    say: (line) => lines.push(line),
    exitNow: () => {},
  };
  const unsaid = { shards: 2, replicas: undefined, partition: undefined };
  return runDev(
    {
      wishes: { nodes: 2, ...unsaid, httpPort: ports.http, natsPort: ports.nats, ...wishes },
      ...(ephemeral === true ? {} : { dataDir: directory }),
      fresh: false,
      restart: true,
      command: [],
      nodeFlags: [],
      ...given,
    },
    around,
  );
}

const said = (pattern: RegExp) =>
  vi.waitFor(() => expect(lines).toContainEqual(expect.stringMatching(pattern)), { timeout: 20_000 });
const pidOf = (name: string): number => Number(readFileSync(join(directory, name, "pid"), "utf8"));
const marker = () => JSON.parse(readFileSync(join(directory, "dev.json"), "utf8"));
const argumentsOf = (name: string): string[] =>
  JSON.parse(readFileSync(join(directory, name, "arguments.json"), "utf8"));

describe("a dev cluster", () => {
  it("says ready with every URL, and stops its nodes before NATS (R35)", async () => {
    const code = run();
    await said(new RegExp(`^ready {2}http://127.0.0.1:${ports.http} http://127.0.0.1:${ports.http + 1}$`));
    expect(marker()).toMatchObject({
      nodes: 2,
      shards: 2,
      replicas: 1,
      bootstrapped: true,
      pid: process.pid,
    });
    signals.emit("SIGTERM");
    expect(await code).toBe(0);
    expect(stoppedBeforeNats).toEqual(["n1", "n2"]);
    expect(marker().pid).toBe(0);
    expect(signals.listenerCount("SIGTERM")).toBe(0);
  });

  it("bootstraps its first node once in its life (R30)", async () => {
    for (const expected of [true, false]) {
      lines = [];
      const code = run();
      await said(/^ready/);
      expect(argumentsOf("n1").includes("--bootstrap")).toBe(expected);
      expect(argumentsOf("n2")).not.toContain("--bootstrap");
      signals.emit("SIGINT");
      await code;
    }
  });

  it("gives its nodes flags, not the variables meant for others", async () => {
    const code = run({
      nodeFlags: ["--host", "db.example"],
      environment: { KVORUM_HTTP: "x", KVORUM_URL: "y" },
    });
    await said(/^ready/);
    const environment = JSON.parse(readFileSync(join(directory, "n1", "environment.json"), "utf8"));
    expect(Object.keys(environment).filter((name) => name.startsWith("KVORUM_"))).toEqual(["KVORUM_STOP_FD"]);
    expect(argumentsOf("n1").slice(-2)).toEqual(["--host", "db.example"]);
    signals.emit("SIGTERM");
    await code;
  });

  it("starts a killed node again, and says both", async () => {
    const code = run();
    await said(/^ready/);
    process.kill(pidOf("n2"), "SIGKILL");
    await said(/^n2 was ended by SIGKILL$/);
    await said(/^n2 restarted, process id \d+$/);
    expect(argumentsOf("n2")).toContain(join(directory, "n2"));
    signals.emit("SIGTERM");
    expect(await code).toBe(0);
  });

  it("ends when a node is refused at its start, with the node's words", async () => {
    expect(await run({ environment: { STUB_REFUSED: "n2" } })).toBe(1);
    expect(lines).toEqual(["n2 ended with exit code 1", "n2: kvorum: this name is taken"]);
    expect(stoppedBeforeNats).toEqual(["n1"]);
  });

  it("leaves a dead node alone when told so", async () => {
    const code = run({ restart: false });
    await said(/^ready/);
    process.kill(pidOf("n2"), "SIGKILL");
    await said(/^n2 was ended by SIGKILL$/);
    signals.emit("SIGTERM");
    expect(await code).toBe(0);
    expect(lines.some((line) => line.includes("restarted"))).toBe(false);
  });

  it("leaves no process", async () => {
    const code = run();
    await said(/^ready/);
    const pids = [pidOf("n1"), pidOf("n2"), natsProcess.pid ?? 0];
    expect(pids.every(alive)).toBe(true);
    signals.emit("SIGTERM");
    await code;
    await vi.waitFor(() => expect(pids.filter(alive)).toEqual([]));
  });

  it("without a directory keeps its data in a temporary one that goes with it", async () => {
    const code = run({ ephemeral: true, wishes: { nodes: 1 } });
    await said(/^ready/);
    const [used = ""] = usedDirectories;
    expect(existsSync(used)).toBe(true);
    signals.emit("SIGTERM");
    expect(await code).toBe(0);
    expect(existsSync(used)).toBe(false);
  });

  it("--fresh removes what a cluster left, and nothing else", async () => {
    mkdirSync(join(directory, "n7"), { recursive: true });
    writeFileSync(
      join(directory, "dev.json"),
      JSON.stringify({ format: 1, nodes: 7, shards: 1, replicas: 3, bootstrapped: true, pid: 0 }),
    );
    writeFileSync(join(directory, "notes.txt"), "mine");
    const code = run({ fresh: true });
    await said(/^ready/);
    expect(existsSync(join(directory, "n7"))).toBe(false);
    expect(existsSync(join(directory, "notes.txt"))).toBe(true);
    expect(argumentsOf("n1")).toContain("--bootstrap");
    signals.emit("SIGTERM");
    await code;
  });
});

describe("a command to run", () => {
  const script = (text: string) => [process.execPath, "-e", text];

  it("gets the URLs, and its exit code is dev's", async () => {
    const out = join(directory, "..", "url");
    const code = run({
      command: script(`fs.writeFileSync(${JSON.stringify(out)}, process.env.KVORUM_URL); process.exit(7)`),
    });
    expect(await code).toBe(7);
    expect(readFileSync(out, "utf8")).toBe(
      `http://127.0.0.1:${ports.http},http://127.0.0.1:${ports.http + 1}`,
    );
  });

  it("that is not there is 127", async () => {
    expect(await run({ command: ["no-such-program-here"] })).toBe(127);
  });

  it("is ended by a signal to dev", async () => {
    const out = join(directory, "..", "pid");
    const code = run({
      command: script(
        `fs.writeFileSync(${JSON.stringify(out)}, String(process.pid)); setInterval(() => {}, 1e6)`,
      ),
    });
    await vi.waitFor(() => expect(readFileSync(out, "utf8")).not.toBe(""), { timeout: 20_000 });
    signals.emit("SIGTERM");
    expect(await code).toBe(0);
    expect(alive(Number(readFileSync(out, "utf8")))).toBe(false);
  });
});

describe("what cannot be started", () => {
  it("a directory that holds other things", async () => {
    mkdirSync(directory);
    writeFileSync(join(directory, "thesis.tex"), "");
    await expect(run()).rejects.toThrow(/holds other things/);
    await expect(run({ fresh: true })).rejects.toThrow(/holds other things/);
    expect(existsSync(join(directory, "thesis.tex"))).toBe(true);
  });

  it("fewer nodes than the data has", async () => {
    mkdirSync(directory);
    writeFileSync(
      join(directory, "dev.json"),
      JSON.stringify({ format: 1, nodes: 3, shards: 1, replicas: 3, partition: "hash", pid: 0 }),
    );
    await expect(run()).rejects.toThrow(/--nodes 2: the data is that of 3 nodes/);
  });

  it("a port that somebody else has", async () => {
    const other = createServer().listen(ports.http + 1, "127.0.0.1");
    await vi.waitFor(() => expect(other.listening).toBe(true));
    await expect(run()).rejects.toThrow(new RegExp(`port ${ports.http + 1} .* in use`));
    other.close();
  });
});

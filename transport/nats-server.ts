import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, Socket } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export interface NatsServerOptions {
  /** TCP port on the loopback; default: a free one. */
  readonly port?: number;
  /** Where its configuration and log lie; default: a temporary directory, removed at `stop`. */
  readonly storeDir?: string;
  /** What the server keeps for a slow connection before it cuts it; default 256 MiB. */
  readonly maxPendingBytes?: number;
  /** Largest message; the server's default is 1 MiB. */
  readonly maxPayloadBytes?: number;
}

/** A nats-server of our own, on the loopback only. */
export interface NatsServer {
  readonly port: number;
  readonly url: string;
  /** Of the running process; undefined while it is killed. */
  readonly pid: number | undefined;
  /** `kill -9`. Resolves once the process is gone. */
  kill(): Promise<void>;
  /** Starts it again, on the same port, after `kill`. Resolves once it listens. */
  restart(): Promise<void>;
  /** Stops it and removes its temporary files. */
  stop(): Promise<void>;
}

/** @returns the path of the nats-server program; undefined when there is none */
export function findNatsServer(): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  for (const folder of [...folders, "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]) {
    if (folder === "") continue;
    const path = join(folder, "nats-server");
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here.
    }
  }
  return undefined;
}

/**
 * Starts a nats-server for development and tests. It has a process group of its own, so that a Ctrl-C in
 * the terminal does not reach it before the nodes (R35), and does not outlive this process, however that
 * ends.
 * @throws Error when there is no nats-server program, or it does not come up
 */
export async function startNatsServer(options: NatsServerOptions = {}): Promise<NatsServer> {
  const program = findNatsServer();
  if (program === undefined) {
    throw new Error("nats-server was not found: install it (Debian: apt-get install nats-server)");
  }
  const port = options.port ?? (await freePort());
  const directory = options.storeDir ?? mkdtempSync(join(tmpdir(), "kvorum-nats-"));
  const configPath = join(directory, "nats-server.conf");
  writeFileSync(configPath, configuration(port, directory, options));
  const temporary = options.storeDir === undefined ? directory : undefined;
  const server = new OwnNatsServer(program, configPath, port, temporary);
  try {
    await server.restart();
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}

function configuration(port: number, directory: string, options: NatsServerOptions): string {
  const lines = [
    "host: 127.0.0.1",
    `port: ${port}`,
    `max_pending: ${options.maxPendingBytes ?? 256 * 1024 * 1024}`,
    'write_deadline: "1s"',
    `log_file: ${JSON.stringify(join(directory, "nats-server.log"))}`,
  ];
  if (options.maxPayloadBytes !== undefined) lines.push(`max_payload: ${options.maxPayloadBytes}`);
  return `${lines.join("\n")}\n`;
}

class OwnNatsServer implements NatsServer {
  readonly port: number;
  readonly url: string;
  readonly #program: string;
  readonly #configPath: string;
  readonly #temporary: string | undefined;
  #child: ChildProcess | undefined;
  #watchdog: ChildProcess | undefined;

  constructor(program: string, configPath: string, port: number, temporary: string | undefined) {
    this.#program = program;
    this.#configPath = configPath;
    this.port = port;
    this.url = `nats://127.0.0.1:${port}`;
    this.#temporary = temporary;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  async restart(): Promise<void> {
    if (this.#child !== undefined) return;
    if (await listens(this.port)) throw new Error(`port ${this.port} is taken already`);
    const child = spawn(this.#program, ["-c", this.#configPath], { detached: true, stdio: "ignore" });
    this.#child = child;
    child.unref();
    this.#watchdog = child.pid === undefined ? undefined : watch(child.pid);
    let failure: string | undefined;
    child.once("error", (error) => {
      failure = error.message;
    });
    child.once("exit", (code, signal) => {
      failure ??= `it ended (${signal ?? code})`;
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#watchdog?.kill("SIGKILL");
    });
    for (let tries = 0; tries < 500 && failure === undefined; tries++) {
      if (await listens(this.port)) return;
      await delay(10);
    }
    child.kill("SIGKILL");
    throw new Error(`nats-server does not listen on port ${this.port}: ${failure ?? "no answer in 5 s"}`);
  }

  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  async stop(): Promise<void> {
    await this.#end("SIGTERM");
    if (this.#temporary !== undefined) rmSync(this.#temporary, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    const stop = new AbortController();
    const late = delay(3_000, "late", { signal: stop.signal }).catch(() => undefined);
    if ((await Promise.race([gone, late])) === "late") child.kill("SIGKILL");
    stop.abort();
    await gone;
  }
}

/**
 * A process that waits for the end of its input, which comes when this process is gone, even by `kill -9`,
 * and then kills the server: nobody else would.
 */
function watch(pid: number): ChildProcess {
  const watchdog = spawn("/bin/sh", ["-c", `cat >/dev/null; kill -9 ${pid}`], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  watchdog.on("error", () => {});
  watchdog.stdin.on("error", () => {});
  watchdog.unref();
  if (watchdog.stdin instanceof Socket) watchdog.stdin.unref();
  return watchdog;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** A port nobody has now; somebody else may still take it before it is used. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      const port = address !== null && typeof address === "object" ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });
}

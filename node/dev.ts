/**
 * `kvorum dev`: a whole cluster on this machine, for trying and for developing against. Supervises one
 * nats-server and N node processes: starts, watches, restarts and stops them.
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import type { EventEmitter } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join, resolve as resolvePath } from "node:path";
import { type NodeExit, NodeProcess, stopFd } from "./dev/child.ts";
import { type Marker, natsFolder, nodePaths, readMarker, rotateLog, wipe, writeMarker } from "./dev/data.ts";
import { DevFailure } from "./dev/failure.ts";
import { type DevPlan, type DevWishes, planDev, restartDelayMs } from "./dev/plan.ts";
import { portsInUse } from "./dev/ports.ts";
import { checkReady, httpFetch } from "./dev/ready.ts";
import { startWatchdog, type Watchdog } from "./dev/watchdog.ts";
import { sameSignalMs } from "./lifecycle.ts";

export interface DevOptions {
  readonly wishes: DevWishes;
  /** Absent: a temporary directory, removed at the end. */
  readonly dataDir?: string;
  /** Removes earlier data first. */
  readonly fresh: boolean;
  /** Starts dead processes again. */
  readonly restart: boolean;
  /** Runs this once ready, and stops after it. */
  readonly command: readonly string[];
  /** Flags that every node gets as they are. */
  readonly nodeFlags: readonly string[];
  /** For asking the cluster, where it asks for a token. */
  readonly token?: string;
}

/** A nats-server that can be started again on its port. */
export interface ManagedNats {
  readonly url: string;
  /** undefined while it does not run. */
  readonly pid: number | undefined;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface DevSurroundings {
  /** Program and first arguments of the `kvorum` command. */
  readonly kvorum: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signals: Pick<EventEmitter, "on" | "off">;
  readonly startNats: (options: {
    readonly port: number;
    readonly storeDir: string;
    readonly maxPendingBytes: number;
  }) => Promise<ManagedNats>;
  readonly say: (line: string) => void;
  /** Ends this process at once. */
  readonly exitNow: (code: number) => void;
}

const clusterName = "dev";
/** Both sides know it (R28). */
const maxPendingBytes = 256 * 2 ** 20;
const pollMs = 100;
const waitingNoteMs = 30_000;
/** A node stops within nine seconds, or never. */
const nodeStopLimitMs = 9500;
const commandStopLimitMs = 3000;

/** Runs the cluster until it is told to stop; @returns the exit code */
export async function runDev(options: DevOptions, around: DevSurroundings): Promise<number> {
  const temporary = options.dataDir === undefined ? mkdtempSync(join(tmpdir(), "kvorum-dev-")) : undefined;
  try {
    const directory = resolvePath(options.dataDir ?? temporary ?? ".");
    const held = readMarker(directory);
    const plan = planDev(options.wishes, options.fresh ? undefined : held);
    await demandPorts(plan);
    if (options.fresh) wipe(directory);
    const marker: Marker = {
      format: 1,
      nodes: plan.nodes,
      shards: plan.shards,
      replicas: plan.replicas,
      partition: plan.partition,
      bootstrapped: !options.fresh && held?.bootstrapped === true,
      pid: process.pid,
    };
    mkdirSync(directory, { recursive: true });
    writeMarker(directory, marker);
    return await new DevCluster(options, around, plan, directory, marker).run();
  } finally {
    if (temporary !== undefined) rmSync(temporary, { recursive: true, force: true });
  }
}

async function demandPorts(plan: DevPlan): Promise<void> {
  const http = Array.from({ length: plan.nodes }, (_, at) => plan.httpPort + at);
  const used = await portsInUse([...http, plan.natsPort]);
  if (used.length === 0) return;
  const flag = used.every((port) => port === plan.natsPort) ? "--nats-port" : "--http-port";
  throw new DevFailure(
    `port ${used.join(", ")} on 127.0.0.1 is in use, perhaps by another cluster: stop it, or give another ${flag}`,
  );
}

interface Member {
  readonly name: string;
  readonly url: string;
  readonly process: NodeProcess;
  deathsInARow: number;
}

class DevCluster {
  readonly #options: DevOptions;
  readonly #around: DevSurroundings;
  readonly #plan: DevPlan;
  readonly #directory: string;
  #marker: Marker;
  #members: readonly Member[] = [];
  #nats: ManagedNats | undefined;
  #watchdog: Watchdog | undefined;
  readonly #timers: Set<NodeJS.Timeout> = new Set();
  #command: ChildProcess | undefined;
  #wasReady = false;
  #stopping = false;
  #firstSignalMs: number | undefined;
  /** Settles with the exit code when there is a reason to end. */
  readonly #ended: Promise<number>;
  #end: (code: number) => void = () => {};

  constructor(
    options: DevOptions,
    around: DevSurroundings,
    plan: DevPlan,
    directory: string,
    marker: Marker,
  ) {
    this.#options = options;
    this.#around = around;
    this.#plan = plan;
    this.#directory = directory;
    this.#marker = marker;
    this.#ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  async run(): Promise<number> {
    const onSignal = (): void => this.#onSignal();
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) this.#around.signals.on(signal, onSignal);
    try {
      await this.#start();
      void this.#untilReady();
      return await this.#ended;
    } finally {
      await this.#stop();
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) this.#around.signals.off(signal, onSignal);
    }
  }

  async #start(): Promise<void> {
    for (const note of this.#plan.notes) this.#around.say(note);
    this.#watchdog = startWatchdog();
    const nats = await this.#startNats();
    this.#nats = nats;
    this.#watchdog.watch(nats.pid);
    this.#watchNats(nats);
    this.#members = Array.from({ length: this.#plan.nodes }, (_, at) => this.#member(at + 1, nats.url));
    for (const member of this.#members) member.process.start();
  }

  async #startNats(): Promise<ManagedNats> {
    const storeDir = natsFolder(this.#directory);
    try {
      return await this.#around.startNats({ port: this.#plan.natsPort, storeDir, maxPendingBytes });
    } catch (error) {
      throw new DevFailure(error instanceof Error ? error.message : String(error));
    }
  }

  #member(number: number, natsUrl: string): Member {
    const name = `n${number}`;
    const port = this.#plan.httpPort + number - 1;
    const paths = nodePaths(this.#directory, name);
    rotateLog(paths.log);
    const { shards, replicas, partition } = this.#plan;
    const bootstrap = [
      "--bootstrap",
      "--shards",
      `${shards}`,
      "--replicas",
      `${replicas}`,
      "--partition",
      partition,
    ];
    const flags = {
      "--name": name,
      "--cluster": clusterName,
      "--nats": natsUrl,
      "--data": paths.data,
      "--http": `127.0.0.1:${port}`,
      "--nats-max-pending": `${maxPendingBytes}`,
    };
    const command = [
      ...this.#around.kvorum,
      "node",
      ...Object.entries(flags).flat(),
      ...(number === 1 && !this.#marker.bootstrapped ? bootstrap : []),
      ...this.#options.nodeFlags,
    ];
    const process = new NodeProcess({
      name,
      command,
      environment: nodeEnvironment(this.#around.environment),
      logPath: paths.log,
      onExit: (exit) => this.#onExit(member, exit),
    });
    const member: Member = { name, url: `http://127.0.0.1:${port}`, process, deathsInARow: 0 };
    return member;
  }

  #onExit(member: Member, exit: NodeExit): void {
    if (this.#stopping) return;
    const how = exit.signal === null ? `ended with exit code ${exit.code}` : `was ended by ${exit.signal}`;
    this.#around.say(`${member.name} ${how}`);
    for (const line of exit.lastWords) this.#around.say(`${member.name}: ${line}`);
    // A node that says by its exit code that it cannot start will not start by being tried again.
    if (!this.#wasReady && exit.signal === null && exit.code !== 0) {
      this.#end(1);
      return;
    }
    if (!this.#options.restart) return;
    member.deathsInARow = exit.livedMs > 5000 ? 1 : member.deathsInARow + 1;
    this.#later(restartDelayMs(exit.livedMs, member.deathsInARow), () => {
      member.process.start();
      this.#around.say(`${member.name} restarted, process id ${member.process.pid}`);
    });
  }

  /** It tells nobody when it ends: asked now and then. */
  #watchNats(nats: ManagedNats): void {
    this.#later(pollMs, () => {
      if (nats.pid !== undefined) this.#watchNats(nats);
      else {
        this.#watchdog?.watch(undefined);
        this.#around.say("nats-server ended");
        if (this.#options.restart)
          this.#later(restartDelayMs(Number.POSITIVE_INFINITY, 1), () => void this.#restartNats(nats));
      }
    });
  }

  async #restartNats(nats: ManagedNats): Promise<void> {
    try {
      await nats.restart();
      this.#watchdog?.watch(nats.pid);
      this.#around.say(`nats-server restarted, process id ${nats.pid}`);
    } catch (error) {
      this.#around.say(error instanceof Error ? error.message : String(error));
    }
    if (!this.#stopping) this.#watchNats(nats);
  }

  async #untilReady(): Promise<void> {
    const urls = new Map(this.#members.map(({ name, url }) => [name, url]));
    const fetch = httpFetch(this.#options.token);
    const shards = this.#marker.bootstrapped ? 1 : this.#plan.shards;
    let noteMs = performance.now() + waitingNoteMs;
    while (!this.#stopping) {
      const { ready, missing } = await checkReady(urls, shards, fetch);
      if (ready) {
        this.#onReady();
        return;
      }
      if (performance.now() > noteMs) {
        this.#around.say(`still waiting: ${missing} (logs: ${join(this.#directory, "logs")})`);
        noteMs = performance.now() + waitingNoteMs;
      }
      await new Promise<void>((resolve) => this.#later(pollMs, resolve));
    }
  }

  #onReady(): void {
    if (this.#stopping) return;
    this.#wasReady = true;
    this.#marker = { ...this.#marker, bootstrapped: true };
    writeMarker(this.#directory, this.#marker);
    const urls = this.#members.map(({ url }) => url);
    const [first = ""] = urls;
    this.#around.say(`ready  ${urls.join(" ")}`);
    if (this.#options.command.length > 0) {
      this.#runCommand(urls);
      return;
    }
    this.#around.say(`  write  echo hi | curl -T - ${first}/v1/kv/a`);
    this.#around.say(`  read   curl ${urls.at(-1)}/v1/kv/a`);
  }

  #runCommand(urls: readonly string[]): void {
    const [program = "", ...args] = this.#options.command;
    const token = this.#options.token === undefined ? {} : { KVORUM_TOKEN: this.#options.token };
    const env = { ...this.#around.environment, ...token, KVORUM_URL: urls.join(",") };
    const child = spawn(program, args, { stdio: "inherit", env });
    this.#command = child;
    child.once("error", (error) => {
      this.#command = undefined;
      this.#around.say(`${program}: ${error.message}`);
      this.#end(127);
    });
    child.once("exit", (code, signal) => {
      this.#command = undefined;
      this.#end(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  }

  /** It may still want the cluster for its own cleaning up, so it goes first. */
  async #stopCommand(): Promise<void> {
    const child = this.#command;
    if (child === undefined) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), commandStopLimitMs);
    await gone;
    clearTimeout(timer);
  }

  #onSignal(): void {
    const nowMs = performance.now();
    this.#firstSignalMs ??= nowMs;
    if (nowMs - this.#firstSignalMs <= sameSignalMs) {
      this.#end(0);
      return;
    }
    for (const { process } of this.#members) process.kill();
    this.#around.exitNow(1);
  }

  /** Nodes first, without hand-over, all at once; NATS last (R35). */
  async #stop(): Promise<void> {
    this.#stopping = true;
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#stopCommand();
    await Promise.all(this.#members.map(({ process }) => process.stop(nodeStopLimitMs)));
    await this.#nats?.stop();
    await this.#watchdog?.close();
    writeMarker(this.#directory, { ...this.#marker, pid: 0 });
  }

  #later(delayMs: number, run: () => void): void {
    if (this.#stopping) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, delayMs);
    this.#timers.add(timer);
  }
}

/** Nodes take their settings from flags alone: a KVORUM_ variable is meant for `dev` or for clients. */
function nodeEnvironment(environment: DevSurroundings["environment"]): Record<string, string | undefined> {
  const own = Object.entries(environment).filter(([name]) => !name.startsWith("KVORUM_"));
  return { ...Object.fromEntries(own), KVORUM_STOP_FD: String(stopFd) };
}

import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type NatsServer, startNatsServer } from "#transport";
import { isLevel, type ShardView, shardsOf } from "./admin.ts";
import { HttpClient } from "./http.ts";
import { freePorts } from "./ports.ts";
import { type Exit, OwnProcess } from "./processes.ts";
import { demandBuilt, kvorumMain } from "./root.ts";
import { until } from "./wait.ts";

/** As `kvorum dev` has it on both sides (R28). */
const maxPendingBytes = 256 * 2 ** 20;

export interface ClusterOptions {
  /** Everything of the cluster lies in it. */
  readonly folder: string;
  readonly nodes?: number;
  readonly shards?: number;
  /** Ends with the owner, however that ends. */
  readonly defer: (end: () => Promise<void>) => void;
}

/** One server process that can be ended and started again on its port and directory. */
export class Member {
  readonly name: string;
  readonly client: HttpClient;
  readonly logPath: string;
  readonly #command: readonly string[];
  #process: OwnProcess | undefined;
  /** The process now or last there: told to end, or meant to run. */
  #told = false;

  constructor(name: string, port: number, logPath: string, command: readonly string[]) {
    this.name = name;
    this.client = new HttpClient(name, port);
    this.logPath = logPath;
    this.#command = command;
  }

  get process(): OwnProcess {
    if (this.#process === undefined) throw new Error(`${this.name} was never started`);
    return this.#process;
  }

  get running(): boolean {
    return this.#process?.running === true;
  }

  start(): OwnProcess {
    if (this.running) return this.process;
    this.#told = false;
    this.#process = new OwnProcess({ command: this.#command, logPath: this.logPath, stopPipe: true });
    return this.#process;
  }

  async kill(): Promise<void> {
    this.#told = true;
    if (this.running) await this.process.kill();
  }

  /** SIGTERM: with hand-over. Resolves once it is gone. */
  async terminate(): Promise<Exit> {
    this.#told = true;
    this.process.signal("SIGTERM");
    return await this.process.exited;
  }

  /** Why it does not run, when nobody has ended it. */
  get surprise(): string | undefined {
    if (this.#process === undefined || this.running || this.#told) return undefined;
    const { code, signal } = this.#process.exit ?? { code: null, signal: null };
    return `${this.name} ended by itself (${signal ?? code}): ${lastLines(this.logPath)}`;
  }

  /** Joined, routes loaded, its groups have leaders. */
  async untilReady(): Promise<void> {
    await until(`${this.name} is ready`, async () => {
      if (!this.running) return { exit: this.process.exit };
      return (await this.client.call("GET", "/readyz")).status === 200;
    }).then((answer) => {
      if (answer !== true) throw new Error(`${this.name} ended: ${lastLines(this.logPath)}`);
    });
  }
}

/** A cluster of real processes around a real nats-server, each of which a test can end and start again. */
export class Cluster {
  readonly folder: string;
  readonly name = "it";
  readonly members: readonly Member[];
  readonly nats: NatsServer;
  readonly #shards: number;
  readonly #firstPort: number;
  readonly #routers: Member[] = [];

  private constructor(options: ClusterOptions, nats: NatsServer, firstPort: number) {
    this.folder = options.folder;
    this.nats = nats;
    this.#shards = options.shards ?? 16;
    this.#firstPort = firstPort;
    const count = options.nodes ?? 3;
    this.members = Array.from({ length: count }, (_, i) =>
      this.node(`n${i + 1}`, i === 0 ? ["--bootstrap", "--shards", `${this.#shards}`] : []),
    );
  }

  /** Starts NATS and all nodes; does not wait for them. */
  static async start(options: ClusterOptions): Promise<Cluster> {
    demandBuilt();
    const storeDir = join(options.folder, "nats");
    mkdirSync(storeDir, { recursive: true });
    const count = options.nodes ?? 3;
    // Two more for nodes and routers that a test adds.
    const firstPort = await freePorts(count + 3);
    const nats = await startNatsServer({ port: firstPort + count + 2, storeDir, maxPendingBytes });
    const cluster = new Cluster(options, nats, firstPort);
    options.defer(() => cluster.end());
    for (const member of cluster.members) member.start();
    return cluster;
  }

  /** Starts, and waits until every shard has its leader and all replicas. */
  static async whole(options: ClusterOptions): Promise<Cluster> {
    const cluster = await Cluster.start(options);
    await cluster.untilWhole();
    return cluster;
  }

  /** A node `n{i}` on its port and directory; not started. */
  node(name: string, flags: readonly string[] = [], folder: string = name): Member {
    const data = join(this.folder, folder);
    const port = this.#firstPort + Number(name.slice(1)) - 1;
    return new Member(name, port, join(this.folder, `${folder}.log`), [
      ...[process.execPath, kvorumMain, "node", "--name", name, "--data", data],
      ...[...this.#common(port), ...flags],
    ]);
  }

  /** Started by the caller; ended with the cluster. */
  router(number: 1 | 2): Member {
    const name = `router${number}`;
    const port = this.#firstPort + this.members.length + number - 1;
    const log = join(this.folder, `${name}.log`);
    const router = new Member(name, port, log, [
      ...[process.execPath, kvorumMain, "router", ...this.#common(port)],
    ]);
    this.#routers.push(router);
    return router;
  }

  #common(port: number): string[] {
    return [
      ...["--cluster", this.name, "--nats", this.nats.url, "--http", `127.0.0.1:${port}`],
      ...["--nats-max-pending", `${maxPendingBytes}`],
    ];
  }

  member(name: string): Member {
    const member = this.members.find((one) => one.name === name);
    if (member === undefined) throw new Error(`no node ${name}`);
    return member;
  }

  get clients(): readonly HttpClient[] {
    return this.members.map(({ client }) => client);
  }

  /** Of any running node. */
  async shards(): Promise<readonly ShardView[]> {
    const running = this.members.filter((member) => member.running);
    for (const { client } of running.slice(0, -1)) {
      try {
        return await shardsOf(client);
      } catch {
        // The next one may know.
      }
    }
    const last = running.at(-1);
    if (last === undefined) throw new Error("no node runs");
    return await shardsOf(last.client);
  }

  /** All nodes are ready, every shard is there with its leader, and all followers are level. */
  async untilWhole(): Promise<readonly ShardView[]> {
    await Promise.all(this.members.map((member) => member.untilReady()));
    return await this.untilLevel();
  }

  /** Every shard has its leader, and all followers have its whole log. */
  async untilLevel(): Promise<readonly ShardView[]> {
    return await until("all shards are whole", async () => {
      const shards = await this.shards();
      if (shards.length >= this.#shards && isLevel(shards)) return shards;
      throw new Error(describeLack(shards, this.#shards));
    });
  }

  /** `kill -9` of NATS and all nodes. */
  async killAll(): Promise<void> {
    await Promise.all([...this.members.map((member) => member.kill()), this.nats.kill()]);
  }

  /** @throws Error when a node or router had ended by itself */
  async end(): Promise<void> {
    const all = [...this.members, ...this.#routers];
    const surprises = all.flatMap(({ surprise }) => (surprise === undefined ? [] : [surprise]));
    for (const { client } of all) client.close();
    await Promise.all(all.map((member) => member.kill()));
    await this.nats.stop();
    if (surprises.length > 0) throw new Error(surprises.join("\n"));
  }
}

function describeLack(shards: readonly ShardView[], wanted: number): string {
  const lacking = shards.filter((shard) => !isLevel([shard]));
  const [first] = lacking;
  const example = first === undefined ? "" : `, such as ${JSON.stringify(first)}`;
  return `${shards.length} of ${wanted} shards, ${lacking.length} not whole${example}`;
}

/** What a process said last. */
export function lastLines(path: string, count = 5): string {
  if (!existsSync(path) || statSync(path).size === 0) return "(nothing said)";
  return readFileSync(path, "utf8").trimEnd().split("\n").slice(-count).join("\n");
}

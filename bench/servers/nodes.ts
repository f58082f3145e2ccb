import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Random } from "#runtime";
import { startNatsServer } from "#transport";
import type { HostPort } from "../load/requests.ts";
import { Child } from "./child.ts";
import { freePorts } from "./ports.ts";
import { type Keep, urlOf } from "./served.ts";

export interface NodesOptions {
  /** The repository, built. */
  readonly root: string;
  readonly directory: string;
  readonly shards: number;
  /** How many are started now. */
  readonly nodes: number;
  /** How many may be there at all, with those of `add`. */
  readonly nodesMax: number;
}

const clusterName = "bench";
const maxPendingBytes = 256 * 2 ** 20;
const readyLimitMs = 120_000;

/** Node processes around a nats-server, more of which can be started, and each of which can be killed. */
export class Nodes {
  readonly #options: NodesOptions;
  readonly #natsUrl: string;
  readonly #firstPort: number;
  readonly #keep: Keep;
  readonly #children: Map<string, Child> = new Map();

  private constructor(options: NodesOptions, natsUrl: string, firstPort: number, keep: Keep) {
    this.#options = options;
    this.#natsUrl = natsUrl;
    this.#firstPort = firstPort;
    this.#keep = keep;
  }

  /** Does not wait until the shards are there. */
  static async start(options: NodesOptions, random: Random, keep: Keep): Promise<Nodes> {
    const firstPort = await freePorts(options.nodesMax + 1, random);
    const storeDir = join(options.directory, "nats");
    mkdirSync(storeDir, { recursive: true });
    const nats = await startNatsServer({ port: firstPort + options.nodesMax, storeDir, maxPendingBytes });
    keep(nats);
    const nodes = new Nodes(options, nats.url, firstPort, keep);
    for (let number = 1; number <= options.nodes; number++) nodes.#start(number);
    await Promise.all([...nodes.#children.keys()].map((name) => nodes.untilReady(name)));
    return nodes;
  }

  get names(): readonly string[] {
    return [...this.#children.keys()];
  }

  get hosts(): readonly HostPort[] {
    return this.names.map((name) => this.hostOf(name));
  }

  hostOf(name: string): HostPort {
    return { host: "127.0.0.1", port: this.#firstPort + Number(name.slice(1)) - 1 };
  }

  /** Starts the next node; resolves once it serves. @returns its name */
  async add(): Promise<string> {
    const name = this.#start(this.#children.size + 1);
    await this.untilReady(name);
    return name;
  }

  /** `kill -9`, for good. */
  async kill(name: string): Promise<void> {
    const child = this.#children.get(name);
    this.#children.delete(name);
    await child?.kill();
  }

  demandAlive(): void {
    for (const child of this.#children.values()) child.demandAlive();
  }

  async untilReady(name: string): Promise<void> {
    const url = `${urlOf(this.hostOf(name))}/readyz`;
    const giveUpMs = performance.now() + readyLimitMs;
    for (;;) {
      const ready = await fetch(url).then(
        ({ status }) => status === 200,
        () => false,
      );
      if (ready) return;
      this.demandAlive();
      if (performance.now() > giveUpMs) throw new Error(`${name} was not ready in ${readyLimitMs} ms`);
      await delay(50);
    }
  }

  #start(number: number): string {
    const { root, directory, shards } = this.#options;
    const name = `n${number}`;
    const flags = {
      "--name": name,
      "--cluster": clusterName,
      "--nats": this.#natsUrl,
      "--nats-max-pending": maxPendingBytes,
      "--http": `127.0.0.1:${this.hostOf(name).port}`,
      "--data": join(directory, name),
    };
    const bootstrap = number === 1 ? ["--bootstrap", "--shards", String(shards)] : [];
    const command = [process.execPath, join(root, "dist/node/main.js"), "node"];
    const own = Object.entries(process.env).filter(([variable]) => !variable.startsWith("KVORUM_"));
    const child = new Child({
      name,
      command: [...command, ...Object.entries(flags).flat().map(String), ...bootstrap],
      environment: Object.fromEntries(own),
      logPath: join(directory, `${name}.log`),
    });
    this.#children.set(name, child);
    // At the end its data goes anyway: nobody need wait for a hand-over.
    this.#keep({ stop: () => child.kill() });
    return name;
  }
}

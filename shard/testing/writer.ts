import {
  decodeWriteResponse,
  encodeCommand,
  encodeWriteRequest,
  type NodeId,
  type ShardDescriptor,
  type WriteResponse,
} from "#proto";
import { invariant, type Random } from "#runtime";
import { type ShardCluster, type TestRoutes, testKeyspace } from "./cluster.ts";

interface Pending {
  readonly sequence: number;
  readonly value: string;
  deadlineMicros: number;
  /** Counts the sendings: a newer one makes the timer of an older one void. */
  tries: number;
}

/**
 * The only writer of its keys: it puts each next value on the condition that the last one it was told of is
 * still there. So a write that is lost, applied twice, or whose record is lost shows as a failed condition.
 */
export class Writer {
  readonly session: string;
  readonly keys: readonly Uint8Array[];
  readonly #cluster: ShardCluster;
  readonly #routes: TestRoutes;
  readonly #random: Random;
  /** By key, as last acknowledged. */
  readonly told: { revision: number; value: string }[];
  acked = 0;
  deadlines = 0;
  mismatches = 0;
  stopped = false;
  #sequence = 0;
  #at = 0;
  #clockMicros = 0;
  #pending: Pending | undefined;

  constructor(cluster: ShardCluster, routes: TestRoutes, index: number, keys: readonly Uint8Array[]) {
    this.#cluster = cluster;
    this.#routes = routes;
    this.#random = cluster.random.fork(`writer${index}`);
    this.session = index.toString(16).padStart(16, "0");
    this.keys = keys;
    this.told = keys.map(() => ({ revision: 0, value: "" }));
  }

  get idle(): boolean {
    return this.#pending === undefined;
  }

  start(): void {
    this.#next();
  }

  #next(): void {
    if (this.stopped) return;
    this.#sequence += 1;
    this.#at = this.#random.below(this.keys.length);
    this.#pending = { sequence: this.#sequence, value: `v${this.#sequence}`, deadlineMicros: 0, tries: 0 };
    this.#renew(this.#pending);
    this.#send(this.#pending);
  }

  #renew(pending: Pending): void {
    const aliveMicros = 50_000 + this.#random.below(3_000_000);
    pending.deadlineMicros = Math.max(this.#clockMicros, this.#cluster.clock.wallMicros()) + aliveMicros;
  }

  #send(pending: Pending): void {
    const key = this.keys[this.#at] ?? new Uint8Array(0);
    const shard = this.#routes.lookup(key);
    pending.tries += 1;
    const mine = pending.tries;
    if (shard === undefined || pending.tries % 20 === 0)
      this.#routes.learn(this.#cluster.descriptors().values());
    const node = shard && this.#target(shard);
    // Now and then an answer is lost, or comes after the next try.
    const lost = this.#random.chance(0.1);
    if (shard !== undefined && node !== undefined) {
      const { deadlineMicros } = pending;
      const body = encodeWriteRequest({ shard: shard.id, command: this.#encoded(pending, shard, key) });
      this.#cluster.write(node, body, (answer) => {
        if (this.#pending !== pending || lost) return;
        this.#answered(pending, mine, deadlineMicros, decodeWriteResponse(answer));
      });
      if (this.#pending !== pending) return;
    }
    this.#again(pending, mine, 60 + this.#random.below(300));
  }

  #encoded(pending: Pending, shard: ShardDescriptor, key: Uint8Array): Uint8Array {
    const { sequence, deadlineMicros, value } = pending;
    const { revision } = this.told[this.#at] ?? { revision: 0 };
    return encodeCommand({
      attempt: { session: this.session, sequence, lowestUnanswered: sequence, deadlineMicros },
      version: shard.epoch.version,
      keyspace: testKeyspace,
      key,
      operation: {
        kind: "put",
        value: Buffer.from(value),
        contentType: "",
        condition: revision === 0 ? { noneMatch: "any" } : { match: [revision] },
      },
    });
  }

  #target(shard: ShardDescriptor): NodeId | undefined {
    const leader = this.#cluster.leaderOf(shard.id);
    if (leader !== undefined && this.#random.chance(0.9)) return leader;
    return shard.replicas[this.#random.below(Math.max(1, shard.replicas.length))]?.nodeId;
  }

  #again(pending: Pending, mine: number, ms: number): void {
    this.#cluster.clock.after(ms, () => {
      if (this.#pending === pending && pending.tries === mine) this.#send(pending);
    });
  }

  #answered(pending: Pending, mine: number, deadlineMicros: number, response: WriteResponse): void {
    const { result, clockMicros } = response;
    this.#clockMicros = Math.max(this.#clockMicros, clockMicros);
    switch (result.kind) {
      case "put":
        this.told[this.#at] = { revision: result.revision, value: pending.value };
        this.acked += 1;
        this.#pending = undefined;
        this.#cluster.clock.after(this.#random.below(80), () => this.#next());
        return;
      case "deadline":
        if (deadlineMicros !== pending.deadlineMicros) return;
        this.deadlines += 1;
        this.#renew(pending);
        break;
      case "epoch_mismatch":
        this.mismatches += 1;
        this.#routes.learn(result.current);
        break;
      case "precondition_failed":
        invariant(
          false,
          `writer ${this.session} ${pending.value} of key ${this.keys[this.#at]?.toString()}: told ${JSON.stringify(this.told[this.#at])}, there is ${result.revision}`,
        );
        break;
      default:
        break;
    }
    if (pending.tries === mine) this.#again(pending, mine, 5 + this.#random.below(20));
  }
}

import type { Random, VirtualClock } from "#runtime";
import { Violation } from "./checks/violation.ts";
import {
  type Answer,
  type Call,
  describeOperation,
  type History,
  type HistoryCondition,
  isRead,
  type Operation,
} from "./history.ts";
import type { Mix, Plan } from "./plan.ts";

/** A router, a node's or a stateless one, as a client below HTTP calls it. */
export interface Port {
  readonly name: string;
  /** Changes whenever the process behind it dies or sleeps: what was asked before may go unanswered. */
  readonly disturbances: number;
  readonly alive: boolean;
  /** Stopped for a while: calls to it wait in its socket. */
  readonly paused: boolean;
  /** `done` hears undefined when the connection breaks. */
  submit(key: string, call: Call, timeoutMs: number, done: (answer: Answer | undefined) => void): void;
}

export interface WorkloadOptions {
  readonly plan: Plan;
  readonly clock: VirtualClock;
  readonly random: Random;
  readonly history: History;
  readonly ports: () => readonly Port[];
  readonly onAnswer?: (operation: Operation) => void;
}

/** A router answers by a call's deadline; later than this behind it, it has forgotten the call. */
const answerGraceMs = 1000;

/** Closed-loop clients: each has one call under way, waits a little, makes the next. */
export class Workload {
  readonly #options: WorkloadOptions;
  readonly #keys: readonly string[];
  /** The highest revision any client was told of, by key: for conditions that hold, and some that do not. */
  readonly #revisions = new Map<string, number>();
  #stopped = false;
  #running = 0;

  constructor(options: WorkloadOptions) {
    this.#options = options;
    this.#keys = keysOf(options.plan);
  }

  get keys(): readonly string[] {
    return this.#keys;
  }

  /** Calls without an answer so far. */
  get running(): number {
    return this.#running;
  }

  start(): void {
    const { plan, random } = this.#options;
    for (let i = 0; i < plan.clients; i++) this.#client(`c${i + 1}`, random.fork(`client ${i}`));
  }

  /** Clients make no new calls; those under way end as they will. */
  stop(): void {
    this.#stopped = true;
  }

  #client(name: string, random: Random): void {
    const { clock, plan, ports } = this.#options;
    let home = random.below(16);
    const next = (): void => {
      if (this.#stopped) return;
      const alive = ports().filter((port) => port.alive);
      const port = alive[home % Math.max(1, alive.length)];
      if (port === undefined) {
        clock.after(50, next);
        return;
      }
      const key = this.#keys[random.below(this.#keys.length)] ?? "k";
      const call = this.#draw(random, key);
      this.call(port, name, key, call, plan.callTimeoutMs, (operation) => {
        // After bad luck, and now and then without it, a client tries its luck elsewhere.
        if (
          operation.answer?.kind === "unknown" ||
          operation.answer?.kind === "noAnswer" ||
          random.chance(0.1)
        )
          home += 1;
        clock.after(random.below(plan.thinkMsMax * 1000 + 1) / 1000, next);
      });
    };
    clock.after(random.below(1000) / 100, next);
  }

  /** One recorded call. */
  call(
    port: Port,
    client: string,
    key: string,
    call: Call,
    timeoutMs: number,
    done: (operation: Operation) => void,
  ): void {
    const { clock, history, onAnswer } = this.#options;
    const operation = history.begin(client, key, call, clock.nowMs());
    const { disturbances } = port;
    const lost: Answer = { kind: isRead(call) ? "noAnswer" : "unknown" };
    this.#running += 1;
    let open = true;
    const end = (answer: Answer): void => {
      if (!open) return;
      open = false;
      this.#running -= 1;
      cancel();
      history.end(operation, answer, clock.nowMs());
      this.#learn(key, answer);
      onAnswer?.(operation);
      done(operation);
    };
    const cancel = clock.after(timeoutMs + answerGraceMs, () => {
      if (port.alive && !port.paused && port.disturbances === disturbances) {
        throw new Violation(
          "every call is answered",
          `${port.name} left unanswered: ${describeOperation(operation)}`,
        );
      }
      end(lost);
    });
    port.submit(key, call, timeoutMs, (answer = lost) => {
      if (!open && port.disturbances === disturbances && operation.answer?.kind !== "unknown") {
        throw new Violation(
          "every call is answered",
          `${port.name} answered twice: ${describeOperation(operation)}`,
        );
      }
      end(answer);
    });
  }

  #learn(key: string, answer: Answer): void {
    if (answer.kind !== "put" && answer.kind !== "found" && answer.kind !== "conditionFailed") return;
    if (answer.revision > (this.#revisions.get(key) ?? 0)) this.#revisions.set(key, answer.revision);
  }

  #draw(random: Random, key: string): Call {
    const { plan } = this.#options;
    const kind = weighted(random, plan.mix);
    switch (kind) {
      case "put":
        return { kind: "put", value: this.#value(random) };
      case "conditionalPut":
        return { kind: "put", value: this.#value(random), condition: this.#condition(random, key) };
      case "delete":
        return { kind: "delete" };
      case "conditionalDelete":
        return { kind: "delete", condition: this.#condition(random, key) };
      case "get":
      case "leaderGet":
        return { kind };
      default:
        return this.#staleGet(random, key);
    }
  }

  /** Unique in the run; the digits behind the colon say how long the stored bytes are. */
  #value(random: Random): string {
    const { history, plan } = this.#options;
    return `v${history.operations.length}:${random.below(plan.valueBytesMax + 1)}`;
  }

  #condition(random: Random, key: string): HistoryCondition {
    const known = this.#revisions.get(key);
    const draw = random.below(8);
    if (draw === 0) return { match: "any" };
    if (draw < 3 || known === undefined) return { noneMatch: "any" };
    if (draw === 3) return { noneMatch: [known] };
    return { match: [known] };
  }

  #staleGet(random: Random, key: string): Call {
    const known = this.#revisions.get(key);
    const bound = random.chance(0.3) ? { maxStalenessMs: 1 + random.below(2000) } : {};
    const floor = known !== undefined && random.chance(0.4) ? { minRevision: known } : {};
    return { kind: "staleGet", ...bound, ...floor };
  }
}

function weighted(random: Random, mix: Mix): keyof Mix {
  const entries = Object.entries(mix) as [keyof Mix, number][];
  let left = random.below(entries.reduce((sum, [, share]) => sum + share, 0));
  for (const [kind, share] of entries) {
    if (left < share) return kind;
    left -= share;
  }
  return "get";
}

/** Keys spread over the byte range, so that range shards get their share too. */
function keysOf(plan: Plan): string[] {
  return Array.from({ length: plan.keys }, (_, i) => {
    const first = 32 + Math.floor((i * 95) / plan.keys);
    return `${String.fromCharCode(first)}k${i}`;
  });
}

/** The bytes stored for a value of the history, and back. */
export function bytesOfValue(value: string): Uint8Array {
  const length = Number(value.slice(value.indexOf(":") + 1));
  const bytes = Buffer.alloc(Math.max(length, value.length), 0x2e);
  bytes.write(value, "latin1");
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** @returns the value as put, or a text that no put has where the bytes are not those of any */
export function valueOfBytes(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
  const end = text.indexOf(".");
  const value = end < 0 ? text : text.slice(0, end);
  const matches = /^v\d+:\d+$/.exec(value) !== null && Buffer.compare(bytesOfValue(value), bytes) === 0;
  return matches ? value : `damaged value of ${bytes.length} bytes: ${text.slice(0, 20)}`;
}

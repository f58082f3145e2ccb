import { invariant } from "#runtime";
import { decodeConfChange } from "../conf-codec.ts";
import { Core } from "../core.ts";
import { MemoryLog } from "../memory-log.ts";
import type {
  ConfState,
  CoreConfig,
  Entry,
  Input,
  Message,
  MessageKind,
  ReadState,
  Ready,
  StepResult,
} from "../types.ts";

/** A configuration of voters and learners, not joint. */
export function confOf(voters: readonly number[], learners: readonly number[] = []): ConfState {
  return { voters, outgoing: [], learners, learnersNext: [], autoLeave: false };
}

/** What a core needs besides an id and a log; every limit off, etcd's behaviour. */
export const plainConfig: Omit<CoreConfig, "id" | "storage"> = {
  applied: 0,
  electionTicks: 10,
  heartbeatTicks: 1,
  drawElectionTicks: () => 10,
  preVote: false,
  checkQuorum: false,
  readOnly: "safe",
  maxEntriesBytesPerMessage: Number.POSITIVE_INFINITY,
  maxInflightMessages: 256,
  maxInflightBytes: 0,
  maxUncommittedBytes: 0,
  maxCommittedBytesPerReady: Number.POSITIVE_INFINITY,
  forwardProposals: true,
  stepDownOnRemoval: true,
  validateConfChanges: true,
  asyncStorage: false,
  leaseMs: 0,
  noVoteBeforeMs: Number.NEGATIVE_INFINITY,
};

export interface ClusterOptions {
  readonly voters: readonly number[];
  readonly learners?: readonly number[];
  readonly config?: Partial<CoreConfig>;
  /** Single replicas' settings over `config`. */
  readonly only?: Readonly<Record<number, Partial<CoreConfig>>>;
}

/** One replica: a core, its durable log, and what it has applied. */
export interface Member {
  readonly id: number;
  core: Core;
  readonly log: MemoryLog;
  readonly applied: Entry[];
  readonly reads: ReadState[];
}

/**
 * A Raft group in one process for tests: a network that loses what it is told to, storage that is durable at
 * once (synchronous storage only), a clock that the test moves.
 */
export class Cluster {
  readonly members: Map<number, Member> = new Map();
  /** Messages on their way, oldest first. */
  pool: Message[] = [];
  nowMs = 1000;
  /** Everything that was ever sent, for tests of who said what. */
  readonly sent: Message[] = [];
  readonly #options: ClusterOptions;
  #lost: (message: Message) => boolean = () => false;

  constructor(options: ClusterOptions) {
    this.#options = options;
    for (const id of [...options.voters, ...(options.learners ?? [])]) this.add(id);
  }

  /** Adds a replica that knows the first configuration, or none at all. */
  add(id: number, conf: ConfState = confOf(this.#options.voters, this.#options.learners)): Member {
    const log = new MemoryLog({ conf });
    const core = new Core(this.#configOf(id, log, 0));
    const member: Member = { id, core, log, applied: [], reads: [] };
    this.members.set(id, member);
    return member;
  }

  #configOf(id: number, storage: MemoryLog, applied: number): CoreConfig {
    const { config, only } = this.#options;
    return { ...plainConfig, ...config, ...only?.[id], id, storage, applied };
  }

  member(id: number): Member {
    const member = this.members.get(id);
    invariant(member !== undefined, `no replica ${id}`);
    return member;
  }

  core(id: number): Core {
    return this.member(id).core;
  }

  /** The replica that leads the latest term. */
  leader(): Core | undefined {
    const leaders = [...this.members.values()]
      .map(({ core }) => core)
      .filter(({ role }) => role === "leader");
    return leaders.sort((a, b) => b.term - a.term)[0];
  }

  /** Steps an input; its clock is the cluster's. */
  step(id: number, input: Input): StepResult {
    return this.core(id).step("nowMs" in input ? { ...input, nowMs: this.nowMs } : input);
  }

  campaign(id: number): StepResult {
    return this.step(id, { kind: "campaign", nowMs: 0 });
  }

  propose(id: number, ...texts: readonly string[]): StepResult {
    return this.step(id, { kind: "propose", data: texts.map((text) => new TextEncoder().encode(text)) });
  }

  tick(id: number, times = 1): void {
    for (let i = 0; i < times; i++) this.step(id, { kind: "tick", nowMs: 0 });
  }

  read(id: number, context: string): StepResult {
    return this.step(id, { kind: "readIndex", context, nowMs: 0 });
  }

  receive(to: number, message: Omit<Message, "to">): StepResult {
    return this.step(to, { kind: "message", message: { ...message, to }, nowMs: 0 });
  }

  /** From now on messages for which `lost` holds are lost; without it none are. */
  lose(lost: (message: Message) => boolean = () => false): void {
    this.#lost = lost;
    this.pool = this.pool.filter((message) => !lost(message));
  }

  /** Cuts the named replicas off from everyone. */
  isolate(...ids: readonly number[]): void {
    this.lose(({ from, to }) => ids.includes(from) || ids.includes(to));
  }

  /** Does the duties of one replica; undefined when it has none. */
  process(id: number): Ready | undefined {
    const { core } = this.member(id);
    if (!core.hasReady()) return undefined;
    const ready = core.takeReady();
    this.finish(id, ready);
    return ready;
  }

  /** Stores, sends and applies a Ready that was taken by hand. */
  finish(id: number, ready: Ready): void {
    const member = this.member(id);
    member.log.save(ready);
    if (ready.snapshot) member.applied.length = 0;
    for (const message of [...ready.sendNow, ...ready.sendAfterSync]) {
      this.sent.push(message);
      if (!this.#lost(message)) this.pool.push(message);
    }
    for (const entry of ready.committed) {
      member.applied.push(entry);
      if (entry.kind === "conf") {
        member.log.setConf(member.core.applyConfChange(decodeConfChange(entry.data)));
      }
    }
    member.reads.push(...ready.readStates);
    member.core.advance(ready);
  }

  /** Delivers what is on its way to `id`. */
  deliver(id: number): number {
    const arriving = this.pool.filter((message) => message.to === id);
    this.pool = this.pool.filter((message) => message.to !== id);
    for (const message of arriving) this.step(id, { kind: "message", message, nowMs: 0 });
    return arriving.length;
  }

  /** Until nothing moves any more. */
  settle(): void {
    for (let moved = true; moved; ) {
      moved = false;
      for (const id of this.members.keys()) if (this.process(id)) moved = true;
      for (const id of this.members.keys()) if (this.deliver(id) > 0) moved = true;
      this.pool = this.pool.filter((message) => this.members.has(message.to));
    }
  }

  /** Elects `id` in a cluster at rest. */
  elect(id: number): Core {
    this.campaign(id);
    this.settle();
    const core = this.core(id);
    invariant(core.role === "leader", `${id} was elected`);
    return core;
  }

  /** The process dies and starts again from what is durable. */
  restart(id: number): Core {
    const member = this.member(id);
    const applied = member.applied.at(-1)?.index ?? member.log.snapshot()?.index ?? 0;
    member.core = new Core(this.#configOf(id, member.log, applied));
    return member.core;
  }

  /** Texts of the normal entries with data that `id` has applied. */
  texts(id: number): string[] {
    return this.member(id)
      .applied.filter(({ kind, data }) => kind === "normal" && data.length > 0)
      .map(({ data }) => new TextDecoder().decode(data));
  }

  /** Messages of a kind sent so far. */
  sentOf(kind: MessageKind): Message[] {
    return this.sent.filter((message) => message.kind === kind);
  }
}

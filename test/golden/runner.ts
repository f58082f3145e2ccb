/**
 * Replays golden Raft scripts on the core. A script is a recorded run of the reference implementation (etcd's
 * raft): one command a line, with the state of every node after it; scripts/README.md tells the format.
 * Pure: what a script is named and where it lies is the caller's.
 * @module
 */
import {
  type ConfChange,
  Core,
  type CoreConfig,
  decodeConfChange,
  type Entry,
  MemoryLog,
  type Message,
  type SnapshotMeta,
} from "#raft/core";

interface GoldenConf {
  readonly voters: readonly number[];
  readonly outgoing: readonly number[];
  readonly learners: readonly number[];
  readonly learners_next: readonly number[];
  readonly auto_leave: boolean;
}

/** The state of a node, as the scripts write it. */
interface GoldenNode {
  readonly id: number;
  readonly role: string;
  readonly term: number;
  readonly vote: number;
  readonly lead: number;
  readonly commit: number;
  readonly applied: number;
  readonly first: number;
  readonly last: number;
  readonly log: readonly (readonly [number, number, string, string])[];
  readonly conf: GoldenConf;
  readonly progress?: Readonly<Record<string, readonly [number, number, string, boolean, boolean]>>;
}

interface GoldenStep {
  readonly n: number;
  readonly cmd: string;
  readonly input?: string;
  readonly err?: string;
  readonly nodes: readonly GoldenNode[];
}

/** A field of a node that is not what the script says. */
export interface Difference {
  readonly step: number;
  readonly command: string;
  /** 0: the command itself. */
  readonly node: number;
  readonly field: string;
  readonly want: string;
  readonly got: string;
}

export interface ScriptResult {
  readonly steps: number;
  /** What differs where it must not: after each `stabilize` of all nodes, or in whether a command failed. */
  readonly differences: readonly Difference[];
  /** What differs anywhere; empty when the core follows the reference's Ready contract step by step. */
  readonly strictDifferences: readonly Difference[];
}

/** Replays one script. @throws Error when it is not a script at all */
export function runScript(text: string): ScriptResult {
  const steps = text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => JSON.parse(line) as GoldenStep);
  if (steps.length === 0) throw new Error("the script is empty");
  const cluster = new GoldenCluster();
  const differences: Difference[] = [];
  const strictDifferences: Difference[] = [];
  for (const step of steps) {
    const found: Difference[] = [];
    const differ = (node: number, field: string, want: unknown, got: unknown) => {
      const [wanted, given] = [JSON.stringify(want), JSON.stringify(got)];
      if (wanted === given) return;
      found.push({ step: step.n, command: step.cmd, node, field, want: wanted, got: given ?? "nothing" });
    };
    const failed = cluster.run(step);
    differ(0, "err", step.err !== undefined, failed);
    const commandDiffers = found.length > 0;
    for (const node of step.nodes) compareNode(node, cluster.describe(node.id), differ);
    differ(0, "nodes", step.nodes.length, cluster.size);
    strictDifferences.push(...found);
    if (step.cmd.trim() === "stabilize" || commandDiffers) differences.push(...found);
  }
  return { steps: steps.length, differences, strictDifferences };
}

type Differ = (node: number, field: string, want: unknown, got: unknown) => void;

function compareNode(want: GoldenNode, got: GoldenNode | undefined, differ: Differ): void {
  if (got === undefined) {
    differ(want.id, "node", "a node", "none");
    return;
  }
  for (const field of [
    "role",
    "term",
    "vote",
    "lead",
    "commit",
    "applied",
    "first",
    "last",
    "log",
  ] as const) {
    differ(want.id, field, want[field], got[field]);
  }
  for (const field of ["voters", "outgoing", "learners", "learners_next", "auto_leave"] as const) {
    differ(want.id, `conf.${field}`, want.conf[field], got.conf[field]);
  }
  const peers = new Set([...Object.keys(want.progress ?? {}), ...Object.keys(got.progress ?? {})]);
  for (const peer of peers) {
    const [wanted, given] = [want.progress?.[peer], got.progress?.[peer]];
    const field = `progress.${peer}`;
    if (wanted === undefined || given === undefined) {
      differ(want.id, field, wanted ?? "none", given ?? "none");
      continue;
    }
    differ(want.id, `${field}.match`, wanted[0], given[0]);
    differ(want.id, `${field}.state`, wanted[2], given[2]);
    differ(want.id, `${field}.is_learner`, wanted[4], given[4]);
    if (wanted[2] !== "Replicate" || given[2] !== "Replicate") continue;
    differ(want.id, `${field}.next`, wanted[1], given[1]);
    differ(want.id, `${field}.paused`, wanted[3], given[3]);
  }
}

/** A MemoryLog whose snapshot is always the state last applied, as the reference's test storage has it. */
class GoldenLog extends MemoryLog {
  latest: SnapshotMeta;

  constructor(start: SnapshotMeta) {
    super(start);
    this.latest = start;
  }

  override snapshot(): SnapshotMeta {
    return this.latest;
  }
}

interface GoldenMember {
  readonly core: Core;
  readonly log: GoldenLog;
}

const roles = {
  follower: "Follower",
  preCandidate: "PreCandidate",
  candidate: "Candidate",
  leader: "Leader",
} as const;

/** The nodes of a script and the messages on their way. */
class GoldenCluster {
  readonly #members = new Map<number, GoldenMember>();
  #pool: Message[] = [];

  get size(): number {
    return this.#members.size;
  }

  /** Runs one command; true when it failed. */
  run({ cmd, input }: GoldenStep): boolean {
    const [name, ...words] = cmd.trim().split(/\s+/);
    const id = Number(words[0]);
    switch (name) {
      case "add-nodes":
        this.#addNodes(cmd);
        return false;
      case "campaign":
        this.#member(id).core.step({ kind: "campaign", nowMs: 0 });
        return false;
      case "propose": {
        const data = new TextEncoder().encode(words.slice(1).join(" "));
        return this.#member(id).core.step({ kind: "propose", data: [data] }) !== "ok";
      }
      case "propose-conf-change": {
        const change = parseChange(input ?? "");
        return this.#member(id).core.step({ kind: "proposeConfChange", change }) !== "ok";
      }
      case "tick-heartbeat":
        for (let tick = 0; tick < heartbeatTicks; tick++) {
          this.#member(id).core.step({ kind: "tick", nowMs: 0 });
        }
        return false;
      case "transfer-leadership": {
        const to = Number(option(cmd, "to"));
        this.#member(Number(option(cmd, "from"))).core.step({ kind: "transferLeader", to, nowMs: 0 });
        return false;
      }
      case "process-ready":
        this.#processReady(this.#member(id));
        return false;
      case "deliver-msgs":
        this.#drop(list(option(cmd, "drop")));
        return false;
      case "stabilize":
        this.#stabilize(words.length === 0 ? [...this.#members.keys()] : words.map(Number));
        return false;
      default:
        throw new Error(`unknown command: ${cmd}`);
    }
  }

  #member(id: number): GoldenMember {
    const member = this.#members.get(id);
    if (member === undefined) throw new Error(`no node ${id}`);
    return member;
  }

  #addNodes(cmd: string): void {
    const count = Number(cmd.trim().split(/\s+/)[1]);
    const index = Number(option(cmd, "index") ?? 0);
    const conf = {
      voters: list(option(cmd, "voters")),
      outgoing: [],
      learners: list(option(cmd, "learners")),
      learnersNext: [],
      autoLeave: false,
    };
    for (let added = 0; added < count; added++) {
      const id = this.#members.size + 1;
      const log = new GoldenLog({ index, term: 1, conf });
      this.#members.set(id, {
        core: new Core(goldenConfig(id, index, option(cmd, "prevote") === "true", log)),
        log,
      });
    }
  }

  #processReady({ core, log }: GoldenMember): void {
    const ready = core.takeReady();
    log.save(ready);
    if (ready.snapshot) log.latest = ready.snapshot;
    for (const entry of ready.committed) {
      if (entry.kind === "conf") log.setConf(core.applyConfChange(decodeConfChange(entry.data)));
      log.latest = { index: entry.index, term: entry.term, conf: core.conf };
    }
    this.#pool.push(...ready.sendNow, ...ready.sendAfterSync);
    core.advance(ready);
  }

  #drop(ids: readonly number[]): void {
    this.#pool = this.#pool.filter((message) => !ids.includes(message.to));
  }

  #stabilize(ids: readonly number[]): void {
    for (let moved = true; moved; ) {
      moved = false;
      for (const id of ids) {
        const member = this.#member(id);
        if (!member.core.hasReady()) continue;
        this.#processReady(member);
        moved = true;
      }
      for (const id of ids) {
        const arriving = this.#pool.filter((message) => message.to === id);
        if (arriving.length === 0) continue;
        this.#drop([id]);
        for (const message of arriving) this.#member(id).core.step({ kind: "message", message, nowMs: 0 });
        moved = true;
      }
    }
  }

  describe(id: number): GoldenNode | undefined {
    const member = this.#members.get(id);
    if (member === undefined) return undefined;
    const { core, log } = member;
    const status = core.status();
    const entries = log.entries(log.firstIndex(), log.lastIndex() + 1, Number.POSITIVE_INFINITY) ?? [];
    const { voters, outgoing, learners, learnersNext } = status.conf;
    const progress: Record<string, readonly [number, number, string, boolean, boolean]> = {};
    for (const [peer, it] of status.progress) {
      progress[peer] = [it.match, it.next, it.state, it.paused, it.isLearner];
    }
    return {
      id,
      role: roles[status.role],
      term: status.term,
      vote: status.vote,
      lead: status.leader,
      commit: status.commit,
      applied: status.applied,
      first: log.firstIndex(),
      last: log.lastIndex(),
      log: entries.map((entry) => [
        entry.index,
        entry.term,
        entry.kind === "conf" ? "conf2" : "normal",
        text(entry),
      ]),
      // The reference's status copies its configuration without autoLeave, so scripts say false even while it
      // waits to leave by itself. That it does leave shows in the log.
      conf: { voters, outgoing, learners, learners_next: learnersNext, auto_leave: false },
      ...(status.role === "leader" ? { progress } : undefined),
    };
  }
}

const electionTicks = 3;
const heartbeatTicks = 1;

function goldenConfig(id: number, applied: number, preVote: boolean, storage: GoldenLog): CoreConfig {
  return {
    id,
    storage,
    applied,
    electionTicks,
    heartbeatTicks,
    drawElectionTicks: () => 2 * electionTicks - 1,
    preVote,
    checkQuorum: false,
    readOnly: "safe",
    maxEntriesBytesPerMessage: Number.POSITIVE_INFINITY,
    maxInflightMessages: Number.POSITIVE_INFINITY,
    maxInflightBytes: 0,
    maxUncommittedBytes: 0,
    maxCommittedBytesPerReady: Number.POSITIVE_INFINITY,
    forwardProposals: true,
    stepDownOnRemoval: false,
    commitInVotes: false,
    validateConfChanges: true,
    invalidConfChange: "blank",
    asyncStorage: false,
    leaseMs: 0,
    noVoteBeforeMs: 0,
  };
}

const memberKinds = { v: "voter", l: "learner", r: "remove" } as const;

/** `r3 l2`: remove 3, make 2 a learner. */
function parseChange(input: string): ConfChange {
  const changes = input
    .split(/\s+/)
    .filter((word) => word !== "")
    .map((word) => {
      const kind = memberKinds[word[0] as keyof typeof memberKinds];
      if (kind === undefined) throw new Error(`unknown member change: ${word}`);
      return { kind, id: Number(word.slice(1)) };
    });
  return { transition: "auto", changes, context: new Uint8Array(0) };
}

function text(entry: Entry): string {
  if (entry.kind === "normal") return new TextDecoder().decode(entry.data);
  const { changes } = decodeConfChange(entry.data);
  return changes.map(({ kind, id }) => `${kind[0]}${id}`).join(" ");
}

/** The value of `name=value` or `name=(a,b)` in a command. */
function option(cmd: string, name: string): string | undefined {
  return new RegExp(`(?:^|\\s)${name}=(\\([^)]*\\)|\\S+)`).exec(cmd)?.[1];
}

/** `(1,2,3)` or `1,2,3` as numbers, ascending. */
function list(value: string | undefined): number[] {
  const numbers = (value ?? "").match(/\d+/g) ?? [];
  return numbers.map(Number).sort((a, b) => a - b);
}

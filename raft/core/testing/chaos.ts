import { invariant, type Random } from "#runtime";
import { decodeConfChange } from "../conf-codec.ts";
import { Core } from "../core.ts";
import type { CoreConfig, Entry, Input, MemberChange, Message, Ready } from "../types.ts";
import { confOf } from "./cluster.ts";
import { CrashLog } from "./crash-log.ts";

const TICK_MS = 10;
const ELECTION_TICKS = 10;
const LEASE_MS = 60;
const START_INDEX = 10;

/** A deliberate bug at a seam, to show that the checks would see it. */
export type Mutant = "voteForgotten" | "ackBeforeSync" | "clockStops" | "readUnconfirmed";

export interface ChaosOptions {
  readonly random: Random;
  readonly events: number;
  readonly mutant?: Mutant;
}

/** What one run has seen, so that a test can tell that it tested something. */
export interface ChaosReport {
  leaders: number;
  applied: number;
  crashes: number;
  reads: number;
  leaseChecks: number;
  snapshots: number;
  confChanges: number;
}

interface Replica {
  readonly id: number;
  readonly log: CrashLog;
  readonly clockOffset: number;
  readonly clockRate: number;
  core: Core;
  up: boolean;
  /** Synchronous storage: taken, not yet written. */
  taken: Ready | undefined;
  /** Asynchronous storage: to be written, to be applied. */
  writes: Ready[];
  applies: (readonly Entry[])[];
  /** Applied by this life of the process. */
  applied: number;
  nextTickMs: number;
}

/**
 * A Raft group under random faults: loss, doubling, reordering, partitions, crashes with loss of what was not
 * synced, clocks of different zero and speed, membership changes, compaction. After every event it checks what
 * must always hold; at the end faults stop and everything must commit.
 */
export class Chaos {
  readonly #random: Random;
  readonly #mutant: Mutant | undefined;
  readonly #base: Omit<CoreConfig, "id" | "storage" | "applied" | "noVoteBeforeMs">;
  readonly #replicas: Replica[] = [];
  readonly report: ChaosReport = {
    leaders: 0,
    applied: 0,
    crashes: 0,
    reads: 0,
    leaseChecks: 0,
    snapshots: 0,
    confChanges: 0,
  };
  #pool: Message[] = [];
  #nowMs = 0;
  #faulty = true;
  readonly #faultsPerMille: number;
  readonly #lossRate: number;
  /** Links that lose everything: `from>to`. */
  readonly #cut = new Set<string>();
  /** What has ever been applied anywhere, by index. */
  readonly #truth = new Map<number, string>();
  readonly #leaderOf = new Map<number, number>();
  /** The highest commit index that any replica has ever known. */
  #committed = START_INDEX;
  /** Reads asked: what was committed at that moment. */
  readonly #floors = new Map<string, number>();
  #counter = 0;

  constructor({ random, mutant }: Omit<ChaosOptions, "events">) {
    this.#random = random;
    this.#mutant = mutant;
    const voters = random.chance(0.2) ? [1] : random.chance(0.5) ? [1, 2, 3] : [1, 2, 3, 4, 5];
    const leaseMs = random.chance(0.7) ? LEASE_MS : 0;
    const draws = random.fork("election");
    // Calm groups get far, wild ones meet rare orders of events: both are wanted.
    this.#faultsPerMille = [1, 4, 12, 30][random.below(4)] ?? 1;
    this.#lossRate = random.chance(0.5) ? 0.05 : 0.005;
    this.#base = {
      electionTicks: ELECTION_TICKS,
      heartbeatTicks: 2,
      drawElectionTicks: () => ELECTION_TICKS + draws.below(ELECTION_TICKS),
      preVote: random.chance(0.5),
      checkQuorum: random.chance(0.5),
      readOnly: "safe",
      maxEntriesBytesPerMessage: random.chance(0.5) ? 40 : 1 << 20,
      maxInflightMessages: 1 + random.below(8),
      maxInflightBytes: 0,
      maxUncommittedBytes: random.chance(0.3) ? 60 : 0,
      maxCommittedBytesPerReady: random.chance(0.5) ? 40 : 1 << 20,
      forwardProposals: random.chance(0.5),
      stepDownOnRemoval: true,
      validateConfChanges: true,
      asyncStorage: random.chance(0.5),
      leaseMs,
    };
    const conf = confOf(voters);
    // Newcomers know nothing and wait for a snapshot.
    for (let id = 1; id <= 6; id++)
      this.#add(id, voters.includes(id) ? conf : confOf([]), voters.includes(id));
  }

  #add(id: number, conf: ReturnType<typeof confOf>, member: boolean): void {
    const log = new CrashLog(conf, member ? START_INDEX : 0, member ? 1 : 0);
    const clockOffset = this.#random.below(1_000_000);
    const clockRate = 0.97 + this.#random.below(60) / 1000;
    const partial = { id, log, clockOffset, clockRate };
    this.#replicas.push({
      ...partial,
      core: this.#start(partial, Number.NEGATIVE_INFINITY),
      up: true,
      taken: undefined,
      writes: [],
      applies: [],
      applied: log.applied,
      nextTickMs: this.#random.below(TICK_MS),
    });
  }

  #start({ id, log }: Pick<Replica, "id" | "log">, noVoteBeforeMs: number): Core {
    return new Core({ ...this.#base, id, storage: log, applied: log.applied, noVoteBeforeMs });
  }

  /** The replica's own monotonic clock. */
  #clock({ clockOffset, clockRate, core }: Replica): number {
    if (this.#mutant === "clockStops" && core.role === "leader") return clockOffset + 1;
    return clockOffset + this.#nowMs * clockRate;
  }

  #step(replica: Replica, input: Input): void {
    const result = replica.core.step("nowMs" in input ? { ...input, nowMs: this.#clock(replica) } : input);
    if (input.kind === "proposeConfChange" && result === "ok") this.report.confChanges++;
  }

  // ---- Events

  /** One random event, then the checks. */
  event(): void {
    this.#nowMs += this.#random.below(2);
    const up = this.#replicas.filter((replica) => replica.up);
    this.#tick();
    const draw = this.#random.below(1000);
    const replica = up[this.#random.below(Math.max(1, up.length))];
    if (this.#random.below(1000) < this.#faultsPerMille) this.#fault(replica);
    else if (draw < 450) this.#deliver();
    else if (replica !== undefined && draw < 930) this.#work(replica);
    else if (replica !== undefined) this.#load(replica);
    this.#check();
  }

  #tick(): void {
    for (const replica of this.#replicas) {
      if (!replica.up || replica.nextTickMs > this.#nowMs) continue;
      replica.nextTickMs = this.#nowMs + TICK_MS;
      this.#step(replica, { kind: "tick", nowMs: 0 });
    }
  }

  #load(replica: Replica): void {
    const draw = this.#random.below(100);
    const leader = this.#replicas.find(({ up, core }) => up && core.role === "leader") ?? replica;
    if (draw < 50) {
      const data = [new TextEncoder().encode(`x${this.#counter++}`)];
      this.#step(this.#random.chance(0.8) ? leader : replica, { kind: "propose", data });
    } else if (draw < 80) {
      this.#ask(replica);
    } else if (draw < 86) {
      this.#step(leader, { kind: "proposeConfChange", change: this.#randomChange() });
    } else if (draw < 91) {
      replica.log.compact(replica.applied - this.#random.below(3));
    } else if (draw < 94) {
      this.#step(leader, { kind: "transferLeader", to: 1 + this.#random.below(6), nowMs: 0 });
    } else if (draw < 96) {
      this.#step(replica, { kind: "campaign", nowMs: 0 });
    } else if (draw < 98) {
      this.#step(replica, { kind: "forgetLeader" });
    } else {
      this.#step(leader, { kind: "reportUnreachable", id: 1 + this.#random.below(6) });
    }
  }

  #ask(replica: Replica): void {
    const context = `r${this.#counter++}`;
    this.#floors.set(context, this.#committed);
    this.#step(replica, { kind: "readIndex", context, nowMs: 0 });
  }

  #randomChange() {
    const transition = this.#random.chance(0.6) ? "auto" : this.#random.chance(0.5) ? "implicit" : "explicit";
    const changes: MemberChange[] = [];
    for (let count = this.#random.below(4); count > 0; count--) {
      const kind = (["voter", "voter", "learner", "remove"] as const)[this.#random.below(4)] ?? "voter";
      changes.push({ kind, id: 1 + this.#random.below(6) });
    }
    const leaving = changes.length === 0;
    return { transition: leaving ? "auto" : transition, changes, context: new Uint8Array(0) } as const;
  }

  #fault(replica: Replica | undefined): void {
    const draw = this.#random.below(100);
    if (draw < 20 && replica !== undefined) this.#crash(replica);
    else if (draw < 45) this.#revive(this.#down());
    else if (draw < 65 && replica !== undefined) {
      // A supervisor that starts it again at once.
      this.#crash(replica);
      this.#revive(replica);
      this.#rivals();
    } else if (draw < 85) this.#cutLinks();
    else this.#cut.clear();
  }

  /** Parts the network in two, or cuts single links, each in one direction. */
  #cutLinks(): void {
    this.#cut.clear();
    const parted = this.#random.chance(0.5);
    const side = this.#replicas.map(() => this.#random.chance(0.4));
    for (const [a, { id: from }] of this.#replicas.entries()) {
      for (const [b, { id: to }] of this.#replicas.entries()) {
        if (parted ? side[a] !== side[b] : this.#random.chance(0.25)) this.#cut.add(`${from}>${to}`);
      }
    }
  }

  /** Two who want to lead at the same time. */
  #rivals(): void {
    for (let count = 0; count < 2; count++) {
      const rival = this.#replicas[this.#random.below(this.#replicas.length)];
      if (rival?.up) this.#step(rival, { kind: "campaign", nowMs: 0 });
    }
  }

  #crash(replica: Replica): void {
    this.report.crashes++;
    replica.log.crash(this.#random.below(replica.log.unsyncedWrites + 1));
    if (this.#mutant === "voteForgotten") replica.log.corrupt((state) => ({ ...state, vote: 0 }));
    replica.up = false;
  }

  #down(): Replica | undefined {
    const down = this.#replicas.filter(({ up }) => !up);
    return down[this.#random.below(Math.max(1, down.length))];
  }

  #revive(replica: Replica | undefined): void {
    if (replica === undefined) return;
    replica.up = true;
    replica.taken = undefined;
    replica.writes = [];
    replica.applies = [];
    replica.applied = replica.log.applied;
    replica.core = this.#start(replica, this.#clock(replica) + ELECTION_TICKS * TICK_MS);
    replica.nextTickMs = this.#nowMs + TICK_MS;
  }

  /** Delivers, loses or doubles a message out of any order. */
  #deliver(): void {
    const at = this.#faulty && this.#random.chance(0.2) ? this.#random.below(this.#pool.length) : 0;
    const message = this.#pool[at];
    if (message === undefined) return;
    const doubled = this.#faulty && this.#random.chance(0.03);
    if (!doubled) this.#pool.splice(at, 1);
    const to = this.#replicas.find(({ id }) => id === message.to);
    const lost =
      this.#cut.has(`${message.from}>${message.to}`) || (this.#faulty && this.#random.chance(this.#lossRate));
    if (to?.up && !lost) this.#step(to, { kind: "message", message, nowMs: 0 });
    if (message.kind !== "snapshot") return;
    const from = this.#replicas.find(({ id }) => id === message.from);
    if (from?.up) this.#step(from, { kind: "reportSnapshot", id: message.to, ok: !lost && to?.up === true });
  }

  // ---- A host's duties, in pieces between which anything may happen

  #work(replica: Replica): void {
    if (this.#base.asyncStorage) this.#workAsync(replica);
    else if (replica.taken === undefined) this.#takeSync(replica);
    else this.#finishSync(replica, replica.taken);
  }

  #takeSync(replica: Replica): void {
    if (!replica.core.hasReady()) return;
    const ready = replica.core.takeReady();
    replica.taken = ready;
    this.#sendNow(replica, ready);
    this.#noteReads(replica, ready);
    // What was durable before may be applied before this write.
    this.#apply(
      replica,
      ready.committed.filter(({ index }) => index <= ready.stableIndex),
    );
  }

  #finishSync(replica: Replica, ready: Ready): void {
    this.#write(replica, ready);
    this.#send(ready.sendAfterSync);
    this.#apply(
      replica,
      ready.committed.filter(({ index }) => index > ready.stableIndex),
    );
    replica.taken = undefined;
    replica.core.advance(ready);
  }

  #workAsync(replica: Replica): void {
    const draw = this.#random.below(3);
    if (draw === 0 && replica.core.hasReady()) {
      const ready = replica.core.takeReady();
      this.#sendNow(replica, ready);
      this.#noteReads(replica, ready);
      if (ready.appendAck !== undefined) replica.writes.push(ready);
      if (ready.committed.length > 0) replica.applies.push(ready.committed);
    } else if (draw === 1) {
      const ready = replica.writes.shift();
      if (ready?.appendAck === undefined) return;
      this.#write(replica, ready);
      this.#send(ready.sendAfterSync);
      replica.core.step({ kind: "appended", ack: ready.appendAck });
    } else {
      const entries = replica.applies.shift();
      const last = entries?.at(-1);
      if (entries === undefined || last === undefined) return;
      // A snapshot installed meanwhile has jumped over them.
      this.#apply(
        replica,
        entries.filter(({ index }) => index > replica.applied),
      );
      replica.core.step({ kind: "applied", index: last.index });
    }
  }

  #sendNow(replica: Replica, ready: Ready): void {
    for (const { kind, term } of ready.sendNow) {
      const promise = kind === "vote" || kind.endsWith("oteResponse") || kind === "appendResponse";
      invariant(!promise, "R2: no promise leaves before it is durable");
      const durable = this.#base.asyncStorage ? replica.core.term : replica.log.durable.term;
      const ahead = kind === "preVote" ? 1 : 0;
      invariant(
        kind === "propose" || term - ahead <= durable,
        "R2: no term is spoken of before it is durable",
      );
    }
    this.#send(ready.sendNow);
    if (this.#mutant === "ackBeforeSync") this.#send(ready.sendAfterSync);
  }

  #send(messages: readonly Message[]): void {
    for (const message of messages) {
      if (this.#mutant === "readUnconfirmed" && message.kind === "readIndex") {
        const { from, to } = message;
        this.#pool.push({ ...message, kind: "readIndexResponse", from: to, to: from, index: START_INDEX });
      } else {
        this.#pool.push(message);
      }
    }
    // A congested network loses, but never a snapshot without its sender being told.
    const excess = this.#pool.length - 400;
    if (excess > 0) this.#pool = this.#pool.filter(({ kind }, at) => kind === "snapshot" || at >= excess);
  }

  #write(replica: Replica, ready: Ready): void {
    if (ready.snapshot !== undefined) {
      this.report.snapshots++;
      replica.applied = ready.snapshot.index;
    }
    replica.log.save(ready);
    if (ready.mustSync && this.#mutant !== "ackBeforeSync") replica.log.sync();
    else if (this.#random.chance(0.2)) replica.log.sync();
  }

  #apply(replica: Replica, entries: readonly Entry[]): void {
    for (const entry of entries) {
      invariant(entry.index === replica.applied + 1, "entries are applied in order, once");
      replica.applied = entry.index;
      this.report.applied++;
      const says = `${entry.term} ${entry.kind} ${new TextDecoder().decode(entry.data)}`;
      const said = this.#truth.get(entry.index);
      invariant(
        said === undefined || said === says,
        `state machine safety at ${entry.index}: ${said} | ${says}`,
      );
      this.#truth.set(entry.index, says);
      if (entry.kind === "conf") replica.core.applyConfChange(decodeConfChange(entry.data));
      replica.log.apply(entry.index, replica.core.conf);
    }
  }

  #noteReads(replica: Replica, ready: Ready): void {
    for (const { context, index } of ready.readStates) {
      this.report.reads++;
      const floor = this.#floors.get(context);
      invariant(floor !== undefined, "only what was asked is answered");
      invariant(index >= floor, `${replica.id}: a linearizable read at ${index} misses ${floor}`);
    }
  }

  // ---- Checks

  #check(): void {
    for (const replica of this.#replicas) {
      if (!replica.up) continue;
      const { core } = replica;
      const { commit, applied, lastIndex } = core;
      invariant(applied <= commit && commit <= lastIndex, "applied ≤ commit ≤ last");
      if (commit > this.#committed) this.#committed = commit;
      if (core.role !== "leader") continue;
      const other = this.#leaderOf.get(core.term);
      if (other === undefined) this.report.leaders++;
      invariant(
        other === undefined || other === core.id,
        `election safety: two leaders in term ${core.term}`,
      );
      this.#leaderOf.set(core.term, core.id);
    }
    for (const replica of this.#replicas) {
      if (!replica.up || !replica.core.leaseHeld(this.#clock(replica))) continue;
      this.report.leaseChecks++;
      invariant(
        replica.core.commit >= this.#committed,
        `R17: ${replica.id} holds a lease at ${replica.core.commit} while ${this.#committed} is committed`,
      );
    }
  }

  /** Faults stop; a proposal must be committed and applied by every member in force. */
  heal(): void {
    this.#faulty = false;
    this.#cut.clear();
    for (let down = this.#down(); down !== undefined; down = this.#down()) this.#revive(down);
    const target = `heal${this.#counter++}`;
    for (let round = 0; round < 20_000; round++) {
      this.#calmRound();
      const leader = this.#replicas.find(({ core }) => core.role === "leader");
      if (leader === undefined || round % 50 !== 0) continue;
      this.#step(leader, { kind: "propose", data: [new TextEncoder().encode(target)] });
      const { conf } = leader.core;
      const members = this.#replicas.filter(
        ({ id }) => conf.voters.includes(id) || conf.learners.includes(id),
      );
      const done = [...this.#truth].find(([, says]) => says.endsWith(target))?.[0];
      if (done !== undefined && members.every(({ applied }) => applied >= done)) return;
    }
    const states = this.#replicas.map(({ core }) =>
      JSON.stringify({ ...core.status(), progress: [...core.status().progress] }),
    );
    invariant(false, `liveness: nothing commits after faults have stopped\n${states.join("\n")}`);
  }

  /** A millisecond in which everybody does what there is to do. */
  #calmRound(): void {
    this.#nowMs += 1;
    this.#tick();
    for (let messages = this.#pool.length; messages > 0; messages--) this.#deliver();
    for (const replica of this.#replicas) {
      for (let duties = 0; duties < 8; duties++) this.#work(replica);
    }
    this.#check();
  }
}

/** One whole run. @throws InvariantError when something that must hold does not */
export function runChaos(options: ChaosOptions): ChaosReport {
  const chaos = new Chaos(options);
  for (let event = 0; event < options.events; event++) chaos.event();
  chaos.heal();
  return chaos.report;
}

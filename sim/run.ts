import { seededRandom, VirtualClock } from "#runtime";
import { calmLink, SimNetwork } from "#transport";
import type { Assembly } from "./assembly.ts";
import { checkHistory, checkRevisionOrder } from "./checks/linearizable-history.ts";
import { Violation } from "./checks/violation.ts";
import { SimCluster } from "./cluster.ts";
import { type Call, History, type Operation } from "./history.ts";
import type { Mutant } from "./mutants/mutant.ts";
import { mayMerge, type Plan, planRun } from "./plan.ts";
import { Trace } from "./trace.ts";
import { Monitor } from "./watch/monitor.ts";
import { type Port, Workload } from "./workload.ts";
import type { World } from "./world.ts";

export interface RunOptions {
  readonly assembly: Assembly;
  readonly mutant?: Mutant;
  /** Makes a trace hash; costs time. */
  readonly hashing?: boolean;
  /** Changes the plan of the seed. */
  readonly adjust?: (plan: Plan) => Plan;
}

export interface RunResult {
  readonly plan: Plan;
  readonly violation: Violation | undefined;
  readonly operations: number;
  readonly answered: number;
  /** By kind. */
  readonly faults: Readonly<Record<string, number>>;
  readonly elections: number;
  readonly statesCompared: number;
  readonly virtualMs: number;
  readonly events: number;
  readonly timeline: readonly string[];
  readonly trace: string | undefined;
}

/** Events without the time moving: beyond this something feeds itself. */
const eventsPerMomentMax = 200_000;

/** Many times what the busiest runs have: beyond this something feeds itself in small steps of time. */
const eventsMax = 3_000_000;

/** Runs the whole cluster once, as the seed says. Never throws for a bug in the product: it is the result. */
export function runSeed(seed: number, options: RunOptions): RunResult {
  const planned = planRun(seed);
  const bent = options.mutant?.plan?.(planned) ?? planned;
  return new Run(options.adjust?.(bent) ?? bent, options).go();
}

class Run {
  readonly #plan: Plan;
  readonly #clock = new VirtualClock();
  readonly #trace: Trace;
  readonly #monitor: Monitor;
  readonly #network: SimNetwork;
  readonly #cluster: SimCluster;
  readonly #history = new History();
  readonly #workload: Workload;
  #events = 0;

  constructor(plan: Plan, options: RunOptions) {
    this.#plan = plan;
    this.#trace = new Trace(options.hashing ?? false);
    const random = seededRandom(`run/${plan.seed}`);
    this.#monitor = new Monitor((group, term, replica, disk) => {
      this.#note(`group ${group} term ${term}: replica ${replica} on ${disk} leads`);
    });
    this.#network = new SimNetwork({
      clock: this.#clock,
      random: random.fork("network"),
      maxPayloadBytes: plan.maxPayloadBytes,
    });
    const world: World = {
      plan,
      clock: this.#clock,
      random,
      network: this.#network,
      trace: this.#trace,
      monitor: this.#monitor,
      assembly: options.assembly,
      mutant: options.mutant,
    };
    this.#cluster = new SimCluster(world);
    this.#workload = new Workload({
      plan,
      clock: this.#clock,
      random: random.fork("workload"),
      history: this.#history,
      ports: () => this.#cluster.ports,
      onAnswer: (operation) => this.#heard(operation),
    });
  }

  go(): RunResult {
    let violation: Violation | undefined;
    try {
      this.#phases();
    } catch (error) {
      violation = error instanceof Violation ? error : unexpected(error);
      // What broke first is what the checks saw first.
      violation = this.#monitor.violation ?? violation;
    }
    const { stats } = this.#network;
    const { faults } = this.#cluster;
    for (const [kind, count] of Object.entries(this.#cluster.reshaper.counts)) faults.count(kind, count);
    faults.count("messagesLost", stats.lost);
    faults.count("messagesDuplicated", stats.duplicated);
    faults.count("messagesReordered", stats.reordered);
    return {
      plan: this.#plan,
      violation,
      operations: this.#history.operations.length,
      answered: this.#history.operations.filter(
        ({ answer }) => answer !== undefined && isCertain(answer.kind),
      ).length,
      faults: faults.counts,
      elections: this.#monitor.leaders.elections,
      statesCompared: this.#monitor.agreement.statesCompared,
      virtualMs: this.#clock.nowMs(),
      events: this.#events,
      timeline: this.#trace.timeline(),
      trace: this.#trace.digest(),
    };
  }

  #phases(): void {
    const { electionMaxMs } = this.#plan.timing;
    const cluster = this.#cluster;
    cluster.start();
    this.#sampling();
    if (!this.#plan.early) {
      this.#until("the cluster forms", 20_000 + 20 * electionMaxMs, () => cluster.isReady);
      this.#note("the cluster is ready; load and faults begin");
      this.#configure();
    }
    cluster.setNetwork({ ...calmLink, ...this.#plan.network });
    this.#workload.start();
    cluster.faults.schedule(this.#plan.faults);
    this.#advance(this.#plan.faultMs);
    this.#note("faults end");
    cluster.heal();
    // Long enough for a replica that was replaced while it was away to ask what became of it (R34: a minute).
    this.#advance(500);
    this.#workload.stop();
    this.#until("the cluster heals", 90_000 + 20 * electionMaxMs, () => {
      // While most nodes drain, as operators wanted it, nothing can be made on them.
      cluster.reshaper.activate();
      return cluster.isReady;
    });
    // Nobody comes back for the replicas of a machine that is gone, nor for moves to it.
    if (cluster.hasLostMachines) this.#setDownAfter(2000);
    this.#until(
      "what operators began ends",
      60_000,
      () => cluster.reshaper.settle(),
      () => "operations still run",
      100,
    );
    this.#until("calls end", this.#plan.callTimeoutMs + 2000, () => this.#workload.running === 0);
    this.#everyShardWorks();
    this.#until("replicas are level", 8000 + 20 * electionMaxMs, () => cluster.isLevel);
    cluster.compareStates();
    cluster.checkTiling();
    checkHistory(this.#history, (2 * this.#plan.driftPpmMax) / 1_000_000);
    checkRevisionOrder(this.#history, (key) => this.#clockOf(key));
    let stopped = false;
    cluster.stop(() => {
      stopped = true;
    });
    this.#until("nodes stop", 10_000, () => stopped);
    this.#throwIfViolated();
  }

  /**
   * Whose clock stamped a key's writes. Before two shards were one they had two, so that after a merge only
   * writes of one key can be compared.
   */
  #clockOf(key: string): number | undefined {
    return mayMerge(this.#plan) ? this.#workload.keys.indexOf(key) : this.#cluster.shardOf(key);
  }

  /**
   * Liveness: with nothing wrong any more, each key can be written and each process reads it. A refusal that
   * says that nothing was applied may be tried again: a disk guard, say, looks at its disk only now and then.
   */
  #everyShardWorks(): void {
    const boundMs = 8000 + 20 * this.#plan.timing.electionMaxMs;
    const endMs = this.#clock.nowMs() + boundMs;
    const open = new Map<string, string>();
    const ask = (port: Port, key: string, kind: "put" | "get"): void => {
      const call: Call = kind === "put" ? { kind, value: `v${this.#history.operations.length}:1` } : { kind };
      const name = `${port.name} ${kind} ${key}`;
      open.set(name, "asked");
      const leftMs = endMs - this.#clock.nowMs();
      this.#workload.call(port, "last", key, call, leftMs, ({ answer }) => {
        if (answer !== undefined && isCertain(answer.kind)) {
          open.delete(name);
          return;
        }
        open.set(name, answer?.kind ?? "unanswered");
        this.#clock.after(100, () => {
          if (this.#clock.nowMs() < endMs) ask(port, key, kind);
        });
      });
    };
    const { ports } = this.#cluster;
    for (const [i, key] of this.#workload.keys.entries()) {
      for (const [j, port] of ports.entries()) ask(port, key, j === i % ports.length ? "put" : "get");
    }
    this.#until(
      "the last calls succeed",
      boundMs + 2000,
      () => open.size === 0,
      () =>
        [...open]
          .slice(0, 5)
          .map(([name, last]) => `${name}: ${last}`)
          .join("; "),
    );
  }

  #configure(): void {
    const { downAfterMs } = this.#plan;
    if (downAfterMs !== undefined) this.#setDownAfter(downAfterMs);
  }

  #setDownAfter(downAfterMs: number): void {
    const settings = { suspect_after_ms: Math.min(500, downAfterMs), down_after_ms: downAfterMs };
    let done = false;
    this.#cluster.reshaper.configure(settings, () => {
      done = true;
    });
    this.#until("settings are taken", 20_000, () => done);
  }

  #sampling(): void {
    let looks = 0;
    const look = (): void => {
      this.#cluster.checkTiling();
      looks += 1;
      if (looks % 4 === 0) this.#cluster.compareStates();
      this.#clock.after(250, look);
    };
    this.#clock.after(250, look);
  }

  /** Lets virtual time pass. */
  #advance(durationMs: number): void {
    const endMs = this.#clock.nowMs() + durationMs;
    while (this.#step(endMs));
    this.#clock.advance(endMs - this.#clock.nowMs());
  }

  /** Lets time pass until `holds`, looked at every few ms; it must within `boundMs`. */
  #until(
    what: string,
    boundMs: number,
    holds: () => boolean,
    describe: () => string = () => this.#cluster.describeReadiness(),
    everyMs = 5,
  ): void {
    const endMs = this.#clock.nowMs() + boundMs;
    while (!holds()) {
      if (this.#clock.nowMs() >= endMs) {
        throw new Violation("liveness", `${what}: not within ${boundMs} ms. ${describe()}`);
      }
      this.#advance(everyMs);
    }
  }

  #momentMs = -1;
  #momentEvents = 0;

  #step(untilMs: number): boolean {
    if (!this.#clock.step(untilMs)) return false;
    this.#events += 1;
    this.#throwIfViolated();
    const nowMs = this.#clock.nowMs();
    if (nowMs !== this.#momentMs) {
      this.#momentMs = nowMs;
      this.#momentEvents = 0;
    }
    this.#momentEvents += 1;
    if (this.#momentEvents > eventsPerMomentMax)
      throw new Violation("time goes on", `${eventsPerMomentMax} events at ${nowMs} ms`);
    if (this.#events > eventsMax)
      throw new Violation("a run ends", `${eventsMax} events by ${Math.round(nowMs)} ms`);
    return true;
  }

  #throwIfViolated(): void {
    if (this.#monitor.violation !== undefined) throw this.#monitor.violation;
  }

  #heard(operation: Operation): void {
    const { answer, call, client, key } = operation;
    // A timeline full of answers would hide what led to them.
    if (this.#trace.hashing)
      this.#trace.mark(this.#clock.nowMs(), `${client} ${call.kind} ${key} ${JSON.stringify(answer)}`);
  }

  #note(text: string): void {
    this.#trace.note(this.#clock.nowMs(), text);
  }
}

function isCertain(kind: string): boolean {
  return kind !== "unknown" && kind !== "noAnswer" && kind !== "notApplied";
}

function unexpected(error: unknown): Violation {
  return new Violation(
    "no unexpected exception",
    error instanceof Error ? (error.stack ?? error.message) : String(error),
  );
}

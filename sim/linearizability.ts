/**
 * Decides whether what clients saw of one key could have come from one register that does each operation at
 * one moment between its call and its answer (Herlihy and Wing). The search is Wing and Gong's with Lowe's
 * memory of states already tried ("Testing for linearizability", 2017); growing revisions prune it: writes
 * whose revision is known can only stand in its order, and what changes nothing is placed as soon as it fits,
 * so all that is left to choose is when, if ever, writes of unknown outcome took effect.
 *
 * Stale reads take part with a longer span: the answer must have been current at some moment from its claimed
 * staleness before the call on (R19), and not before the revision the caller demanded.
 * @module
 */
import { describeOperation, type Operation } from "./history.ts";
import {
  absentRegister,
  accepts,
  after,
  compareInstants,
  type Instant,
  learn,
  meets,
  type Register,
  type Step,
  type Steps,
  stepsOf,
  type Unresolved,
} from "./register.ts";

export type Verdict =
  | { readonly ok: true }
  /** `undecided`: the search met its limit; neither right nor wrong was shown. */
  | {
      readonly ok: false;
      readonly undecided: boolean;
      readonly why: string;
      readonly around: readonly string[];
    };

export interface CheckOptions {
  /** Added to a claimed staleness, per ms of it: clocks of nodes may run fast or slow. */
  readonly clockDriftMax?: number;
  /** States tried at most. */
  readonly maxStates?: number;
}

/** Checks all operations on one key, in any order. */
export function checkRegister(operations: readonly Operation[], options: CheckOptions = {}): Verdict {
  const steps = stepsOf(operations, options.clockDriftMax ?? 0);
  if ("why" in steps) {
    return { ok: false, undecided: false, why: steps.why, around: steps.around.map(describeOperation) };
  }
  return new Search(steps, options.maxStates ?? 1_000_000).run();
}

/** What may be done next, and the revision that it tells of the present unresolved value. */
interface Choice {
  readonly step?: Step;
  readonly unresolved?: Unresolved;
  readonly learnt: number | undefined;
}

/** A state of the search with what can be done from there. */
interface Frame {
  readonly choices: readonly Choice[];
  next: number;
  readonly state: Register;
  readonly mark: number;
}

/** Depth first with an own stack; steps not done yet are a doubly linked list in order of their calls. */
class Search {
  readonly #steps: readonly Step[];
  readonly #writes: readonly Step[];
  readonly #unresolved: readonly Unresolved[];
  readonly #maxStates: number;
  readonly #position: ReadonlyMap<Step, number>;
  readonly #known: ReadonlySet<number>;
  /** The list's head is the slot behind the last step. */
  readonly #head: number;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** What was done, in order, to be taken back in reverse. */
  readonly #trail: (Step | Unresolved)[] = [];
  readonly #seen = new Set<string>();
  /** Of the set of steps done: two 32-bit sums of per-step random numbers (Zobrist). */
  #hashes: [number, number] = [0, 0];
  #writesDone = 0;
  #state: Register = absentRegister;
  #deepest = -1;
  #failure: { readonly why: string; readonly around: readonly string[] } = { why: "", around: [] };

  constructor({ steps, writes, unresolved }: Steps, maxStates: number) {
    this.#steps = steps;
    this.#writes = writes;
    this.#unresolved = unresolved;
    this.#maxStates = maxStates;
    this.#position = new Map(steps.map((step, i) => [step, i]));
    this.#known = new Set(writes.map((step) => step.revision ?? 0));
    this.#head = steps.length;
    const slots = steps.length + 1;
    this.#next = Int32Array.from({ length: slots }, (_, i) => (i + 1) % slots);
    this.#previous = Int32Array.from({ length: slots }, (_, i) => (i + slots - 1) % slots);
    // The head comes before the first step.
    this.#next[this.#head] = 0;
    this.#previous[0] = this.#head;
  }

  run(): Verdict {
    const frames: Frame[] = [];
    for (let states = 0; states < this.#maxStates; states++) {
      this.#absorb();
      if (this.#next[this.#head] === this.#head) return { ok: true };
      const choices = this.#isNew() ? this.#choices() : [];
      frames.push({ choices, next: 0, state: this.#state, mark: this.#trail.length });
      this.#noteDeepest();
      if (!this.#goOn(frames)) return { ok: false, undecided: false, ...this.#failure };
    }
    return { ok: false, undecided: true, ...this.#failure };
  }

  /** Makes the next untried choice of the topmost state that has one; false when none is left. */
  #goOn(frames: Frame[]): boolean {
    for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
      this.#takeBack(frame.mark);
      const choice = frame.choices[frame.next++];
      if (choice !== undefined) {
        this.#state = choice.learnt === undefined ? frame.state : learn(choice.learnt);
        this.#make(choice);
        return true;
      }
      frames.pop();
    }
    return false;
  }

  #make({ step, unresolved }: Choice): void {
    if (step !== undefined) {
      if (step.effect !== "none") this.#state = after(step.effect, step.revision, this.#state);
      this.#remove(step);
    }
    if (unresolved !== undefined) {
      this.#state = after(unresolved.effect, undefined, this.#state);
      unresolved.taken += 1;
      this.#trail.push(unresolved);
    }
  }

  /** Steps that no undone step precedes in time, first called first. @returns the first end among undone ones */
  #eachCandidate(visit: (step: Step) => void): Instant | undefined {
    let earliestEnd: Instant | undefined;
    for (
      let at = this.#next[this.#head] ?? this.#head;
      at !== this.#head;
      at = this.#next[at] ?? this.#head
    ) {
      const step = this.#steps[at];
      if (step === undefined) break;
      if (earliestEnd !== undefined && compareInstants(step.from, earliestEnd) > 0) break;
      if (step.to !== undefined && (earliestEnd === undefined || compareInstants(step.to, earliestEnd) < 0)) {
        earliestEnd = step.to;
      }
      visit(step);
    }
    return earliestEnd;
  }

  /** Does what fits the state and changes nothing: at once is as good as later, and often better. */
  #absorb(): void {
    for (let fitting: Step[] = [], go = true; go; go = fitting.length > 0) {
      fitting = [];
      this.#eachCandidate((step) => {
        if (step.effect === "none" && accepts(step, this.#state, this.#isGhost) === true) fitting.push(step);
      });
      for (const step of fitting) this.#remove(step);
    }
  }

  #choices(): Choice[] {
    const write = this.#writes[this.#writesDone];
    const choices: Choice[] = [];
    const refining: Choice[] = [];
    const earliestEnd = this.#eachCandidate((step) => {
      if (step.effect !== "none" && step !== write) return;
      const accepted = accepts(step, this.#state, this.#isGhost);
      if (accepted === true) choices.push({ step, learnt: undefined });
      else if (accepted !== false) refining.push({ step, learnt: accepted });
    });
    choices.push(...refining);
    for (const unresolved of this.#unresolved) {
      const call = unresolved.calls[unresolved.taken];
      if (call === undefined) continue;
      if (earliestEnd !== undefined && compareInstants(call.called, earliestEnd) > 0) continue;
      if (unresolved.effect === "delete" && !this.#state.present) continue;
      const accepted = meets(unresolved.condition, this.#state, this.#isGhost);
      if (accepted !== false) choices.push({ unresolved, learnt: accepted === true ? undefined : accepted });
    }
    return choices;
  }

  readonly #isGhost = (revision: number): boolean => !this.#known.has(revision);

  #isNew(): boolean {
    const { present, revision, last } = this.#state;
    const taken = this.#unresolved.map((u) => u.taken).join(",");
    const key = `${this.#hashes[0]} ${this.#hashes[1]} ${present ? revision : "-"} ${last} ${taken}`;
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    return true;
  }

  #remove(step: Step): void {
    const at = this.#position.get(step) ?? 0;
    const [previous, next] = [this.#previous[at] ?? 0, this.#next[at] ?? 0];
    this.#next[previous] = next;
    this.#previous[next] = previous;
    if (step.effect !== "none") this.#writesDone += 1;
    this.#hash(at);
    this.#trail.push(step);
  }

  #takeBack(mark: number): void {
    while (this.#trail.length > mark) {
      const last = this.#trail.pop();
      if (last === undefined) break;
      if ("calls" in last) {
        last.taken -= 1;
        continue;
      }
      const at = this.#position.get(last) ?? 0;
      this.#next[this.#previous[at] ?? 0] = at;
      this.#previous[this.#next[at] ?? 0] = at;
      if (last.effect !== "none") this.#writesDone -= 1;
      this.#hash(at);
    }
  }

  #hash(at: number): void {
    this.#hashes[0] ^= scramble(at + 1);
    this.#hashes[1] ^= scramble(Math.imul(at + 1, 0x9e3779b1));
  }

  #noteDeepest(): void {
    if (this.#trail.length <= this.#deepest) return;
    this.#deepest = this.#trail.length;
    const { present, revision, last } = this.#state;
    const now = present
      ? `revision ${revision === -1 ? "of a write of unknown outcome" : revision}`
      : "absent";
    const waiting: string[] = [];
    this.#eachCandidate((step) => {
      if (waiting.length < 8) waiting.push(`cannot follow: ${describeOperation(step.operation)}`);
    });
    const before = this.#trail.filter((done): done is Step => "operation" in done).slice(-6);
    const around = [
      ...before.map((step) => `            then: ${describeOperation(step.operation)}`),
      ...waiting,
    ];
    this.#failure = { why: `no order explains it; the key would be at ${now}, last ${last}`, around };
  }
}

/** A fixed, well mixed number for each position. */
function scramble(n: number): number {
  let h = Math.imul(n ^ (n >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return h ^ (h >>> 16);
}

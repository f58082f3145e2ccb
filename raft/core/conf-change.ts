import type { ConfChange, ConfState } from "./types.ts";

/**
 * Configuration changes as pure functions from one ConfState to the next (Raft thesis chapter 4).
 * @module
 */

/** A change that cannot be made of this configuration. */
export class ConfChangeError extends Error {
  override readonly name = "ConfChangeError";
}

/** A next configuration, and who in it begins anew (was removed and added again by the same change). */
export interface NextConf {
  readonly conf: ConfState;
  readonly renewed: ReadonlySet<number>;
}

/** Whether `change` leaves a joint configuration. */
export function leavesJoint(change: ConfChange): boolean {
  return change.transition === "auto" && change.changes.length === 0;
}

/** Whether `change` goes through a joint configuration; more than one member at once must. */
export function entersJoint(change: ConfChange): boolean {
  return change.transition !== "auto" || change.changes.length > 1;
}

export function isJoint(conf: ConfState): boolean {
  return conf.outgoing.length > 0;
}

/**
 * What `conf` becomes by `change`.
 * @throws ConfChangeError when it cannot: no voter would be left, it is joint and must be left first, …
 */
export function changeConf(conf: ConfState, change: ConfChange): NextConf {
  if (leavesJoint(change)) return { conf: leaveJoint(conf), renewed: new Set() };
  if (isJoint(conf)) throw new ConfChangeError("the configuration is joint and must be left first");
  const draft = new Draft(conf);
  if (!entersJoint(change)) {
    draft.apply(change);
    return draft.finish(false);
  }
  if (conf.voters.length === 0) throw new ConfChangeError("a configuration without voters cannot be joint");
  draft.enterJoint();
  draft.apply(change);
  return draft.finish(change.transition !== "explicit");
}

function leaveJoint(conf: ConfState): ConfState {
  if (!isJoint(conf)) throw new ConfChangeError("the configuration is not joint");
  return {
    voters: conf.voters,
    outgoing: [],
    learners: sorted(new Set([...conf.learners, ...conf.learnersNext])),
    learnersNext: [],
    autoLeave: false,
  };
}

/** A configuration while a change is made of it. */
class Draft {
  readonly #voters: Set<number>;
  #outgoing: ReadonlySet<number>;
  readonly #learners: Set<number>;
  readonly #learnersNext: Set<number>;
  readonly #renewed = new Set<number>();

  constructor(conf: ConfState) {
    this.#voters = new Set(conf.voters);
    this.#outgoing = new Set(conf.outgoing);
    this.#learners = new Set(conf.learners);
    this.#learnersNext = new Set(conf.learnersNext);
  }

  enterJoint(): void {
    this.#outgoing = new Set(this.#voters);
  }

  apply(change: ConfChange): void {
    for (const { kind, id } of change.changes) {
      if (!Number.isSafeInteger(id) || id <= 0) throw new ConfChangeError(`no replica id: ${id}`);
      if (kind === "voter") this.#makeVoter(id);
      else if (kind === "learner") this.#makeLearner(id);
      else this.#remove(id);
    }
    if (this.#voters.size === 0) throw new ConfChangeError("no voter would be left");
  }

  #makeVoter(id: number): void {
    this.#learners.delete(id);
    this.#learnersNext.delete(id);
    this.#voters.add(id);
  }

  #makeLearner(id: number): void {
    if (this.#learners.has(id)) return;
    this.#voters.delete(id);
    // Who still votes in the outgoing half becomes a learner only when that half is left.
    if (this.#outgoing.has(id)) this.#learnersNext.add(id);
    else this.#learners.add(id);
  }

  #remove(id: number): void {
    const known = this.#voters.has(id) || this.#learners.has(id);
    this.#voters.delete(id);
    this.#learners.delete(id);
    this.#learnersNext.delete(id);
    if (known && !this.#outgoing.has(id)) this.#renewed.add(id);
  }

  finish(autoLeave: boolean): NextConf {
    const conf: ConfState = {
      voters: sorted(this.#voters),
      outgoing: sorted(this.#outgoing),
      learners: sorted(this.#learners),
      learnersNext: sorted(this.#learnersNext),
      autoLeave,
    };
    return { conf, renewed: this.#renewed };
  }
}

function sorted(ids: ReadonlySet<number>): number[] {
  return [...ids].sort((a, b) => a - b);
}

/**
 * Says what is wrong with a configuration from outside (a disk, a snapshot); undefined when it is sound.
 * No voters at all is sound: a replica that only waits for a snapshot knows none.
 */
export function confProblem(conf: ConfState): string | undefined {
  for (const [name, ids] of Object.entries({
    voters: conf.voters,
    outgoing: conf.outgoing,
    learners: conf.learners,
    learnersNext: conf.learnersNext,
  })) {
    for (const [at, id] of ids.entries()) {
      if (!Number.isSafeInteger(id) || id <= 0) return `${name}: no replica id: ${id}`;
      if (at > 0 && (ids[at - 1] as number) >= id) return `${name}: not sorted ascending`;
    }
  }
  if (conf.learners.some((id) => conf.voters.includes(id) || conf.outgoing.includes(id))) {
    return "a voter is a learner too";
  }
  if (conf.learnersNext.some((id) => !conf.outgoing.includes(id) || conf.voters.includes(id))) {
    return "a next learner is not of the outgoing half alone";
  }
  if (!isJoint(conf) && conf.autoLeave) return "autoLeave without being joint";
  if (isJoint(conf) && conf.voters.length === 0) return "joint without incoming voters";
  return undefined;
}

/** Whether two configurations are the same. */
export function sameConf(a: ConfState, b: ConfState): boolean {
  return (
    a.autoLeave === b.autoLeave &&
    sameIds(a.voters, b.voters) &&
    sameIds(a.outgoing, b.outgoing) &&
    sameIds(a.learners, b.learners) &&
    sameIds(a.learnersNext, b.learnersNext)
  );
}

function sameIds(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((id, at) => id === b[at]);
}

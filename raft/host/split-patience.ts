import type { NodeId, ReplicaId } from "#proto";
import type { Message } from "#raft/core";
import type { Group } from "./group.ts";
import type { Shared } from "./shared.ts";

/** A replica of a split's child has so long to come by the split, from when a snapshot is first wanted. */
const patienceMs = 1_000;
const probeEveryMs = 50;

/**
 * Holds back the snapshots that a split's new leader would send to followers which have not applied the split
 * yet: it will give them everything, and until then a snapshot would be refused at its end (R5). Meanwhile
 * they are probed at the log's beginning, since the core asks no follower that is due a snapshot.
 */
export class SplitPatience {
  readonly #shared: Shared;
  readonly #finished: (group: Group, to: ReplicaId) => void;
  /** First other members of children opened here, by child; those waited for with the time it began. */
  readonly #awaited: WeakMap<Group, Map<ReplicaId, number | undefined>> = new WeakMap();

  /** @param finished - the core may ask for the snapshot anew */
  constructor(shared: Shared, finished: (group: Group, to: ReplicaId) => void) {
    this.#shared = shared;
    this.#finished = finished;
  }

  /** A split has made `group` here; its other members will come likewise. */
  expect(group: Group): void {
    const others = [...group.members()].filter((member) => member !== group.replica);
    this.#awaited.set(group, new Map(others.map((member) => [member, undefined])));
  }

  /** Whether the snapshot that the core wants sent should wait. */
  holds(group: Group, node: NodeId, { to, term }: Message): boolean {
    const awaited = this.#awaited.get(group);
    if (awaited?.has(to) !== true || group.core.term !== term) return false;
    const nowMs = this.#shared.nowMs();
    const sinceMs = awaited.get(to) ?? nowMs;
    awaited.set(to, sinceMs);
    if (nowMs - sinceMs < patienceMs) this.#probe(group, node, to, sinceMs + patienceMs);
    else awaited.delete(to);
    return awaited.has(to);
  }

  #probe(group: Group, node: NodeId, to: ReplicaId, endMs: number): void {
    const { core, log } = group;
    const { term } = core;
    const index = log.firstIndex() - 1;
    const logTerm = log.term(index);
    if (logTerm === undefined) return;
    const head = { kind: "append", from: group.replica, to, term, index, logTerm } as const;
    this.#shared.outbox.add(node, group.group, {
      ...head,
      entries: [],
      commit: Math.min(index, core.commit),
    });
    this.#shared.schedule();
    this.#shared.options.clock.after(probeEveryMs, () => {
      if (this.#shared.stopped || group.closed || core.role !== "leader" || core.term !== term) return;
      if (group.progress.get(to)?.state !== "Snapshot") return;
      if (this.#shared.nowMs() < endMs) this.#probe(group, node, to, endMs);
      else this.#finished(group, to);
    });
  }
}

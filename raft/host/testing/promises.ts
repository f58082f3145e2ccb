import type { GroupId, NodeId, ReplicaId } from "#proto";
import { invariant } from "#runtime";
import type { Engine } from "#storage";
import type { Transport } from "#transport";
import { LogStore } from "../log-store.ts";
import { readReplica, replicaRow } from "../rows.ts";
import { decodeMessages } from "../wire.ts";

interface Promised {
  /** Highest term in which it has granted a vote or acknowledged, and whom it voted for in it. */
  term: number;
  vote: number;
  /** Its log's end as acknowledged in `logTerm`. */
  logTerm: number;
  index: number;
}

/** What replicas have told others, held against what their disks know after a crash (R2). */
export class Promises {
  readonly #promised: Map<string, Promised> = new Map();

  /** Reads along as `node` sends. */
  tap(transport: Transport): Transport {
    const note = (body: Uint8Array): void => this.#note(body);
    return new Proxy(transport, {
      get(target, name): unknown {
        if (name === "send") {
          return (...args: Parameters<Transport["send"]>) => {
            if (args[1] === "raft") note(args[2]);
            return target.send(...args);
          };
        }
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }

  #note(body: Uint8Array): void {
    for (const { group, message } of decodeMessages(body)) {
      const { kind, from, to, term, reject, index } = message;
      if (reject === true) continue;
      const promised = this.#of(group, from);
      if (kind === "voteResponse") {
        if (term > promised.term) Object.assign(promised, { term, vote: to });
        else invariant(promised.vote === 0 || promised.vote === to, "one vote a term");
      } else if (kind === "appendResponse") {
        if (term > promised.term) Object.assign(promised, { term, vote: 0 });
        if (term > promised.logTerm) Object.assign(promised, { logTerm: term, index: 0 });
        promised.index = Math.max(promised.index, index ?? 0);
      }
    }
  }

  #of(group: GroupId, replica: ReplicaId): Promised {
    const key = `${group}/${replica}`;
    const promised = this.#promised.get(key) ?? { term: 0, vote: 0, logTerm: 0, index: 0 };
    this.#promised.set(key, promised);
    return promised;
  }

  /** Right after a start over what a crash has left. */
  check(node: NodeId, engine: Engine, groups: readonly GroupId[]): void {
    for (const group of groups) {
      const stored = engine.get("meta", replicaRow(group));
      if (stored === undefined) continue;
      const { replica, state } = readReplica(stored);
      if (state !== "live") continue;
      const promised = this.#promised.get(`${group}/${replica}`);
      if (promised === undefined) continue;
      const log = new LogStore(engine, group);
      const { hardState } = log.initialState();
      const where = `node ${node}, group ${group}, replica ${replica}`;
      invariant(hardState.term >= promised.term, `${where}: its term went back`);
      const forgot =
        hardState.term === promised.term && promised.vote !== 0 && hardState.vote !== promised.vote;
      invariant(!forgot, `${where}: its vote is forgotten`);
      const lastTerm = log.term(log.lastIndex()) ?? 0;
      const kept = log.lastIndex() >= promised.index || lastTerm > promised.logTerm;
      invariant(kept, `${where}: its log is shorter than it acknowledged`);
    }
  }
}

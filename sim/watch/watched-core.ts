import type { GroupId } from "#proto";
import type { Core, CoreConfig, Input, Message, Ready, StepResult } from "#raft/core";
import { IndexOrder } from "../checks/index-order.ts";
import type { Monitor } from "./monitor.ts";

export type CoreClass = new (config: CoreConfig) => Core;

/** `Base` with every step compared with the invariants; a violation is thrown out of the turn. */
export function watchedCore(Base: CoreClass, group: GroupId, disk: string, monitor: Monitor): CoreClass {
  return class WatchedCore extends Base {
    readonly #config: CoreConfig;
    readonly #order = new IndexOrder();
    #ledTerm = 0;
    #commit: number;

    constructor(config: CoreConfig) {
      super(config);
      this.#config = config;
      const { hardState } = config.storage.initialState();
      monitor.see(() => {
        monitor.durability.opened(group, config.id, disk);
        monitor.durability.recovered(group, config.id, hardState, config.applied);
        this.#lookAtLog();
      });
      this.#commit = this.commit;
    }

    /** What a restart finds is a log like any other. */
    #lookAtLog(): void {
      const { storage } = this.#config;
      const first = storage.firstIndex();
      const last = storage.lastIndex();
      const entries = first > last ? [] : (storage.entries(first, last + 1, Number.MAX_SAFE_INTEGER) ?? []);
      monitor.logs.appended(group, entries, storage.term(first - 1));
    }

    override step(input: Input): StepResult {
      if (input.kind === "message") monitor.see(() => this.#hear(input.message));
      const result = super.step(input);
      this.#look();
      return result;
    }

    override takeReady(): Ready {
      const ready = super.takeReady();
      monitor.see(() => {
        const [first] = ready.append;
        if (first !== undefined)
          monitor.logs.appended(group, ready.append, this.#termBefore(first.index, ready));
        monitor.committed.committed(group, ready.committed);
      });
      return ready;
    }

    override advance(ready: Ready): void {
      super.advance(ready);
      this.#look();
    }

    #termBefore(index: number, ready: Ready): number | undefined {
      const { snapshot } = ready;
      return snapshot?.index === index - 1 ? snapshot.term : this.#config.storage.term(index - 1);
    }

    /** What others say of their disks must be so. */
    #hear(message: Message): void {
      if (message.reject === true) return;
      const { durability } = monitor;
      if (message.kind === "appendResponse")
        durability.acknowledged(group, message.from, message.index ?? 0, undefined);
      else if (message.kind === "voteResponse") durability.voted(group, message.from, message.term, this.id);
    }

    #look(): void {
      const { term, applied, commit, lastIndex } = this;
      monitor.see(() => this.#order.saw(group, { term, applied, commit, lastIndex }));
      const moved = commit > this.#commit;
      this.#commit = commit;
      if (this.role !== "leader") return;
      if (this.#ledTerm !== term) this.#elected(term);
      else if (moved) monitor.see(() => monitor.durability.commitMoved(group, commit, term, this.conf));
    }

    #elected(term: number): void {
      this.#ledTerm = term;
      const { storage } = this.#config;
      monitor.see(() => {
        monitor.leaders.leads(group, term, this.id);
        monitor.leases.elected(group, term);
        monitor.committed.elected(group, term, storage.firstIndex(), storage.lastIndex(), (index) =>
          storage.term(index),
        );
      });
      monitor.elected(group, term, this.id, disk);
    }
  };
}

import type { GroupId } from "#proto";
import type { ConfChange, ConfState, Core, CoreConfig, Input, Message, Ready, StepResult } from "#raft/core";
import { IndexOrder } from "../checks/index-order.ts";
import { checkConfChange } from "../checks/membership.ts";
import type { Monitor } from "./monitor.ts";

export type CoreClass = new (config: CoreConfig) => Core;

/** `Base` with every step compared with the invariants; a violation is thrown out of the turn. */
export function watchedCore(Base: CoreClass, group: GroupId, disk: string, monitor: Monitor): CoreClass {
  return class WatchedCore extends Base {
    readonly #watch: CoreWatch;

    constructor(config: CoreConfig) {
      super(config);
      this.#watch = new CoreWatch(this, config, group, disk, monitor);
    }

    override step(input: Input): StepResult {
      if (input.kind === "message") this.#watch.hear(input.message);
      const result = super.step(input);
      this.#watch.look();
      return result;
    }

    override takeReady(): Ready {
      const ready = super.takeReady();
      this.#watch.took(ready);
      return ready;
    }

    override applyConfChange(change: ConfChange): ConfState {
      const before = this.conf;
      const after = super.applyConfChange(change);
      this.#watch.changed(before, after);
      return after;
    }

    override advance(ready: Ready): void {
      super.advance(ready);
      this.#watch.look();
    }
  };
}

/** What is looked at around one core, from outside. */
class CoreWatch {
  readonly #core: Core;
  readonly #config: CoreConfig;
  readonly #group: GroupId;
  readonly #disk: string;
  readonly #monitor: Monitor;
  readonly #order = new IndexOrder();
  #ledTerm = 0;
  #commit: number;

  constructor(core: Core, config: CoreConfig, group: GroupId, disk: string, monitor: Monitor) {
    this.#core = core;
    this.#config = config;
    this.#group = group;
    this.#disk = disk;
    this.#monitor = monitor;
    this.#commit = core.commit;
    const { hardState } = config.storage.initialState();
    monitor.see(() => {
      monitor.durability.opened(group, config.id, disk);
      monitor.durability.recovered(group, config.id, hardState, config.applied);
      this.#lookAtLog();
    });
  }

  /** What a restart finds is a log like any other. */
  #lookAtLog(): void {
    const { storage } = this.#config;
    const first = storage.firstIndex();
    const last = storage.lastIndex();
    const entries = first > last ? [] : (storage.entries(first, last + 1, Number.MAX_SAFE_INTEGER) ?? []);
    this.#monitor.logs.appended(this.#group, entries, storage.term(first - 1));
  }

  took(ready: Ready): void {
    const group = this.#group;
    const { committed, logs } = this.#monitor;
    this.#monitor.see(() => {
      const [first] = ready.append;
      if (first !== undefined) logs.appended(group, ready.append, this.#termBefore(first.index, ready));
      committed.committed(group, ready.committed);
    });
  }

  #termBefore(index: number, { snapshot }: Ready): number | undefined {
    return snapshot?.index === index - 1 ? snapshot.term : this.#config.storage.term(index - 1);
  }

  /** What others say of their disks must be so. */
  hear(message: Message): void {
    if (message.reject === true) return;
    const { durability } = this.#monitor;
    const { from, term } = message;
    if (message.kind === "appendResponse") {
      this.#monitor.see(() => durability.acknowledged(this.#group, from, message.index ?? 0, undefined));
    } else if (message.kind === "voteResponse") {
      this.#monitor.see(() => durability.voted(this.#group, from, term, this.#core.id));
    }
  }

  look(): void {
    const { term, applied, commit, lastIndex, role, conf } = this.#core;
    const monitor = this.#monitor;
    monitor.see(() => this.#order.saw(this.#group, { term, applied, commit, lastIndex }));
    const moved = commit > this.#commit;
    this.#commit = commit;
    if (role !== "leader") return;
    if (this.#ledTerm !== term) this.#elected(term);
    else if (moved) monitor.see(() => monitor.durability.commitMoved(this.#group, commit, term, conf));
  }

  changed(before: ConfState, after: ConfState): void {
    if (this.#core.role !== "leader") return;
    const group = this.#group;
    const { durability } = this.#monitor;
    this.#monitor.see(() => checkConfChange(group, before, after, (id) => durability.hasState(group, id)));
  }

  #elected(term: number): void {
    this.#ledTerm = term;
    const group = this.#group;
    const { storage, id } = this.#config;
    const monitor = this.#monitor;
    monitor.see(() => {
      monitor.leaders.leads(group, term, id);
      monitor.leases.elected(group, term);
      const termAt = (index: number): number | undefined => storage.term(index);
      monitor.committed.elected(group, term, storage.firstIndex(), storage.lastIndex(), termAt);
    });
    monitor.elected(group, term, id, this.#disk);
  }
}

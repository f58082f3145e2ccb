/** Looks at the shards again and again, and holds what it sees against the rules of epochs (R6). @module */
import { setTimeout as delay } from "node:timers/promises";
import type { ShardView } from "./admin.ts";

export interface ShapeOptions {
  /** One look; a failed one is no look. */
  readonly look: () => Promise<readonly ShardView[]>;
  readonly everyMs?: number;
}

/** Watches without end; `wrong` holds what must never have been. */
export class ShapeWatch {
  readonly wrong: string[] = [];
  readonly #options: ShapeOptions;
  readonly #last = new Map<number, ShardView>();
  #looks = 0;
  #stopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: ShapeOptions) {
    this.#options = options;
  }

  get looks(): number {
    return this.#looks;
  }

  /** Shards seen last. */
  get shards(): readonly ShardView[] {
    return [...this.#last.values()];
  }

  start(): void {
    this.#running = this.#watch();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #watch(): Promise<void> {
    while (!this.#stopped) {
      const shards = await this.#options.look().catch(() => undefined);
      if (shards !== undefined) this.see(shards);
      await delay(this.#options.everyMs ?? 100);
    }
  }

  /** One look, later than all before it. */
  see(shards: readonly ShardView[]): void {
    this.#looks += 1;
    const gap = findGap(shards);
    if (gap !== undefined) this.wrong.push(gap);
    for (const shard of shards) {
      const before = this.#last.get(shard.id);
      const broken = before === undefined ? this.#birth(shard) : brokenRule(before, shard);
      if (broken !== undefined) {
        this.wrong.push(`${broken}: ${JSON.stringify(before)} then ${JSON.stringify(shard)}`);
      }
    }
    const now = new Set(shards.map(({ id }) => id));
    for (const id of [...this.#last.keys()]) if (!now.has(id)) this.#last.delete(id);
    for (const shard of shards) this.#last.set(shard.id, shard);
  }

  /** A child's range was part of its parent's, and its epoch is above the parent's of before. */
  #birth(child: ShardView): string | undefined {
    const parent = this.shards.find(
      (one) =>
        one.keyspace === child.keyspace &&
        one.start <= child.start &&
        (one.end === "" || child.start < one.end),
    );
    if (parent === undefined || child.epoch.version > parent.epoch.version) return undefined;
    return `shard ${child.id} was born with an epoch that is not above its parent's`;
  }
}

/** The first place where the shards of a keyspace leave a gap or overlap, in words. */
export function findGap(shards: readonly ShardView[]): string | undefined {
  for (const keyspace of new Set(shards.map((shard) => shard.keyspace))) {
    const sorted = shards
      .filter((shard) => shard.keyspace === keyspace)
      .toSorted((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
    let expected = "";
    for (const [at, { id, start, end }] of sorted.entries()) {
      if (start !== expected) return `${keyspace}: shard ${id} begins at ${start}, expected ${expected}`;
      if ((end === "") !== (at === sorted.length - 1)) return `${keyspace}: shard ${id} ends at "${end}"`;
      expected = end;
    }
  }
  return undefined;
}

/** What an epoch must do between two looks, the later one second. */
function brokenRule(before: ShardView, after: ShardView): string | undefined {
  const [old, now] = [before.epoch, after.epoch];
  if (now.version < old.version || now.conf_version < old.conf_version) return "an epoch went back";
  const rangeChanged = before.start !== after.start || before.end !== after.end;
  if (rangeChanged !== now.version > old.version) return "range and version change together, or neither";
  if (now.conf_version === old.conf_version && members(before) !== members(after)) {
    return "the members changed under one conf_version";
  }
  return undefined;
}

function members({ replicas }: ShardView): string {
  const each = replicas.map(({ node, replica_id, role }) => `${node}/${replica_id}/${role}`);
  return each.toSorted().join(" ");
}

import { decode, encode, metaTags, prefixEnd } from "#proto";
import type { Batch, Family, Range, RangeCursor, Rows, ScanOptions } from "#storage";
import { RecordedBatch } from "../watch/watched-engine.ts";
import {
  slowSyncs,
  withFailingDisks,
  withPartedLogs,
  withPowerLosses,
  withRetries,
  withSmallAppends,
  withSnapshots,
} from "./bent-plans.ts";
import { EngineWrapper } from "./engine-wrapper.ts";
import type { Mutant } from "./mutant.ts";

/** Tags of the host's rows in `raft`, behind eight bytes of group. */
const hardStateTag = 1;
const entryTag = 2;

class ForgetsVote extends EngineWrapper {
  override get(family: Family, key: Uint8Array): Uint8Array | undefined {
    const value = super.get(family, key);
    if (family !== "raft" || key[8] !== hardStateTag || value === undefined) return value;
    const [term, , ...rest] = decode(value) as number[];
    return encode([term, 0, ...rest]);
  }
}

class AcksEarly extends EngineWrapper {
  override write(batch: Batch, options: { readonly sync: boolean }, done: (error?: Error) => void): void {
    super.write(batch, options, () => {});
    done();
  }
}

class SkipsSyncs extends EngineWrapper {
  override write(batch: Batch, _options: { readonly sync: boolean }, done: (error?: Error) => void): void {
    super.write(batch, { sync: false }, done);
  }
}

class IgnoresErrors extends EngineWrapper {
  override write(batch: Batch, options: { readonly sync: boolean }, done: (error?: Error) => void): void {
    super.write(batch, options, () => done());
  }
}

interface Row {
  readonly family: Family;
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

/** Writes batches of its own making in place of each. */
abstract class Rewrites extends EngineWrapper {
  protected abstract parts(rows: readonly Row[]): readonly (readonly Row[])[];

  override write(batch: Batch, options: { readonly sync: boolean }, done: (error?: Error) => void): void {
    if (!(batch instanceof RecordedBatch)) {
      super.write(batch, options, done);
      return;
    }
    const rows = batch.keys.map((key, i) => ({
      family: batch.families[i] ?? "meta",
      key,
      value: batch.values[i],
    }));
    const parts = this.parts(rows).map((part) => {
      const rewritten = this.inner.batch();
      for (const { family, key, value } of part) {
        if (value === undefined) rewritten.delete(family, key);
        else rewritten.put(family, key, value);
      }
      return rewritten;
    });
    let left = parts.length;
    for (const part of parts) {
      super.write(part, options, (error) => {
        left -= 1;
        if (error !== undefined || left === 0) done(error);
      });
    }
  }
}

class KeepsCutSuffix extends Rewrites {
  protected override parts(rows: readonly Row[]): readonly (readonly Row[])[] {
    const isEntry = (row: Row): boolean => row.family === "raft" && row.key[8] === entryTag;
    const puts = rows.filter((row) => isEntry(row) && row.value !== undefined);
    const isCut = (row: Row): boolean =>
      isEntry(row) &&
      row.value === undefined &&
      puts.some((put) => sameGroup(put.key, row.key) && Buffer.compare(put.key, row.key) < 0);
    return [rows.filter((row) => !isCut(row))];
  }
}

function sameGroup(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a.subarray(0, 8), b.subarray(0, 8)) === 0;
}

class TearsBatches extends Rewrites {
  protected override parts(rows: readonly Row[]): readonly (readonly Row[])[] {
    const isApplied = (row: Row): boolean => row.family === "meta" && row.key[0] === metaTags.hostApplied;
    const applied = rows.filter(isApplied);
    const others = rows.filter((row) => !isApplied(row));
    return [others, applied].filter((part) => part.length > 0);
  }
}

class ForgetsApplied extends EngineWrapper {
  override get(family: Family, key: Uint8Array): Uint8Array | undefined {
    const value = super.get(family, key);
    if (family !== "meta" || key[0] !== metaTags.hostApplied || value === undefined) return value;
    const [index = 0, ...rest] = decode(value) as number[];
    const entry = Buffer.concat([key.subarray(1, 9), Buffer.of(entryTag), Buffer.alloc(8)]);
    entry.writeBigUInt64BE(BigInt(index), 9);
    // Only where the last applied entry is still in the log.
    return super.get("raft", entry) === undefined ? value : encode([index - 1, ...rest]);
  }
}

class DropsKey extends EngineWrapper {
  override cursor(ranges: readonly Range[]): RangeCursor {
    const inner = super.cursor(ranges);
    let dropped = false;
    return {
      next(limit, maxBytes) {
        const page = inner.next(limit, maxBytes);
        if (dropped || page?.family !== "data") return page;
        dropped = true;
        return { family: page.family, rows: page.rows.slice(2) };
      },
      close: () => inner.close(),
    };
  }
}

class ForgetsDedup extends EngineWrapper {
  override scan(range: Range, options: ScanOptions): Rows {
    const isDedup = range.family === "meta" && range.start[0] === metaTags.shardDedup;
    return isDedup ? { rows: [], finished: true } : super.scan(range, options);
  }
}

/** Bytes of the keyspace's id in front of a row of data. */
const keyspaceBytes = 4;

class CopiesKeyspace extends EngineWrapper {
  override cursor(ranges: readonly Range[]): RangeCursor {
    return super.cursor(
      ranges.map((range) => {
        if (range.family !== "data") return range;
        const start = range.start.slice(0, keyspaceBytes);
        const end = prefixEnd(start);
        return { family: range.family, start, ...(end === undefined ? {} : { end }) };
      }),
    );
  }
}

export const storageMutants: readonly Mutant[] = [
  {
    name: "vote-forgotten-on-restart",
    about: "the vote of the term is lost over a restart: a second one may be given",
    plan: withPowerLosses,
    engine: (engine, { start }) => (start > 1 ? new ForgetsVote(engine) : engine),
  },
  {
    name: "append-acknowledged-before-sync",
    about: "R2: a write is called durable while its sync runs",
    plan: slowSyncs,
    engine: (engine) => new AcksEarly(engine),
  },
  {
    name: "sync-skipped",
    about: "R2: what was to be synced is only written",
    engine: (engine) => new SkipsSyncs(engine),
  },
  {
    name: "write-error-ignored",
    about: "R8: a node goes on after a failed write",
    plan: withFailingDisks,
    engine: (engine) => new IgnoresErrors(engine),
  },
  {
    name: "lost-truncation",
    about: "R3: entries cut off by a new leader's stay on the disk behind them",
    plan: (plan) => withPartedLogs(withSmallAppends(plan)),
    engine: (engine) => new KeepsCutSuffix(engine),
  },
  {
    name: "applied-index-apart-from-its-rows",
    about: "the applied index and what it covers are two batches: a crash may fall between them",
    plan: withPowerLosses,
    engine: (engine) => new TearsBatches(engine),
  },
  {
    name: "duplicate-apply-after-restart",
    about: "the last applied entry is applied once more after a restart",
    plan: withPowerLosses,
    engine: (engine, { start }) => (start > 1 ? new ForgetsApplied(engine) : engine),
  },
  {
    name: "snapshot-drops-a-key",
    about: "R4: a snapshot lacks one row of data",
    plan: (plan) => withPowerLosses(withSnapshots(plan)),
    engine: (engine) => new DropsKey(engine),
  },
  {
    name: "snapshot-of-the-whole-keyspace",
    about: "a snapshot carries rows of other shards, over newer ones at its target",
    plan: (plan) =>
      withPowerLosses(withSnapshots({ ...plan, partition: "hash", shards: Math.max(4, plan.shards) })),
    engine: (engine) => new CopiesKeyspace(engine),
  },
  {
    name: "dedup-forgotten-on-restart",
    about: "R23: a node that starts again knows nothing of attempts made before",
    plan: withRetries,
    engine: (engine, { start }) => (start > 1 ? new ForgetsDedup(engine) : engine),
  },
  {
    name: "wiped-node-votes-again",
    about: "R1: a node that lost its disk comes back as who it was",
    plan: (plan) => ({
      ...plan,
      faults: [
        { kind: "wipe", atMs: 1000, forMs: 2000, node: 0 },
        ...plan.faults.filter((f) => f.kind !== "wipe"),
      ],
    }),
    keepsIdentityWhenWiped: true,
  },
];

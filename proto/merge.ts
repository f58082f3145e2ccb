import { encode, FieldReader } from "./codec.ts";
import type { GroupId } from "./ids.ts";
import { descriptorFields, type Epoch, readDescriptor, type ShardDescriptor } from "./shards.ts";

/** Tags from 64 on are the shard's own: no router may propose them. */
export const mergeTags = { freeze: 66, merge: 67, seal: 68, thaw: 69 } as const;

/** What stands still since a freeze, and by whose order. Part of the shard's state. */
export interface Frozen {
  /** Placement's operation. */
  readonly operation: number;
  /** The shard that is to take over the range. */
  readonly target: GroupId;
  /** The freeze's own entry: everything of the shard is at or below it. */
  readonly index: number;
  readonly term: number;
  /** The shard's clock there, µs. */
  readonly clockMicros: number;
}

/**
 * The steps of a merge, each an entry of one shard's log. `freeze` and `thaw` stand in the source's, `merge`
 * and `seal` in the target's. All are void at apply unless what they expect is still so (R6).
 */
export type MergeStep =
  /** The source stops: nothing after this entry has any effect. */
  | {
      readonly kind: "freeze";
      readonly operation: number;
      readonly target: GroupId;
      /** The source's. */
      readonly expected: Epoch;
    }
  /** The target takes over the source as it stands since its freeze. */
  | {
      readonly kind: "merge";
      readonly operation: number;
      /** The target's. */
      readonly expected: Epoch;
      /** As of the freeze, its version included. */
      readonly source: ShardDescriptor;
      readonly index: number;
      readonly term: number;
      readonly clockMicros: number;
    }
  /** No merge that expects `version` of the target, or less, can be applied any more. */
  | { readonly kind: "seal"; readonly operation: number; readonly version: number }
  /** The source goes on; no freeze that expects `version` or less can be applied any more. */
  | { readonly kind: "thaw"; readonly operation: number; readonly version: number };

export function encodeMergeStep(step: MergeStep): Uint8Array {
  const head = [mergeTags[step.kind], step.operation];
  switch (step.kind) {
    case "freeze":
      return encode([...head, step.target, step.expected.version, step.expected.confVersion]);
    case "merge": {
      const { expected, source, index, term, clockMicros } = step;
      const at = [index, term, clockMicros];
      return encode([...head, expected.version, expected.confVersion, descriptorFields(source), ...at]);
    }
    default:
      return encode([...head, step.version]);
  }
}

/** Reads what follows `tag`; undefined: it is no step of a merge. @throws ProtocolError */
export function readMergeStep(tag: number, f: FieldReader): MergeStep | undefined {
  switch (tag) {
    case mergeTags.freeze:
      return {
        kind: "freeze",
        operation: f.integer(),
        target: f.integer(1),
        expected: { version: f.integer(), confVersion: f.integer() },
      };
    case mergeTags.merge:
      return {
        kind: "merge",
        operation: f.integer(),
        expected: { version: f.integer(), confVersion: f.integer() },
        source: readDescriptor(f.any()),
        index: f.integer(1),
        term: f.integer(1),
        clockMicros: f.integer(),
      };
    case mergeTags.seal:
      return { kind: "seal", operation: f.integer(), version: f.integer() };
    case mergeTags.thaw:
      return { kind: "thaw", operation: f.integer(), version: f.integer() };
    default:
      return undefined;
  }
}

/** @throws ProtocolError */
export function decodeMergeStep(bytes: Uint8Array): MergeStep | undefined {
  const f = FieldReader.of(bytes, "merge step");
  return readMergeStep(f.integer(1), f);
}

/** A shard that is no more has gone into `group`, which was at `version` right after. */
export interface MergedInto {
  readonly group: GroupId;
  readonly version: number;
}

export function frozenFields(f: Frozen): unknown[] {
  return [f.operation, f.target, f.index, f.term, f.clockMicros];
}

/** @throws ProtocolError */
export function readFrozen(value: unknown): Frozen {
  const f = new FieldReader(value, "frozen state");
  return {
    operation: f.integer(),
    target: f.integer(1),
    index: f.integer(1),
    term: f.integer(1),
    clockMicros: f.integer(),
  };
}

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dataKey, encodeFloor, type KvCommand, type KvOperation, type WriteResult } from "#proto";
import { MemoryDisk, OverlayBatch, openMemory } from "#storage";
import { keepMicros } from "./dedup.ts";
import { MachineRig, rigCommand, rigDescriptor } from "./rig.ts";
import { revisionOfRow } from "./value-row.ts";

/** One step of a run; numbers pick among what exists when it comes. */
type Step =
  | { readonly kind: "entry"; readonly moveMicros: number; readonly commands: readonly Pick[] }
  | { readonly kind: "answer"; readonly pick: number }
  | { readonly kind: "reload" }
  | { readonly kind: "copy" };
/** A new command, or a copy of an earlier attempt, answered or not: networks and logs hold such. */
type Pick =
  | {
      readonly kind: "new";
      readonly session: number;
      readonly key: number;
      readonly operation: number;
      readonly timeMicros: number;
      readonly staleVersion: boolean;
    }
  | { readonly kind: "again"; readonly pick: number };

const natural = fc.nat({ max: 1000 });
const newCommand = fc.record({
  kind: fc.constant("new" as const),
  session: fc.nat({ max: 1 }),
  key: fc.nat({ max: 3 }),
  operation: fc.nat({ max: 5 }),
  timeMicros: fc.integer({ min: -20, max: 400 }),
  staleVersion: fc.nat({ max: 9 }).map((n) => n === 0),
});
const again = fc.record({ kind: fc.constant("again" as const), pick: natural });
const move = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: -50, max: 200 }) },
  { weight: 1, arbitrary: fc.integer({ min: keepMicros - 200, max: keepMicros + 200 }) },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant("entry" as const),
      moveMicros: move,
      commands: fc.array(fc.oneof(newCommand, again), { maxLength: 5 }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("answer" as const), pick: natural }) },
  { weight: 1, arbitrary: fc.constant({ kind: "reload" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "copy" as const }) },
);

const sessions = ["00000000000000a1", "00000000000000b2"];
const keys = ["b", "b\0", "bb", "c"].map((key) => Buffer.from(key));

/** What a shard should do, said as plainly as can be: nothing is ever forgotten. */
class Model {
  clock = 0;
  readonly present = new Map<string, number>();
  readonly recorded = new Map<string, WriteResult>();
  readonly answered = sessions.map(() => new Set<number>());
  readonly nextSequence = [1, 1];
  /** Highest "lowest unanswered" that applied commands carried. */
  readonly told = [0, 0];
  readonly made: KvCommand[] = [];

  lowestUnanswered(session: number): number {
    let lowest = 1;
    while (this.answered[session]!.has(lowest)) lowest += 1;
    return lowest;
  }

  /** @returns all results that are right */
  apply(command: KvCommand, stamp: number): WriteResult[] {
    const { attempt, key, operation, version } = command;
    const session = sessions.indexOf(attempt.session);
    const id = `${attempt.session}/${attempt.sequence}`;
    this.clock = Math.max(stamp, this.clock + 1);
    const late = this.clock > attempt.deadlineMicros;
    const before = this.recorded.get(id);
    if (before !== undefined) {
      const forgettable =
        attempt.sequence < this.told[session]! || this.clock > attempt.deadlineMicros + keepMicros;
      this.#hear(session, attempt.lowestUnanswered);
      return late && forgettable ? [before, { kind: "deadline" }] : [before];
    }
    this.#hear(session, attempt.lowestUnanswered);
    if (late) return [{ kind: "deadline" }];
    if (version !== rigDescriptor.epoch.version)
      return [{ kind: "epoch_mismatch", current: [rigDescriptor] }];
    const result = this.#effect(key.toString(), operation);
    this.recorded.set(id, result);
    return [result];
  }

  #hear(session: number, lowest: number): void {
    this.told[session] = Math.max(this.told[session]!, lowest);
  }

  #effect(key: string, operation: KvOperation): WriteResult {
    const revision = this.present.get(key) ?? 0;
    const { match, noneMatch } = operation.condition ?? {};
    const fails =
      (match === "any" && revision === 0) ||
      (Array.isArray(match) && !match.includes(revision)) ||
      (noneMatch === "any" && revision !== 0);
    if (fails) return { kind: "precondition_failed", revision };
    if (operation.kind === "put") {
      this.present.set(key, this.clock);
      return { kind: "put", revision: this.clock };
    }
    this.present.delete(key);
    return { kind: "deleted", deleted: revision !== 0, revision: this.clock };
  }
}

function operationOf(choice: number, present: number): KvOperation {
  const put = { kind: "put", value: Buffer.of(choice), contentType: "" } as const;
  const all: KvOperation[] = [
    put,
    { ...put, condition: { noneMatch: "any" } },
    { ...put, condition: { match: [present] } },
    { kind: "delete" },
    { kind: "delete", condition: { match: "any" } },
    { ...put, condition: { match: [12345] } },
  ];
  return all[choice]!;
}

function commandOf(model: Model, pick: Pick): KvCommand | undefined {
  if (pick.kind === "again") return model.made[pick.pick % model.made.length];
  const { session, key, timeMicros, staleVersion } = pick;
  const command = rigCommand({
    key: keys[key]!,
    version: staleVersion ? 2 : 3,
    operation: operationOf(pick.operation, model.present.get(keys[key]!.toString()) ?? 0),
    attempt: {
      session: sessions[session]!,
      sequence: model.nextSequence[session]!++,
      lowestUnanswered: model.lowestUnanswered(session),
      // Rounded, so that many are the same: what goes first among those must not depend on history.
      deadlineMicros: Math.max(0, Math.round((model.clock + timeMicros) / 100) * 100),
    },
  });
  model.made.push(command);
  return command;
}

/** A replica built from a snapshot: exactly the rows of the ranges, nothing else. */
function copyOf(rig: MachineRig): MachineRig {
  const copy = new MachineRig(rigDescriptor, openMemory(new MemoryDisk()));
  const tx = new OverlayBatch(copy.engine);
  for (const range of rig.machine.snapshotRanges()) {
    const { rows } = rig.engine.scan(range, { limit: 100_000 });
    for (let i = 0; i < rows.length; i += 2) tx.put(range.family, rows[i]!, rows[i + 1]!);
  }
  copy.engine.write(tx.batch, { sync: false }, () => {});
  copy.reload();
  return copy;
}

function expectRows(rig: MachineRig, model: Model): void {
  for (const key of keys) {
    const row = rig.engine.get("data", dataKey(rigDescriptor.keyspace, key));
    expect(revisionOfRow(row)).toBe(model.present.get(key.toString()) ?? 0);
  }
}

describe("a shard against a model that forgets nothing", () => {
  it("applies each attempt at most once, on every replica alike, whatever is reloaded when (R22, R23, R38)", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80, size: "max" }), (steps) => {
        const model = new Model();
        const steady = new MachineRig();
        let other = new MachineRig();
        let wall = 1000;
        for (const now of steps) {
          if (now.kind === "reload") other.reload();
          else if (now.kind === "copy") other = copyOf(steady);
          else if (now.kind === "answer") {
            const answered = model.made[now.pick % Math.max(1, model.made.length)];
            if (answered === undefined) continue;
            model.answered[sessions.indexOf(answered.attempt.session)]!.add(answered.attempt.sequence);
          } else {
            wall = Math.max(0, wall + now.moveMicros);
            const commands = now.commands.flatMap((pick) => commandOf(model, pick) ?? []);
            const results = steady.apply(wall, ...commands);
            expect(other.apply(wall, ...commands)).toEqual(results);
            for (const [i, command] of commands.entries()) {
              expect(model.apply(command, wall)).toContainEqual(results[i]!.result);
              expect(results[i]!.clockMicros).toBe(model.clock);
            }
          }
        }
        expectRows(steady, model);
        expect(other.machine.stateHash()).toBe(steady.machine.stateHash());
      }),
      { numRuns: 300 },
    );
  });

  it("a row, a clock or a record more makes another hash (R38)", () => {
    const rig = new MachineRig();
    const hashes = new Set([rig.machine.stateHash()]);
    const note = () => hashes.add(rig.machine.stateHash());
    rig.apply(10, encodeFloor());
    note();
    rig.apply(20, rigCommand());
    note();
    rig.apply(30, rigCommand({ operation: { kind: "delete" }, attempt: { sequence: 2 } }));
    note();
    expect(hashes.size).toBe(4);
  });
});

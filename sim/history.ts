/** A write's condition on the revision it finds (0: absent), as the data API has it. */
export interface HistoryCondition {
  readonly match?: "any" | readonly number[];
  readonly noneMatch?: "any" | readonly number[];
}

/** What a client asked for. Values of puts are unique in a run, so that a read names the write it saw. */
export type Call =
  | { readonly kind: "put"; readonly value: string; readonly condition?: HistoryCondition }
  | { readonly kind: "delete"; readonly condition?: HistoryCondition }
  | { readonly kind: "get" }
  /** Of the leader under its lease: linearizable too (R17). */
  | { readonly kind: "leaderGet" }
  /** Any replica may answer. `minRevision`: the answer must not be older than that revision of the shard. */
  | { readonly kind: "staleGet"; readonly minRevision?: number; readonly maxStalenessMs?: number };

/**
 * What the client was told. `unknown`: it may have taken effect, may yet at any later time, or never.
 * `notApplied`: it has not and never will (R24). `noAnswer`: a read that failed, of no further interest.
 */
export type Answer =
  | { readonly kind: "put"; readonly revision: number }
  | { readonly kind: "deleted"; readonly deleted: boolean; readonly revision: number }
  /** `revision`: the present one, 0 when absent. */
  | { readonly kind: "conditionFailed"; readonly revision: number }
  | {
      readonly kind: "found";
      readonly revision: number;
      readonly value: string;
      readonly stalenessMs?: number;
    }
  | { readonly kind: "absent"; readonly stalenessMs?: number }
  | { readonly kind: "notApplied" }
  | { readonly kind: "unknown" }
  | { readonly kind: "noAnswer" };

/** A moment of a run: virtual ms, and the order of events within the same ms. */
export interface Moment {
  readonly ms: number;
  readonly order: number;
}

/** One call with its answer. `returned` is absent while it runs; what never returned counts as unknown. */
export interface Operation {
  readonly id: number;
  readonly client: string;
  readonly key: string;
  readonly call: Call;
  readonly called: Moment;
  returned?: Moment;
  answer?: Answer;
}

/** Records what clients asked for and were told, in order. */
export class History {
  readonly operations: Operation[] = [];
  readonly #byKey = new Map<string, Operation[]>();
  #order = 0;

  begin(client: string, key: string, call: Call, nowMs: number): Operation {
    const called = { ms: nowMs, order: this.#order++ };
    const operation: Operation = { id: this.operations.length, client, key, call, called };
    this.operations.push(operation);
    const ofKey = this.#byKey.get(key);
    if (ofKey === undefined) this.#byKey.set(key, [operation]);
    else ofKey.push(operation);
    return operation;
  }

  end(operation: Operation, answer: Answer, nowMs: number): void {
    operation.answer = answer;
    operation.returned = { ms: nowMs, order: this.#order++ };
  }

  get keys(): readonly string[] {
    return [...this.#byKey.keys()];
  }

  of(key: string): readonly Operation[] {
    return this.#byKey.get(key) ?? [];
  }
}

export function isRead(call: Call): call is Extract<Call, { kind: "get" | "leaderGet" | "staleGet" }> {
  return call.kind !== "put" && call.kind !== "delete";
}

/** Does `condition` hold where the present revision is `revision` (0: absent)? */
export function conditionHolds(condition: HistoryCondition | undefined, revision: number): boolean {
  if (condition === undefined) return true;
  const { match, noneMatch } = condition;
  if (match === "any" ? revision === 0 : match !== undefined && !match.includes(revision)) return false;
  return noneMatch === "any" ? revision === 0 : noneMatch === undefined || !noneMatch.includes(revision);
}

/** One line for people: `#12 c3 put k1="…" if match 17 → revision 18 [120.5…133.0]`. */
export function describeOperation(o: Operation): string {
  const span = `[${o.called.ms.toFixed(2)}…${o.returned === undefined ? "" : o.returned.ms.toFixed(2)}]`;
  return `#${o.id} ${o.client} ${describeCall(o.key, o.call)} → ${describeAnswer(o.answer)} ${span}`;
}

function describeCall(key: string, call: Call): string {
  if (call.kind === "get") return `get ${key}`;
  if (call.kind === "leaderGet") return `leader get ${key}`;
  if (call.kind === "staleGet") {
    const floor = call.minRevision === undefined ? "" : ` min revision ${call.minRevision}`;
    return `stale get ${key}${floor}`;
  }
  const { condition } = call;
  const parts = condition === undefined ? "" : ` if ${JSON.stringify(condition)}`;
  return call.kind === "put" ? `put ${key}=${call.value}${parts}` : `delete ${key}${parts}`;
}

function describeAnswer(answer: Answer | undefined): string {
  if (answer === undefined) return "(none)";
  switch (answer.kind) {
    case "put":
      return `revision ${answer.revision}`;
    case "deleted":
      return `${answer.deleted ? "deleted" : "was absent"}, revision ${answer.revision}`;
    case "conditionFailed":
      return `condition failed, present ${answer.revision}`;
    case "found":
      return `${answer.value} of revision ${answer.revision}${describeStaleness(answer.stalenessMs)}`;
    case "absent":
      return `absent${describeStaleness(answer.stalenessMs)}`;
    default:
      return answer.kind;
  }
}

function describeStaleness(stalenessMs: number | undefined): string {
  return stalenessMs === undefined ? "" : ` at most ${stalenessMs.toFixed(1)} ms old`;
}

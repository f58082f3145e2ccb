import { conditionHolds, type HistoryCondition, type Operation } from "./history.ts";

/** One of the versions an order gives the register; `revision` may be settled later by what saw it. */
interface Version {
  readonly value: string | undefined;
  revision: number | undefined;
}

/**
 * The definition read aloud: some set of the writes of unknown outcome took effect, and some order of them and
 * all others explains every answer and keeps those apart that were apart in time. For tiny histories only.
 */
export function isLinearizableByBruteForce(history: readonly Operation[]): boolean {
  const sure = history.filter((o) => o.answer !== undefined && o.answer.kind !== "unknown");
  const unsure = history.filter((o) => o.answer?.kind === "unknown" && o.call.kind !== "get");
  for (let set = 0; set < 2 ** unsure.length; set++) {
    const chosen = [...sure, ...unsure.filter((_, i) => (set >> i) % 2 === 1)];
    if (someOrder(chosen, [])) return true;
  }
  return false;
}

function someOrder(left: readonly Operation[], order: readonly Operation[]): boolean {
  if (left.length === 0) return explains(order);
  return left.some((next) => {
    const isFirst = left.every((other) => other === next || !precedes(other, next));
    return (
      isFirst &&
      someOrder(
        left.filter((o) => o !== next),
        [...order, next],
      )
    );
  });
}

function precedes(a: Operation, b: Operation): boolean {
  if (a.answer?.kind === "unknown" || a.returned === undefined) return false;
  const difference = a.returned.ms - b.called.ms || a.returned.order - b.called.order;
  return difference < 0;
}

/** Plays an order; revisions nobody was told are settled by the first operation that needs one. */
function explains(order: readonly Operation[]): boolean {
  let now: Version = { value: undefined, revision: 0 };
  const given: Version[] = [];
  for (const { call, answer } of order) {
    if (answer === undefined) return false;
    const isPresent = now.value !== undefined;
    switch (answer.kind) {
      case "found":
        if (!isPresent || now.value !== answer.value || !settle(now, answer.revision)) return false;
        break;
      case "absent":
        if (isPresent) return false;
        break;
      case "conditionFailed": {
        if (!settle(now, answer.revision)) return false;
        const condition = call.kind === "put" || call.kind === "delete" ? call.condition : undefined;
        if (conditionHolds(condition, answer.revision)) return false;
        break;
      }
      default: {
        if (call.kind !== "put" && call.kind !== "delete") return false;
        if (!couldHold(call.condition, now)) return false;
        if (answer.kind === "deleted" && answer.deleted !== isPresent) return false;
        const revision = answer.kind === "put" || answer.kind === "deleted" ? answer.revision : undefined;
        const written: Version = { value: call.kind === "put" ? call.value : undefined, revision };
        given.push(written);
        // An absent key answers revision 0, whatever stamp its deletion got.
        now = call.kind === "put" ? written : { value: undefined, revision: 0 };
      }
    }
  }
  const known = given.flatMap((version) => version.revision ?? []);
  return known.every((revision, i) => i === 0 || revision > (known[i - 1] ?? 0));
}

function settle(version: Version, revision: number): boolean {
  version.revision ??= revision;
  return version.revision === revision;
}

function couldHold(condition: HistoryCondition | undefined, now: Version): boolean {
  if (now.revision !== undefined) return conditionHolds(condition, now.revision);
  if (condition?.noneMatch === "any") return false;
  if (condition?.match === undefined || condition.match === "any") return true;
  const [revision] = condition.match;
  return revision !== undefined && settle(now, revision);
}

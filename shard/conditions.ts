import type { Condition } from "#proto";

/** Does the present revision (0: absent) satisfy `condition`? RFC 9110's If-Match and If-None-Match. */
export function conditionHolds(condition: Condition, present: number): boolean {
  const { match, noneMatch } = condition;
  if (match !== undefined && !matches(match, present)) return false;
  return noneMatch === undefined || !matches(noneMatch, present);
}

/** A listed 0 stands for "absent". */
function matches(side: "any" | readonly number[], present: number): boolean {
  return side === "any" ? present !== 0 : side.includes(present);
}

import type { GroupId } from "#proto";
import { Violation } from "./violation.ts";

/** R25: a leader's stamp is what its own wall clock says, whatever others have said theirs are. */
export function checkStamp(group: GroupId, node: string, stampMicros: number, wallMicros: number): void {
  if (stampMicros === wallMicros) return;
  const offMs = Math.round((stampMicros - wallMicros) / 1000);
  throw new Violation("own stamps", `group ${group}: ${node} stamped ${offMs} ms off its own clock (R25)`);
}

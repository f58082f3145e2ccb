/**
 * For tests of other rooms and of users: recording what clients were told, and deciding whether it could be true;
 * and the whole cluster under a seed.
 * @module
 */
export type { Assembly, NodeParts, ProcessParts } from "./assembly.ts";
export { Violation } from "./checks/violation.ts";
export {
  type Answer,
  type Call,
  describeOperation,
  History,
  type HistoryCondition,
  isRead,
  type Moment,
  type Operation,
} from "./history.ts";
export { type CheckOptions, checkRegister, type Verdict } from "./linearizability.ts";
export { hunt, type Mutant, mutants } from "./mutants/mod.ts";
export { type Plan, planRun } from "./plan.ts";
export { type Fault, type FaultKind, faultKinds } from "./plan-faults.ts";
export { productAssembly } from "./product.ts";
export { describeFailure, describePlan } from "./report.ts";
export { type RunOptions, type RunResult, runSeed } from "./run.ts";

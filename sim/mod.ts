/**
 * For tests of other rooms and of users: recording what clients were told, and deciding whether it could be true.
 * @module
 */
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

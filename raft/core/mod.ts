/**
 * The Raft algorithm of Kvorum as a pure state machine. Start with `Core`; `MemoryLog` is a log to try it
 * with. Imports nothing but #runtime's invariant and a MessagePack codec for configuration changes.
 * @module
 */
export {
  ConfChangeError,
  changeConf,
  confProblem,
  entersJoint,
  isJoint,
  leavesJoint,
  type NextConf,
  sameConf,
} from "./conf-change.ts";
export { decodeConfChange, encodeConfChange } from "./conf-codec.ts";
export { Core } from "./core.ts";
export { defaultConfig, type RequiredConfig } from "./default-config.ts";
export { MemoryLog, type MemoryLogStart } from "./memory-log.ts";
export { isQuorum, jointVote, majority, majorityValue, majorityVote, type VoteOutcome } from "./quorum.ts";
export {
  type AppendAck,
  type ConfChange,
  type ConfState,
  type CoreConfig,
  type CoreStatus,
  type Entry,
  entryBytes,
  type HardState,
  type Input,
  type LogReader,
  type MemberChange,
  type Message,
  type MessageKind,
  type ProgressStatus,
  type ReadState,
  type Ready,
  type Refusal,
  type Role,
  type SnapshotMeta,
  type StepResult,
} from "./types.ts";

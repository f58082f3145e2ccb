import { decodeConfContext, replicasOfConf, type ShardDescriptor } from "#proto";
import type { ConfChange, ConfState } from "#raft/core";

/**
 * The descriptor under the new configuration. Undefined voids the change: it expected another epoch (R6), or
 * brings in a replica whose node nobody knows. Leaving a joint configuration expects nothing, since Raft
 * itself proposes it.
 * @throws ProtocolError when the change's context does not decode (R11)
 */
export function withConfiguration(
  descriptor: ShardDescriptor,
  change: ConfChange,
  conf: ConfState,
): ShardDescriptor | undefined {
  const context = change.context.length > 0 ? decodeConfContext(change.context) : undefined;
  const { confVersion, version } = descriptor.epoch;
  if (context === undefined ? change.changes.length > 0 : context.expectedConfVersion !== confVersion)
    return undefined;
  const replicas = replicasOfConf(conf, descriptor.replicas, context?.replicas ?? []);
  return replicas && { ...descriptor, replicas, epoch: { version, confVersion: confVersion + 1 } };
}

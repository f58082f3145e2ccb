import {
  encode,
  FieldReader,
  type NodeId,
  type ReplicaDescriptor,
  type ReplicaRole,
  type ShardDescriptor,
} from "#proto";
import type { ConfChange, ConfState } from "#raft/core";

/** What a configuration change carries beside its ids: the epoch it expects (R6), and where replicas are. */
export interface ConfContext {
  readonly expectedConfVersion: number;
  /** Of the replicas the change brings in. */
  readonly replicas: readonly { readonly replicaId: number; readonly nodeId: NodeId }[];
}

export function encodeConfContext(context: ConfContext): Uint8Array {
  return encode([context.expectedConfVersion, context.replicas.map((r) => [r.replicaId, r.nodeId])]);
}

/** @throws ProtocolError */
export function decodeConfContext(bytes: Uint8Array): ConfContext {
  const f = FieldReader.of(bytes, "configuration change");
  return {
    expectedConfVersion: f.integer(),
    replicas: f.list((element) => {
      const r = new FieldReader(element, "configuration change's replica");
      return { replicaId: r.integer(1), nodeId: r.integer(1) };
    }),
  };
}

/**
 * The descriptor under the new configuration. Undefined voids the change: it expected another epoch, or
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
  const nodes = new Map(descriptor.replicas.map((r) => [r.replicaId, r.nodeId]));
  for (const { replicaId, nodeId } of context?.replicas ?? []) nodes.set(replicaId, nodeId);
  const replicas: ReplicaDescriptor[] = [];
  for (const [replicaId, role] of rolesOf(conf)) {
    const nodeId = nodes.get(replicaId);
    if (nodeId === undefined) return undefined;
    replicas.push({ replicaId, nodeId, role });
  }
  return { ...descriptor, replicas, epoch: { version, confVersion: confVersion + 1 } };
}

/** Each replica's role, by ascending id. In a joint configuration the halves differ in who comes and goes. */
export function rolesOf(conf: ConfState): readonly (readonly [number, ReplicaRole])[] {
  const joint = conf.outgoing.length > 0;
  const roles = new Map<number, ReplicaRole>();
  for (const id of conf.learners) roles.set(id, "learner");
  for (const id of conf.outgoing) roles.set(id, "outgoing");
  for (const id of conf.voters) roles.set(id, !joint || conf.outgoing.includes(id) ? "voter" : "incoming");
  return [...roles].sort(([a], [b]) => a - b);
}

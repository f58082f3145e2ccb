import { type ClusterId, encode, FieldReader, metaTags, type NodeId } from "#proto";
import type { Engine } from "#storage";

/** How the default keyspace of a new cluster is to be made. */
export interface Wish {
  readonly shards: number;
  readonly replicas: number;
  readonly partition: "hash" | "range";
}

/**
 * Who this data directory is. The node id lives nowhere else: a node that lost its disk is another node (R1).
 * `joining`: a question under way; its nonce makes a repeated one get the same answer.
 */
export type Identity =
  | { readonly kind: "joining"; readonly cluster: string; readonly name: string; readonly nonce: string }
  | {
      readonly kind: "member";
      readonly cluster: string;
      readonly name: string;
      readonly clusterId: ClusterId;
      readonly nodeId: NodeId;
      readonly nonce: string;
      /** On the bootstrap node: what group 0 begins with, until its replica is made. */
      readonly wish?: Wish;
    };

const row: Uint8Array = Uint8Array.of(metaTags.node);

/** @throws ProtocolError when the row cannot be read */
export function readIdentity(engine: Engine): Identity | undefined {
  const value = engine.get("meta", row);
  if (value === undefined) return undefined;
  const f = FieldReader.of(value, "node identity");
  const kind = f.choice(["joining", "member"] as const);
  const base = { cluster: f.text(), name: f.text(), nonce: f.text() };
  if (kind === "joining") return { kind, ...base };
  const clusterId = f.text();
  const nodeId = f.integer(1);
  const wish = f.optional((r) => {
    const w = new FieldReader(r.any(), "default keyspace");
    return {
      shards: w.integer(1),
      replicas: w.integer(1),
      partition: w.choice(["hash", "range"] as const),
    };
  });
  return { kind, ...base, clusterId, nodeId, ...(wish === undefined ? {} : { wish }) };
}

/** Synced before anybody hears of it. */
export function writeIdentity(engine: Engine, identity: Identity, done: (error?: Error) => void): void {
  const batch = engine.batch();
  const fields: unknown[] = [identity.kind, identity.cluster, identity.name, identity.nonce];
  if (identity.kind === "member") {
    const { wish } = identity;
    fields.push(identity.clusterId, identity.nodeId);
    fields.push(wish === undefined ? null : [wish.shards, wish.replicas, wish.partition]);
  }
  batch.put("meta", row, encode(fields));
  engine.write(batch, { sync: true }, done);
}

import { decode, encode, FieldReader } from "./codec.ts";
import type { ClusterId, GroupId, NodeId } from "./ids.ts";
import {
  descriptorFields,
  type KeyspaceDescriptor,
  keyspaceFields,
  readDescriptor,
  readKeyspace,
  type ShardDescriptor,
} from "./shards.ts";

/** RPC: fetch of the whole table, from any node. Empty request. */
export const routesMethod = 11;

/** Orders tables: by placement's term, then by its count of changes in that term. */
export interface RouteVersion {
  readonly term: number;
  readonly sequence: number;
}

export interface RouteNode {
  readonly id: NodeId;
  readonly name: string;
  /** host:port of its HTTP listener. */
  readonly http: string;
}

export interface Route {
  readonly shard: ShardDescriptor;
  /** The last leader heard of, by node; undefined when none is known. */
  readonly leader?: NodeId;
}

/** Where everything is, as placement last knew. Removed things stand in `removedShards` of a delta only. */
export interface RouteTable {
  readonly clusterId: ClusterId;
  readonly version: RouteVersion;
  readonly placementMembers: readonly NodeId[];
  readonly placementLeader?: NodeId;
  readonly nodes: readonly RouteNode[];
  readonly keyspaces: readonly KeyspaceDescriptor[];
  readonly routes: readonly Route[];
}

/**
 * What changed from `base` to `table.version`: the nodes and keyspaces whole, only changed routes. It applies
 * only on exactly `base`; on a gap the receiver fetches the whole. Pushed on the transport's `event` channel.
 */
export interface RouteDelta {
  readonly base: RouteVersion;
  readonly table: RouteTable;
  readonly removedShards: readonly GroupId[];
}

function tableFields(t: RouteTable): unknown[] {
  return [
    t.clusterId,
    t.version.term,
    t.version.sequence,
    t.placementMembers,
    t.placementLeader ?? null,
    t.nodes.map((n) => [n.id, n.name, n.http]),
    t.keyspaces.map(keyspaceFields),
    t.routes.map((r) => [descriptorFields(r.shard), r.leader ?? null]),
  ];
}

function readTable(value: unknown): RouteTable {
  const f = new FieldReader(value, "route table");
  const head = {
    clusterId: f.text(),
    version: { term: f.integer(), sequence: f.integer() },
    placementMembers: f.list((id) => new FieldReader([id], "member").integer(1)),
  };
  const placementLeader = f.optional((r) => r.integer(1));
  return {
    ...head,
    ...(placementLeader === undefined ? {} : { placementLeader }),
    nodes: f.list((element) => {
      const n = new FieldReader(element, "route node");
      return { id: n.integer(1), name: n.text(), http: n.text() };
    }),
    keyspaces: f.list(readKeyspace),
    routes: f.list((element) => {
      const r = new FieldReader(element, "route");
      const shard = readDescriptor(r.any());
      const leader = r.optional((l) => l.integer(1));
      return { shard, ...(leader === undefined ? {} : { leader }) };
    }),
  };
}

export function encodeRouteTable(table: RouteTable): Uint8Array {
  return encode(tableFields(table));
}

/** @throws ProtocolError */
export function decodeRouteTable(bytes: Uint8Array): RouteTable {
  return readTable(decode(bytes));
}

export function encodeRouteDelta(delta: RouteDelta): Uint8Array {
  return encode([delta.base.term, delta.base.sequence, tableFields(delta.table), delta.removedShards]);
}

/** @throws ProtocolError */
export function decodeRouteDelta(bytes: Uint8Array): RouteDelta {
  const f = FieldReader.of(bytes, "route delta");
  return {
    base: { term: f.integer(), sequence: f.integer() },
    table: readTable(f.any()),
    removedShards: f.list((id) => new FieldReader([id], "shard id").integer(1)),
  };
}

import {
  descriptorFields,
  encode,
  FieldReader,
  type GroupId,
  type NodeId,
  type Partition,
  ProtocolError,
  readDescriptor,
  type ShardDescriptor,
} from "#proto";
import { readStep, stepFields } from "./rows.ts";
import type { OperationKind, OperationState, Step } from "./state.ts";
import { operationKinds, operationStates } from "./state.ts";

type Labels = Readonly<Record<string, string>>;

/** What placement's log holds. Each is checked again at apply; what no longer fits is refused there (R12). */
export type Command =
  | {
      readonly name: "node.join";
      readonly nonce: string;
      readonly node: string;
      readonly http: string;
      readonly labels: Labels;
      readonly version: string;
    }
  /** A node came back with another listener, version or labels. */
  | {
      readonly name: "node.refresh";
      readonly id: NodeId;
      readonly http: string;
      readonly labels: Labels;
      readonly version: string;
    }
  | { readonly name: "node.liveness"; readonly id: NodeId; readonly down: boolean }
  /** `bounds`: shards + 1 boundaries. `placements`: per shard the nodes, the first leader's first. */
  | {
      readonly name: "keyspace.create";
      readonly keyspace: string;
      readonly partition: Partition;
      readonly slots: number;
      readonly replicas: number;
      readonly bounds: readonly Uint8Array[];
      readonly placements: readonly (readonly NodeId[])[];
      readonly reason: string;
    }
  /** Newer memberships, as the shards' leaders reported them. */
  | { readonly name: "shards.report"; readonly descriptors: readonly ShardDescriptor[] }
  /** All first replicas of these were seen. */
  | { readonly name: "shards.born"; readonly ids: readonly GroupId[] }
  | { readonly name: "shards.retire"; readonly ids: readonly GroupId[]; readonly reason: string }
  | { readonly name: "config.set"; readonly changes: Readonly<Record<string, unknown>> }
  /** New replicas stand as minus their node's id in `steps`: apply gives the ids, one per node. */
  | {
      readonly name: "operation.begin";
      readonly kind: OperationKind;
      readonly group: GroupId;
      readonly reason: string;
      readonly steps: readonly Step[];
    }
  /** The step before `at` is done. */
  | { readonly name: "operation.advance"; readonly id: number; readonly at: number }
  | {
      readonly name: "operation.end";
      readonly id: number;
      readonly state: Exclude<OperationState, "running">;
      readonly detail: string;
    };

/** What apply says to a command. `value`: what it gave, such as ids. */
export type CommandResult =
  | { readonly ok: true; readonly value: number }
  | { readonly ok: false; readonly detail: string };

export function encodeCommand(c: Command): Uint8Array {
  switch (c.name) {
    case "node.join":
      return encode([c.name, c.nonce, c.node, c.http, c.labels, c.version]);
    case "node.refresh":
      return encode([c.name, c.id, c.http, c.labels, c.version]);
    case "node.liveness":
      return encode([c.name, c.id, c.down]);
    case "keyspace.create":
      return encode([c.name, c.keyspace, c.partition, c.slots, c.replicas, c.bounds, c.placements, c.reason]);
    case "shards.report":
      return encode([c.name, c.descriptors.map(descriptorFields)]);
    case "shards.born":
      return encode([c.name, c.ids]);
    case "shards.retire":
      return encode([c.name, c.ids, c.reason]);
    case "config.set":
      return encode([c.name, c.changes]);
    case "operation.begin":
      return encode([c.name, c.kind, c.group, c.reason, c.steps.map(stepFields)]);
    case "operation.advance":
      return encode([c.name, c.id, c.at]);
    case "operation.end":
      return encode([c.name, c.id, c.state, c.detail]);
  }
}

function ids(f: FieldReader): number[] {
  return f.list((id) => new FieldReader([id], "id").integer(1));
}

/** @throws ProtocolError for an unknown or unreadable command: the replica must stop, not skip it (R11) */
export function decodeCommand(bytes: Uint8Array): Command {
  const f = FieldReader.of(bytes, "placement command");
  const name = f.text() as Command["name"];
  switch (name) {
    case "node.join":
      return {
        name,
        nonce: f.text(),
        node: f.text(),
        http: f.text(),
        labels: f.record() as Labels,
        version: f.text(),
      };
    case "node.refresh":
      return { name, id: f.integer(1), http: f.text(), labels: f.record() as Labels, version: f.text() };
    case "node.liveness":
      return { name, id: f.integer(1), down: f.boolean() };
    case "keyspace.create":
      return {
        name,
        keyspace: f.text(),
        partition: f.choice(["hash", "range"] as const),
        slots: f.integer(),
        replicas: f.integer(1),
        bounds: f.list((b) => new FieldReader([b], "boundary").bytes().slice()),
        placements: f.list((nodes) => ids(new FieldReader([nodes], "placement"))),
        reason: f.text(),
      };
    case "shards.report":
      return { name, descriptors: f.list(readDescriptor) };
    case "shards.born":
      return { name, ids: ids(f) };
    case "shards.retire":
      return { name, ids: ids(f), reason: f.text() };
    case "config.set":
      return { name, changes: f.record() };
    case "operation.begin":
      return {
        name,
        kind: f.choice(operationKinds),
        group: f.integer(),
        reason: f.text(),
        steps: f.list(readStep),
      };
    case "operation.advance":
      return { name, id: f.integer(1), at: f.integer(1) };
    case "operation.end": {
      const id = f.integer(1);
      const state = f.choice(operationStates);
      if (state === "running") throw new ProtocolError("placement command: an end that goes on");
      return { name, id, state, detail: f.text() };
    }
    default:
      throw new ProtocolError(`unknown placement command ${String(name)}`);
  }
}

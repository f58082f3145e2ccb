import {
  descriptorFields,
  encode,
  FieldReader,
  type Frozen,
  frozenFields,
  type GroupId,
  type Membership,
  memberships,
  type NodeId,
  type Partition,
  ProtocolError,
  readDescriptor,
  readFrozen,
  type ShardDescriptor,
} from "#proto";
import { moveFields, readMove } from "./operation-rows.ts";
import {
  type JobKind,
  jobKinds,
  type MoveInfo,
  type OperationKind,
  type OperationState,
  operationKinds,
  operationStates,
  type Step,
  type Task,
} from "./state.ts";
import { readStep, readTask, stepFields, taskFields } from "./steps.ts";

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
  | { readonly name: "node.update"; readonly id: NodeId; readonly labels?: Labels; readonly weight?: number }
  /** Drain, undrain, decommission, recommission: the membership changes at once, the job does the work. */
  | {
      readonly name: "node.membership";
      readonly id: NodeId;
      readonly membership: Membership;
      /** Only draining: until then its being down starts no repair. */
      readonly untilMicros?: number;
      readonly job: NewJob;
    }
  /** Its id is never given again. `force`: though replicas were there. */
  | { readonly name: "node.delete"; readonly id: NodeId; readonly force: boolean; readonly reason: string }
  /** `bounds`: shards + 1 boundaries. `placements`: per shard the nodes, the first leader's first. */
  | {
      readonly name: "keyspace.create";
      readonly keyspace: string;
      readonly partition: Partition;
      readonly slots: number;
      readonly replicas: number;
      /** Asked for: `replicas` does not follow the setting. */
      readonly ownReplicas?: true;
      readonly bounds: readonly Uint8Array[];
      readonly placements: readonly (readonly NodeId[])[];
      readonly reason: string;
    }
  /** Its shards are retired at once; a job follows their replicas' destruction. */
  | { readonly name: "keyspace.delete"; readonly id: number; readonly total: number; readonly reason: string }
  /** Newer memberships, as the shards' leaders reported them. */
  | { readonly name: "shards.report"; readonly descriptors: readonly ShardDescriptor[] }
  /** All first replicas of these were seen. */
  | { readonly name: "shards.born"; readonly ids: readonly GroupId[] }
  | { readonly name: "shards.retire"; readonly ids: readonly GroupId[]; readonly reason: string }
  /** Changes nothing: that it was done is told, and kept for its idempotency key. */
  | {
      readonly name: "logs.compacted";
      readonly count: number;
      readonly reason: string;
      readonly shard?: GroupId;
    }
  | { readonly name: "config.set"; readonly changes: Readonly<Record<string, unknown>> }
  /** The split that operation `id` ordered has been applied: parent and children change places in one go. */
  | { readonly name: "shards.split"; readonly id: number }
  /** The merge that operation `id` ordered has been applied: one shard is no more, the other has its range. */
  | { readonly name: "shards.merge"; readonly id: number }
  /**
   * New replicas stand as minus their node's id in `steps`: apply gives the ids, one per node; and those of
   * a split's children. `task`: the one of `job` that this carries out.
   */
  | {
      readonly name: "operation.begin";
      readonly kind: OperationKind;
      readonly group: GroupId;
      readonly reason: string;
      readonly steps: readonly Step[];
      readonly move?: MoveInfo;
      readonly job?: number;
      readonly task?: number;
      readonly background?: true;
      /** Of a merge. */
      readonly target?: GroupId;
    }
  /** Where to split, as the leader suggested: apply gives the children's ids. */
  | {
      readonly name: "operation.split";
      readonly id: number;
      readonly boundaries: readonly Uint8Array[];
    }
  /** The source stands still on all its replicas, as its leader reports: the target may take it over. */
  | {
      readonly name: "operation.merge";
      readonly id: number;
      readonly source: ShardDescriptor;
      readonly frozen: Frozen;
    }
  /** The step before `at` is done. */
  | { readonly name: "operation.advance"; readonly id: number; readonly at: number }
  | {
      readonly name: "operation.end";
      readonly id: number;
      readonly state: Exclude<OperationState, "running">;
      readonly detail: string;
    }
  | { readonly name: "job.begin"; readonly job: NewJob }
  /** More to do, as planned anew. */
  | { readonly name: "job.extend"; readonly id: number; readonly tasks: readonly Task[] }
  /** A task that needs no operation, or cannot have one. */
  | {
      readonly name: "job.task";
      readonly id: number;
      readonly task: number;
      readonly state: "done" | "failed";
      readonly detail: string;
    }
  | {
      readonly name: "job.end";
      readonly id: number;
      readonly state: Exclude<OperationState, "running">;
      readonly detail: string;
    }
  /** `command` at most once for `key`; `fingerprint`: of the request, which a repeat must have too. */
  | {
      readonly name: "once";
      readonly key: string;
      readonly fingerprint: string;
      readonly status: number;
      readonly body: unknown;
      readonly command: Command;
    };

export interface NewJob {
  readonly kind: JobKind;
  readonly reason: string;
  readonly node?: NodeId;
  readonly shards: readonly GroupId[];
  readonly total: number;
  readonly tasks: readonly Task[];
  readonly plan?: string;
}

/**
 * What apply says to a command. `value`: what it gave, such as ids. `replayed`: by an earlier one under the
 * same idempotency key; `mismatch`: that one was another request.
 */
export type CommandResult =
  | { readonly ok: true; readonly value: number; readonly replayed?: boolean }
  | { readonly ok: false; readonly detail: string; readonly mismatch?: boolean };

function jobFields(j: NewJob): unknown[] {
  return [j.kind, j.reason, j.node ?? null, j.shards, j.total, j.tasks.map(taskFields), j.plan ?? null];
}

function readJob(value: unknown): NewJob {
  const f = new FieldReader(value, "job");
  const head = { kind: f.choice(jobKinds), reason: f.text() };
  const node = f.optional((r) => r.integer(1));
  const work = { shards: ids(f), total: f.integer(), tasks: f.list(readTask) };
  const plan = f.optional((r) => r.text());
  return {
    ...head,
    ...(node === undefined ? {} : { node }),
    ...work,
    ...(plan === undefined ? {} : { plan }),
  };
}

/** What became of a command that somebody waits for: `never` means that it was not and will not be applied. */
export type Written = CommandResult | "never" | "unknown";

export function encodeCommand(command: Command): Uint8Array {
  return encode(commandFields(command));
}

function commandFields(c: Command): unknown[] {
  switch (c.name) {
    case "node.join":
      return [c.name, c.nonce, c.node, c.http, c.labels, c.version];
    case "node.refresh":
      return [c.name, c.id, c.http, c.labels, c.version];
    case "node.liveness":
      return [c.name, c.id, c.down];
    case "node.update":
      return [c.name, c.id, c.labels ?? null, c.weight ?? null];
    case "node.membership":
      return [c.name, c.id, c.membership, c.untilMicros ?? null, jobFields(c.job)];
    case "node.delete":
      return [c.name, c.id, c.force, c.reason];
    case "keyspace.create": {
      const { keyspace, partition, slots, replicas, bounds, placements, reason, ownReplicas } = c;
      const head = [c.name, keyspace, partition, slots, replicas];
      return [...head, bounds, placements, reason, ownReplicas ?? false];
    }
    case "keyspace.delete":
      return [c.name, c.id, c.total, c.reason];
    case "shards.report":
      return [c.name, c.descriptors.map(descriptorFields)];
    case "shards.born":
      return [c.name, c.ids];
    case "shards.retire":
      return [c.name, c.ids, c.reason];
    case "shards.split":
    case "shards.merge":
      return [c.name, c.id];
    case "logs.compacted":
      return [c.name, c.count, c.reason, c.shard ?? null];
    case "config.set":
      return [c.name, c.changes];
    case "operation.begin": {
      const steps = c.steps.map(stepFields);
      const whose = [c.job ?? null, c.task ?? null, c.background ?? false, c.target ?? null];
      return [c.name, c.kind, c.group, c.reason, steps, moveFields(c.move), ...whose];
    }
    case "operation.split":
      return [c.name, c.id, c.boundaries];
    case "operation.merge":
      return [c.name, c.id, descriptorFields(c.source), frozenFields(c.frozen)];
    case "operation.advance":
      return [c.name, c.id, c.at];
    case "operation.end":
    case "job.end":
      return [c.name, c.id, c.state, c.detail];
    case "job.begin":
      return [c.name, jobFields(c.job)];
    case "job.extend":
      return [c.name, c.id, c.tasks.map(taskFields)];
    case "job.task":
      return [c.name, c.id, c.task, c.state, c.detail];
    case "once":
      return [c.name, c.key, c.fingerprint, c.status, c.body, commandFields(c.command)];
  }
}

function ids(f: FieldReader): number[] {
  return f.list((id) => new FieldReader([id], "id").integer(1));
}

/** @throws ProtocolError for an unknown or unreadable command: the replica must stop, not skip it (R11) */
export function decodeCommand(bytes: Uint8Array): Command {
  return readCommand(FieldReader.of(bytes, "placement command"));
}

function readCommand(f: FieldReader): Command {
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
    case "node.update": {
      const id = f.integer(1);
      const labels = f.optional((r) => r.record() as Labels);
      const weight = f.optional((r) => r.number());
      return {
        name,
        id,
        ...(labels === undefined ? {} : { labels }),
        ...(weight === undefined ? {} : { weight }),
      };
    }
    case "node.membership": {
      const head = { name, id: f.integer(1), membership: f.choice(memberships) };
      const untilMicros = f.optional((r) => r.integer());
      return { ...head, ...(untilMicros === undefined ? {} : { untilMicros }), job: readJob(f.any()) };
    }
    case "node.delete":
      return { name, id: f.integer(1), force: f.boolean(), reason: f.text() };
    case "keyspace.create":
      return readKeyspace(name, f);
    case "keyspace.delete":
      return { name, id: f.integer(1), total: f.integer(), reason: f.text() };
    case "shards.report":
      return { name, descriptors: f.list(readDescriptor) };
    case "shards.born":
      return { name, ids: ids(f) };
    case "shards.retire":
      return { name, ids: ids(f), reason: f.text() };
    case "shards.split":
    case "shards.merge":
      return { name, id: f.integer(1) };
    case "logs.compacted": {
      const head = { name, count: f.integer(), reason: f.text() };
      const shard = f.optional((r) => r.integer(1));
      return { ...head, ...(shard === undefined ? {} : { shard }) };
    }
    case "config.set":
      return { name, changes: f.record() };
    default:
      return readWork(name, f);
  }
}

function readWork(name: Command["name"], f: FieldReader): Command {
  switch (name) {
    case "operation.begin":
      return readBegin(f);
    case "operation.split":
      return { name, id: f.integer(1), boundaries: readBoundaries(f) };
    case "operation.merge":
      return { name, id: f.integer(1), source: readDescriptor(f.any()), frozen: readFrozen(f.any()) };
    case "operation.advance":
      return { name, id: f.integer(1), at: f.integer(1) };
    case "operation.end":
    case "job.end": {
      const id = f.integer(1);
      const state = f.choice(operationStates);
      if (state === "running") throw new ProtocolError("placement command: an end that goes on");
      return { name, id, state, detail: f.text() };
    }
    case "job.begin":
      return { name, job: readJob(f.any()) };
    case "job.extend":
      return { name, id: f.integer(1), tasks: f.list(readTask) };
    case "job.task": {
      const head = { name, id: f.integer(1), task: f.integer() };
      return { ...head, state: f.choice(["done", "failed"] as const), detail: f.text() };
    }
    case "once": {
      const head = { name, key: f.text(), fingerprint: f.text(), status: f.integer(), body: f.any() };
      return { ...head, command: readCommand(new FieldReader(f.any(), "placement command")) };
    }
    default:
      throw new ProtocolError(`unknown placement command ${String(name)}`);
  }
}

function readBoundaries(f: FieldReader): Uint8Array[] {
  return f.list((b) => new FieldReader([b], "boundary").bytes().slice());
}

function readKeyspace(name: "keyspace.create", f: FieldReader): Command {
  const command = {
    name,
    keyspace: f.text(),
    partition: f.choice(["hash", "range"] as const),
    slots: f.integer(),
    replicas: f.integer(1),
    bounds: readBoundaries(f),
    placements: f.list((nodes) => ids(new FieldReader([nodes], "placement"))),
    reason: f.text(),
  };
  const own = f.optional((r) => r.boolean()) ?? false;
  return own ? { ...command, ownReplicas: true } : command;
}

function readBegin(f: FieldReader): Command {
  const head = {
    name: "operation.begin",
    kind: f.choice(operationKinds),
    group: f.integer(),
    reason: f.text(),
    steps: f.list(readStep),
  } as const;
  const move = f.optional((r) => readMove(r.any()));
  const job = f.optional((r) => r.integer(1));
  const task = f.optional((r) => r.integer());
  const background = f.optional((r) => r.boolean()) ?? false;
  const target = f.optional((r) => r.integer(1));
  return {
    ...head,
    ...(move === undefined ? {} : { move }),
    ...(job === undefined ? {} : { job }),
    ...(task === undefined ? {} : { task }),
    ...(background ? { background } : {}),
    ...(target === undefined ? {} : { target }),
  };
}

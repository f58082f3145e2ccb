import {
  descriptorFields,
  FieldReader,
  frozenFields,
  type ReplicaSite,
  readDescriptor,
  readFrozen,
  type SplitChild,
} from "#proto";
import { type Step, type Task, taskActions, taskStates } from "./state.ts";

/** Steps and tasks in rows and commands. @module */

export function stepFields(step: Step): unknown[] {
  switch (step.kind) {
    case "turn":
      return [step.kind];
    case "transfer":
      return [step.kind, step.to];
    case "handOver":
      return [step.kind, step.from];
    case "conf":
      return [
        step.kind,
        step.changes.map((c) => [c.kind, c.id]),
        step.joint,
        step.added.map((r) => [r.replicaId, r.nodeId]),
      ];
    case "caughtUp":
      return [step.kind, step.replicas];
    case "gone":
      return [step.kind, step.replicas.map((r) => [r.replicaId, r.nodeId])];
    case "suggest":
      return [step.kind, step.by, step.ways];
    case "freeze":
      return [step.kind];
    case "merge": {
      const { expected, source, frozen } = step;
      const head = [step.kind, expected.version, expected.confVersion];
      return [...head, descriptorFields(source), frozenFields(frozen)];
    }
    case "seal":
    case "thaw":
      return [step.kind, step.version];
    default:
      return [
        step.kind,
        step.expected.version,
        step.expected.confVersion,
        step.boundaries,
        step.children.map((c) => [c.id, c.replicas.map((r) => [r.parent, r.child])]),
      ];
  }
}

/** In a command, a replica that has no id yet stands as minus its node's. */
const anyId = Number.MIN_SAFE_INTEGER;

const stepKinds = [
  "turn",
  "transfer",
  "handOver",
  "conf",
  "caughtUp",
  "gone",
  "suggest",
  "split",
  "freeze",
  "merge",
  "seal",
  "thaw",
] as const;

/** @throws ProtocolError */
export function readStep(value: unknown): Step {
  const f = new FieldReader(value, "step");
  const kind = f.choice(stepKinds);
  switch (kind) {
    case "turn":
      return { kind };
    case "transfer":
      return { kind, to: f.integer(anyId) };
    case "handOver":
      return { kind, from: readReplicaIds(f) };
    case "caughtUp":
      return { kind, replicas: readReplicaIds(f) };
    case "gone":
      return { kind, replicas: f.list(readSite) };
    case "conf":
      return {
        kind,
        changes: f.list((element) => {
          const c = new FieldReader(element, "change");
          return { kind: c.choice(["voter", "learner", "remove"] as const), id: c.integer(anyId) };
        }),
        joint: f.boolean(),
        added: f.list(readSite),
      };
    case "suggest":
      return { kind, by: f.choice(["size", "load"] as const), ways: f.integer(2) };
    case "freeze":
      return { kind };
    case "merge":
      return {
        kind,
        expected: { version: f.integer(), confVersion: f.integer() },
        source: readDescriptor(f.any()),
        frozen: readFrozen(f.any()),
      };
    case "seal":
    case "thaw":
      return { kind, version: f.integer() };
    default:
      return {
        kind,
        expected: { version: f.integer(), confVersion: f.integer() },
        boundaries: f.list((b) => new FieldReader([b], "boundary").bytes().slice()),
        children: f.list(readChild),
      };
  }
}

function readReplicaIds(f: FieldReader): number[] {
  return f.list((id) => new FieldReader([id], "replica id").integer(anyId));
}

function readSite(value: unknown): ReplicaSite {
  const r = new FieldReader(value, "replica site");
  return { replicaId: r.integer(anyId), nodeId: r.integer(1) };
}

function readChild(value: unknown): SplitChild {
  const c = new FieldReader(value, "split child");
  const id = c.integer(1);
  const replicas = c.list((element) => {
    const r = new FieldReader(element, "split replica");
    return { parent: r.integer(1), child: r.integer(1) };
  });
  return { id, replicas };
}

export function taskFields(t: Task): unknown[] {
  const { action, shard, from, to, reason, bytes, state, attempts, operation, detail } = t;
  return [action, shard, from, to, reason, bytes, state, attempts, operation ?? null, detail ?? null];
}

/** @throws ProtocolError */
export function readTask(value: unknown): Task {
  const f = new FieldReader(value, "task");
  const task = {
    action: f.choice(taskActions),
    shard: f.integer(1),
    from: f.integer(1),
    to: f.integer(1),
    reason: f.text(),
    bytes: f.integer(),
    state: f.choice(taskStates),
    attempts: f.integer(),
  };
  const operation = f.optional((r) => r.integer(1));
  const detail = f.optional((r) => r.text());
  return {
    ...task,
    ...(operation === undefined ? {} : { operation }),
    ...(detail === undefined ? {} : { detail }),
  };
}

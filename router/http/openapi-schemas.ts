import { type Code, errorCodes } from "#proto";

export type Json = Record<string, unknown>;

export const text: Json = { type: "string" };
export const whole: Json = { type: "integer" };
const revision = { type: "integer", minimum: 1, maximum: Number.MAX_SAFE_INTEGER };

export const schemas: Json = {
  Problem: {
    type: "object",
    required: ["type", "title", "status", "code", "detail", "retryable", "request_id"],
    properties: {
      type: { ...text, description: "/docs/errors#CODE" },
      title: text,
      status: whole,
      code: { ...text, enum: Object.keys(errorCodes) satisfies string[] as Code[] },
      detail: text,
      retryable: { type: "boolean" },
      retry_after_ms: whole,
      request_id: text,
      outcome: {
        ...text,
        enum: ["not_applied", "unknown"],
        description: "On each failed write: `not_applied` only if it was not and never will be.",
      },
      revision: { ...whole, description: "precondition_failed: the present one, 0 when absent." },
      blockers: { type: "array", items: ref("Blocker"), description: "blocked: what is in the way." },
      reasons: { type: "array", items: text },
    },
  },
  Put: { type: "object", required: ["revision"], properties: { revision } },
  Deleted: {
    type: "object",
    required: ["deleted", "revision"],
    properties: { deleted: { type: "boolean" }, revision },
  },
  Cluster: {
    type: "object",
    properties: {
      cluster: text,
      cluster_id: text,
      version: text,
      placement: {
        type: "object",
        properties: { leader: text, term: whole, members: { type: "array", items: text } },
      },
      nodes: counts("up", "suspect", "down", "draining"),
      shards: counts("total", "healthy", "under_replicated", "leaderless"),
      can_lose: { type: "object", properties: { nodes: whole, reason: text } },
      config: { type: "object" },
    },
  },
  Node: {
    type: "object",
    properties: {
      name: text,
      id: whole,
      state: text,
      liveness: { ...text, enum: ["up", "suspect", "down"] },
      membership: { ...text, enum: ["active", "draining", "decommissioning", "decommissioned"] },
      http: text,
      pid: whole,
      labels: { type: "object", additionalProperties: text },
      weight: { type: "number" },
      version: text,
      replicas: whole,
      leaders: whole,
      bytes: whole,
      disk_free_bytes: whole,
      heartbeat_age_ms: whole,
      fsync_p99_ms: { type: "number" },
      started_at: text,
    },
  },
  Epoch: { type: "object", properties: { version: whole, conf_version: whole } },
  Shard: {
    type: "object",
    properties: {
      id: whole,
      keyspace: text,
      start: { ...text, description: "Lower-case hex of the encoded key; empty: open." },
      end: text,
      epoch: ref("Epoch"),
      replicas: {
        type: "array",
        items: {
          type: "object",
          properties: { node: text, replica_id: whole, role: text, match_lag: whole, state: text },
        },
      },
      leader: text,
      term: whole,
      bytes: whole,
      keys: whole,
      writes_per_s: { type: "number" },
      reads_per_s: { type: "number" },
      health: { ...text, enum: ["healthy", "under_replicated", "leaderless"] },
    },
  },
  Location: {
    type: "object",
    properties: {
      shard: whole,
      leader: text,
      replicas: { type: "array", items: text },
      epoch: ref("Epoch"),
    },
  },
  Keyspace: {
    type: "object",
    properties: {
      name: text,
      partition: { ...text, enum: ["hash", "range"] },
      slots: whole,
      shards: whole,
      replicas: whole,
    },
  },
  Step: {
    type: "object",
    properties: {
      shard: whole,
      action: text,
      from: text,
      to: text,
      reason: text,
      bytes: whole,
      eta_ms: whole,
    },
  },
  Blocker: {
    type: "object",
    required: ["reason"],
    properties: { shard: whole, node: text, reason: text },
  },
  Plan: {
    type: "object",
    properties: {
      operation: { ...text, description: "Absent in a dry run, and where there is nothing to do." },
      plan: { ...text, description: "Posted back, exactly these steps are carried out." },
      steps: { type: "array", items: ref("Step") },
      blockers: { type: "array", items: ref("Blocker") },
      imbalance: {
        type: "object",
        properties: { before: { type: "number" }, after: { type: "number" } },
      },
      eta_ms: whole,
      reason: text,
    },
  },
  Operation: {
    type: "object",
    required: ["id", "kind", "state", "progress", "reason", "started_at"],
    properties: {
      id: text,
      kind: text,
      state: { ...text, enum: ["running", "done", "failed", "cancelled"] },
      progress: { type: "number", minimum: 0, maximum: 1 },
      eta_ms: whole,
      steps_done: whole,
      steps_total: whole,
      reason: text,
      blocked_by: { ...text, description: "What it waits for." },
      detail: { ...text, description: "Why it ended as it did, where there is more to say than its state." },
      started_at: text,
      finished_at: text,
      steps: {
        type: "array",
        description: "Of one operation that is work on many shards.",
        items: {
          type: "object",
          properties: {
            shard: whole,
            action: { ...text, enum: ["move", "transfer_leader"] },
            from: text,
            to: text,
            state: { ...text, enum: ["waiting", "running", "done", "failed"] },
            reason: text,
            bytes: whole,
            operation: { ...text, description: "The one that carries it out, or did last." },
            detail: { ...text, description: "Why it failed, the last time it did." },
          },
        },
      },
    },
  },
  Begun: {
    type: "object",
    required: ["operation"],
    properties: { operation: { ...text, description: "The id of an operation." } },
  },
  Event: {
    type: "object",
    required: ["id", "at", "kind", "reason"],
    properties: {
      id: { ...whole, description: "Grows, also from one placement leader to the next." },
      at: text,
      kind: text,
      reason: text,
      shard: whole,
      node: text,
    },
  },
  Why: {
    type: "object",
    properties: {
      shard: whole,
      leader: text,
      replicas: { type: "array", items: text },
      epoch: ref("Epoch"),
      decisions: {
        type: "array",
        items: { type: "object", properties: { at: text, kind: text, reason: text } },
      },
    },
  },
};

export function ref(name: string): Json {
  return { $ref: `#/components/schemas/${name}` };
}

function counts(...names: string[]): Json {
  return { type: "object", properties: Object.fromEntries(names.map((name) => [name, whole])) };
}

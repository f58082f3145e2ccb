import { encode, FieldReader } from "./codec.ts";
import { type Code, errorCodes } from "./errors.ts";
import type { NodeId } from "./ids.ts";

/** RPC: any node or router → the placement leader. */
export const adminMethod = 12;

/** `operation` such as `cluster.get`, `nodes.list`, `shards.get`; `parameters` as plain JSON. */
export interface AdminRequest {
  readonly operation: string;
  readonly parameters: Readonly<Record<string, unknown>>;
}

/**
 * `ok`: the HTTP status and JSON body to answer with; `replayed` when an earlier request under the same
 * `idempotency_key` did the work.
 * `error`: a problem. `not_leader`: ask `leader`.
 */
export type AdminResponse =
  | {
      readonly kind: "ok";
      readonly status: number;
      readonly body: unknown;
      readonly replayed?: boolean;
    }
  | {
      readonly kind: "error";
      readonly code: Code;
      readonly detail: string;
      readonly extra?: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: "not_leader"; readonly leader?: NodeId };

export function encodeAdminRequest(r: AdminRequest): Uint8Array {
  return encode([r.operation, r.parameters]);
}

/** @throws ProtocolError */
export function decodeAdminRequest(bytes: Uint8Array): AdminRequest {
  const f = FieldReader.of(bytes, "admin request");
  return { operation: f.text(), parameters: f.record() };
}

export function encodeAdminResponse(r: AdminResponse): Uint8Array {
  switch (r.kind) {
    case "ok":
      return encode([r.kind, r.status, r.body, r.replayed ?? false]);
    case "error":
      return encode([r.kind, r.code, r.detail, r.extra ?? null]);
    default:
      return encode([r.kind, r.leader ?? null]);
  }
}

/** @throws ProtocolError */
export function decodeAdminResponse(bytes: Uint8Array): AdminResponse {
  const f = FieldReader.of(bytes, "admin response");
  const kind = f.choice(["ok", "error", "not_leader"] as const);
  if (kind === "ok") {
    const answer = { kind, status: f.integer(100), body: f.any() };
    return f.any() === true ? { ...answer, replayed: true } : answer;
  }
  if (kind === "not_leader") {
    const leader = f.optional((r) => r.integer(1));
    return { kind, ...(leader === undefined ? {} : { leader }) };
  }
  const code = f.choice(Object.keys(errorCodes) as Code[]);
  const detail = f.text();
  const extra = f.optional((r) => r.record());
  return { kind, code, detail, ...(extra === undefined ? {} : { extra }) };
}

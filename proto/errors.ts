/** What became of a failed write: `not_applied` only if it was not and never will be (R24). */
export type Outcome = "not_applied" | "unknown";

export interface CodePolicy {
  readonly status: number;
  readonly title: string;
  readonly retryable: boolean;
}

/** Stable: programs recognise errors by these. */
export type Code =
  | "bad_request"
  | "key_empty"
  | "key_too_large"
  | "bad_parameter"
  | "unauthenticated"
  | "forbidden"
  | "not_found"
  | "no_such_route"
  | "no_such_keyspace"
  | "method_not_allowed"
  | "not_acceptable"
  | "cross_shard"
  | "not_a_number"
  | "out_of_range"
  | "idempotency_expired"
  | "conflict"
  | "blocked"
  | "compacted"
  | "precondition_failed"
  | "value_too_large"
  | "request_too_large"
  | "uri_too_long"
  | "unsupported_media_type"
  | "idempotency_conflict"
  | "too_busy"
  | "headers_too_large"
  | "internal"
  | "unavailable"
  | "timeout"
  | "storage_full";

/** Every stable error code with its HTTP status. docs/errors.md has one section each; a test compares. */
export const errorCodes: Readonly<Record<Code, CodePolicy>> = {
  bad_request: { status: 400, title: "The request is malformed", retryable: false },
  key_empty: { status: 400, title: "The key is empty", retryable: false },
  key_too_large: { status: 400, title: "The key is longer than 4096 bytes", retryable: false },
  bad_parameter: { status: 400, title: "A parameter is unknown or has a bad value", retryable: false },
  unauthenticated: { status: 401, title: "A bearer token is required", retryable: false },
  forbidden: { status: 403, title: "The request is not allowed", retryable: false },
  not_found: { status: 404, title: "There is nothing under this name", retryable: false },
  no_such_route: { status: 404, title: "There is no such resource", retryable: false },
  no_such_keyspace: { status: 404, title: "There is no such keyspace", retryable: false },
  method_not_allowed: { status: 405, title: "The resource does not take this method", retryable: false },
  not_acceptable: { status: 406, title: "Accept allows none of the answer's types", retryable: false },
  cross_shard: { status: 409, title: "The keys are not in one shard", retryable: false },
  not_a_number: { status: 409, title: "The value is not a number", retryable: false },
  out_of_range: { status: 409, title: "The number is out of range", retryable: false },
  idempotency_expired: { status: 409, title: "The record of this id is gone", retryable: false },
  conflict: { status: 409, title: "Something is in the way", retryable: false },
  blocked: { status: 409, title: "The work cannot begin", retryable: false },
  compacted: { status: 410, title: "The history asked for is no longer kept", retryable: false },
  precondition_failed: { status: 412, title: "The condition does not hold", retryable: false },
  value_too_large: { status: 413, title: "The value is too large", retryable: false },
  request_too_large: { status: 413, title: "The request is too large", retryable: false },
  uri_too_long: { status: 414, title: "The request line is too long", retryable: false },
  unsupported_media_type: { status: 415, title: "The body's type is not supported", retryable: false },
  idempotency_conflict: { status: 422, title: "The id belongs to another request", retryable: false },
  too_busy: { status: 429, title: "Too much is in flight", retryable: true },
  headers_too_large: { status: 431, title: "The headers are too large", retryable: false },
  internal: { status: 500, title: "Something went wrong inside", retryable: true },
  unavailable: { status: 503, title: "No leader or no quorum can be reached now", retryable: true },
  timeout: { status: 504, title: "No answer before the deadline", retryable: true },
  storage_full: { status: 507, title: "The disk is nearly full", retryable: true },
};

/** Facts that go with an error; `detail` is for people, the rest for machines. */
export interface ErrorFacts {
  readonly detail: string;
  readonly outcome?: Outcome;
  readonly retryAfterMs?: number;
  /** precondition_failed: the present revision, 0 when absent. */
  readonly revision?: number;
  readonly blockers?: readonly unknown[];
  readonly cause?: unknown;
}

/** An operating error that a caller may meet, with its stable code. Recognise it by `code`, never by text. */
export class KvorumError extends Error {
  override readonly name = "KvorumError";
  readonly code: Code;
  readonly facts: ErrorFacts;

  constructor(code: Code, facts: ErrorFacts) {
    super(facts.detail, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.facts = facts;
  }

  get status(): number {
    return errorCodes[this.code].status;
  }

  static is(error: unknown, ...codes: readonly Code[]): error is KvorumError {
    return error instanceof KvorumError && (codes.length === 0 || codes.includes(error.code));
  }
}

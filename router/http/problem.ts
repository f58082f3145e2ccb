import { type Code, errorCodes, type Outcome } from "#proto";

/** An answer that is an error, before it is written. Thrown by what reads requests, caught by the server. */
export class Problem extends Error {
  override readonly name = "Problem";
  readonly code: Code;
  readonly more: ProblemMore;

  constructor(code: Code, detail: string, more: ProblemMore = {}) {
    // It is an answer, not a fault of ours: nobody reads its stack, which would be a tenth of a GET's price.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(detail);
    Error.stackTraceLimit = stackTraceLimit;
    this.code = code;
    this.more = more;
  }
}

export interface ProblemMore {
  /** On failed data writes; without it they say `not_applied`, which holds for all that is refused here. */
  readonly outcome?: Outcome;
  readonly retryAfterMs?: number;
  /** Further headers, name and value in turn. */
  readonly headers?: readonly string[];
  /** Further fields of the body. */
  readonly fields?: Readonly<Record<string, unknown>>;
  /** What follows on the connection is not to be read. */
  readonly close?: boolean;
}

/** The body of RFC 9457. `outcome` undefined: the request was no data write. */
export function problemJson(problem: Problem, requestId: string, outcome: Outcome | undefined): string {
  const { code, message, more } = problem;
  const { status, title, retryable } = errorCodes[code];
  return JSON.stringify({
    type: `/docs/errors#${code}`,
    title,
    status,
    code,
    detail: message,
    retryable,
    ...(more.retryAfterMs === undefined ? {} : { retry_after_ms: more.retryAfterMs }),
    request_id: requestId,
    ...(outcome === undefined ? {} : { outcome }),
    ...more.fields,
  });
}

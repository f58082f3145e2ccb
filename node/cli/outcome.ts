/** Exit codes of `kvorum`; scripts rely on them. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  /** A condition did not hold. */
  condition: 4,
  /** Unavailable or timed out, and nothing was applied. */
  unavailable: 5,
  /** Nobody knows whether it was applied. */
  unknown: 6,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** Ends a command: one line for people on stderr, and an exit code. */
export class CommandError extends Error {
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** The fields of a problem document (RFC 9457) that decide how a command ends. */
export interface Problem {
  readonly code?: string;
  readonly detail?: string;
  readonly title?: string;
  readonly outcome?: string;
  readonly request_id?: string;
  readonly blockers?: unknown;
}

/**
 * How a command ends after a refused request.
 * @param writes - whether the request could have changed something: without the server's word on the
 *   outcome, a write that failed late may have been applied
 */
export function exitCodeOf(status: number, problem: Problem, writes: boolean): ExitCode {
  if (problem.outcome === "unknown") return exitCodes.unknown;
  switch (status) {
    case 404:
      return exitCodes.notFound;
    case 412:
      return exitCodes.condition;
    case 429:
    case 503:
    case 507:
      return exitCodes.unavailable;
    case 500:
    case 502:
    case 504:
      if (writes && problem.outcome === undefined) return exitCodes.unknown;
      return status === 500 ? exitCodes.failed : exitCodes.unavailable;
    default:
      return exitCodes.failed;
  }
}

/** One line of what the server said, and one for each blocker. */
export function describeProblem(status: number, problem: Problem): string {
  const code = problem.code ?? `status ${status}`;
  const detail = problem.detail ?? problem.title;
  const outcome = problem.outcome === undefined ? "" : ` (${problem.outcome.replaceAll("_", " ")})`;
  const blockers = Array.isArray(problem.blockers) ? problem.blockers.map(blockerText) : [];
  return [`${code}${detail === undefined || detail === "" ? "" : `: ${detail}`}${outcome}`, ...blockers].join(
    "\n  ",
  );
}

/** `n4, shard 7: what is in the way` */
export function blockerText(blocker: unknown): string {
  if (typeof blocker !== "object" || blocker === null) return String(blocker);
  const { node, shard, reason }: { node?: unknown; shard?: unknown; reason?: unknown } = blocker;
  const where = [
    ...(typeof node === "string" ? [node] : []),
    ...(typeof shard === "number" ? [`shard ${shard}`] : []),
  ].join(", ");
  return where === "" ? String(reason) : `${where}: ${reason}`;
}

import type { Values } from "../config.ts";
import { HttpFailure, type HttpReply, httpRequest } from "../http-request.ts";
import { CommandError, describeProblem, exitCodeOf, exitCodes, type Problem } from "./outcome.ts";
import { timeout, token, url } from "./settings.ts";

const defaultTimeoutMs = 5000;
/** How much longer than the cluster's own deadline an answer may be on its way. */
const answerGraceMs = 3000;

export interface Request {
  readonly method: "GET" | "PUT" | "DELETE" | "POST" | "PATCH";
  /** With its query, from `/v1` on. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Carries an id under which it is applied at most once: where one address is silent the next is tried. */
  readonly repeatable?: boolean;
}

/** The cluster behind `--url`: each address is tried in turn, as long as that cannot do anything twice. */
export interface Api {
  /** @throws CommandError with the exit code that the failure stands for */
  call(request: Request): Promise<HttpReply>;
  /** The same, with the body as JSON. */
  json(request: Request): Promise<unknown>;
}

export function openApi(values: Values): Api {
  const urls = values.get(url, ["http://127.0.0.1:7401"]);
  const bearer = values.get(token);
  const timeoutMs = values.get(timeout);
  const call = async (request: Request): Promise<HttpReply> => {
    const writes = request.method !== "GET";
    const repeatable = !writes || request.repeatable === true;
    let failure = new CommandError(exitCodes.unavailable, "no URL given");
    let doubt: CommandError | undefined;
    for (const base of urls) {
      const target = urlOf(base, request, timeoutMs);
      const attempt = await send(target, request, bearer, (timeoutMs ?? defaultTimeoutMs) + answerGraceMs);
      if (!(attempt instanceof CommandError)) {
        if (attempt.status < 400) return attempt;
        failure = refusal(attempt, writes);
      } else failure = attempt;
      if (failure.exitCode === exitCodes.unknown) doubt ??= failure;
      // Anything but "not there, nothing done" is an answer, or must not be tried a second time.
      if (
        failure.exitCode !== exitCodes.unavailable &&
        (!repeatable || failure.exitCode !== exitCodes.unknown)
      )
        break;
    }
    if (!writes && failure.exitCode === exitCodes.unknown)
      throw new CommandError(exitCodes.unavailable, failure.message);
    // What a later address refuses does not tell what became of it at an earlier one.
    throw writes ? (doubt ?? failure) : failure;
  };
  return {
    call,
    async json(request) {
      const reply = await call(request);
      try {
        return JSON.parse(new TextDecoder().decode(reply.body));
      } catch {
        throw new CommandError(
          exitCodes.failed,
          `${request.path}: the answer is not JSON: is this a Kvorum node?`,
        );
      }
    },
  };
}

function urlOf(base: string, request: Request, timeoutMs: number | undefined): URL {
  const target = new URL(base.replace(/\/+$/, "") + request.path);
  for (const [key, value] of Object.entries(request.query ?? {})) target.searchParams.set(key, value);
  if (timeoutMs !== undefined) target.searchParams.set("timeout", `${timeoutMs}ms`);
  return target;
}

async function send(
  target: URL,
  request: Request,
  bearer: string | undefined,
  timeoutMs: number,
): Promise<HttpReply | CommandError> {
  const { method, body } = request;
  const headers = {
    ...request.headers,
    ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
  };
  try {
    return await httpRequest(target, { method, headers, timeoutMs, ...(body === undefined ? {} : { body }) });
  } catch (error) {
    if (!(error instanceof HttpFailure)) throw error;
    const what = `${target.origin}: ${error.message}`;
    if (!error.connected)
      return new CommandError(exitCodes.unavailable, `${what}: is a cluster running there?`);
    return new CommandError(exitCodes.unknown, `${what}: no whole answer came`);
  }
}

function refusal(reply: HttpReply, writes: boolean): CommandError {
  const problem = problemOf(reply);
  return new CommandError(exitCodeOf(reply.status, problem, writes), describeProblem(reply.status, problem));
}

function problemOf(reply: HttpReply): Problem {
  try {
    const parsed: unknown = JSON.parse(new TextDecoder().decode(reply.body));
    return typeof parsed === "object" && parsed !== null ? parsed : {};
  } catch {
    return {};
  }
}

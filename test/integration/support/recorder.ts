/**
 * Calls to the data API, recorded as a history for the checker: what the client was told is written down as
 * it was told, and what it was not told stays unknown (R24).
 * @module
 */
import { type Answer, type Call, checkRegister, History, type HistoryCondition, isRead } from "#sim";
import { type HttpClient, header, NoReply, problemOf, type Reply, revisionOf } from "./http.ts";

export interface Told {
  readonly server: string;
  readonly call: Call;
  readonly key: string;
  readonly answer: Answer;
  readonly startMs: number;
  readonly ms: number;
  /** Of the problem; `none` when no answer came. */
  readonly code: string | undefined;
  /** Why no answer came. */
  readonly why: string | undefined;
  readonly reply: Reply | undefined;
}

export interface CallLimits {
  /** `?timeout=` */
  readonly serverMs?: number;
  /** How long the client waits. */
  readonly clientMs?: number;
}

export class Recorder {
  readonly history: History = new History();
  /** Answers that break the contract, whatever their order. */
  readonly complaints: string[] = [];
  readonly shardOf: Map<string, number> = new Map();
  readonly #onAnswer: (told: Told) => void;
  #values = 0;

  constructor(onAnswer: (told: Told) => void = () => {}) {
    this.#onAnswer = onAnswer;
  }

  /** Told apart from all others, so that a read names the write it saw. */
  newValue(): string {
    this.#values += 1;
    return `v${this.#values}`;
  }

  async call(
    client: HttpClient,
    who: string,
    key: string,
    call: Call,
    { serverMs = 5000, clientMs = serverMs + 10_000 }: CallLimits = {},
  ): Promise<Told> {
    const startMs = performance.now();
    const operation = this.history.begin(who, key, call, startMs);
    const { method, query, headers, body } = requestOf(call);
    const path = `/v1/kv/${encodeURIComponent(key)}?timeout=${serverMs}ms${query}`;
    const options = { headers, timeoutMs: clientMs, ...(body === undefined ? {} : { body }) };
    let reply: Reply | undefined;
    let answer: Answer;
    let code: string | undefined;
    let why: string | undefined;
    try {
      reply = await client.call(method, path, options);
      answer = this.#answerOf(call, reply);
      if (reply.status >= 400) code = header(reply, "kvorum-code");
      const shard = Number(header(reply, "kvorum-shard"));
      if (shard > 0) this.shardOf.set(key, shard);
    } catch (error) {
      if (!(error instanceof NoReply)) throw error;
      code = "none";
      why = error.message;
      if (isRead(call)) answer = { kind: "noAnswer" };
      else answer = { kind: error.neverSent ? "notApplied" : "unknown" };
    }
    const endMs = performance.now();
    this.history.end(operation, answer, endMs);
    const told = { server: client.name, call, key, answer, startMs, ms: endMs - startMs, code, why, reply };
    this.#onAnswer(told);
    return told;
  }

  #answerOf(call: Call, reply: Reply): Answer {
    const { status } = reply;
    if (isRead(call)) {
      const staleness = header(reply, "kvorum-staleness-ms");
      const stalenessMs = staleness === undefined ? {} : { stalenessMs: Number(staleness) };
      if (status === 200) {
        return { kind: "found", revision: revisionOf(reply), value: reply.body.toString(), ...stalenessMs };
      }
      if (status === 404 && header(reply, "kvorum-code") === "not_found")
        return { kind: "absent", ...stalenessMs };
      this.#checkFailure(call, reply);
      return { kind: "noAnswer" };
    }
    if (status === 200) {
      const told = JSON.parse(reply.body.toString());
      if (call.kind === "delete") return { kind: "deleted", deleted: told.deleted, revision: told.revision };
      return { kind: "put", revision: told.revision };
    }
    if (status === 412) return { kind: "conditionFailed", revision: revisionOf(reply) };
    this.#checkFailure(call, reply);
    return { kind: problemOf(reply)?.outcome === "not_applied" ? "notApplied" : "unknown" };
  }

  /** Nothing but the errors of a cluster in trouble may be met, each with its outcome. */
  #checkFailure(call: Call, reply: Reply): void {
    const problem = problemOf(reply);
    const what = `${call.kind}: ${reply.status} ${reply.body.toString().slice(0, 300)}`;
    if (problem === undefined || !["unavailable", "timeout", "too_busy"].includes(problem.code)) {
      this.complaints.push(`unexpected answer to ${what}`);
    } else if (!isRead(call) && problem.outcome !== "not_applied" && problem.outcome !== "unknown") {
      this.complaints.push(`a failed write without its outcome: ${what}`);
    } else if (problem.code === "timeout" && !isRead(call) && problem.outcome !== "unknown") {
      this.complaints.push(`a timeout whose outcome is known: ${what}`);
    }
  }

  /** Each key once more, through every server: what they agree on now is part of the history. */
  async readAll(clients: readonly HttpClient[]): Promise<void> {
    for (const key of this.history.keys) {
      await Promise.all(
        clients.map(async (client) => {
          const told = await this.call(client, `last look through ${client.name}`, key, { kind: "get" });
          if (told.answer.kind !== "noAnswer") return;
          const why = told.reply === undefined ? "no answer" : told.reply.body.toString();
          this.complaints.push(`the last look at ${key} through ${client.name} failed: ${why}`);
        }),
      );
    }
  }

  /** Everything that is wrong with what clients were told; empty when the history is linearizable. */
  verdict(): readonly string[] {
    const wrong = [...this.complaints];
    for (const key of this.history.keys) {
      const verdict = checkRegister(this.history.of(key));
      if (verdict.ok) continue;
      const lines = verdict.around.map((line) => `\n  ${line}`).join("");
      wrong.push(`${key}: ${verdict.undecided ? "undecided" : "not linearizable"}: ${verdict.why}${lines}`);
    }
    return wrong;
  }

  /** Writes that were acknowledged. */
  get acknowledged(): number {
    return this.history.operations.filter(
      ({ answer }) => answer?.kind === "put" || answer?.kind === "deleted",
    ).length;
  }
}

interface Request {
  readonly method: string;
  readonly query: string;
  readonly headers: Record<string, string>;
  readonly body?: string;
}

function requestOf(call: Call): Request {
  switch (call.kind) {
    case "put":
      return { method: "PUT", query: "", headers: conditionHeaders(call.condition), body: call.value };
    case "delete":
      return { method: "DELETE", query: "", headers: conditionHeaders(call.condition) };
    case "get":
      return { method: "GET", query: "", headers: {} };
    case "leaderGet":
      return { method: "GET", query: "&consistency=leader", headers: {} };
    default: {
      const floor = call.minRevision === undefined ? "" : `&min_revision=${call.minRevision}`;
      return { method: "GET", query: `&consistency=stale${floor}`, headers: {} };
    }
  }
}

function conditionHeaders(condition: HistoryCondition | undefined): Record<string, string> {
  const list = (tags: "any" | readonly number[]): string =>
    tags === "any" ? "*" : tags.map((revision) => `"${revision}"`).join(", ");
  return {
    ...(condition?.match === undefined ? {} : { "if-match": list(condition.match) }),
    ...(condition?.noneMatch === undefined ? {} : { "if-none-match": list(condition.noneMatch) }),
  };
}

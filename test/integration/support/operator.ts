/** What an operator does to a cluster over the admin API, each piece of work to its end. @module */
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { type HttpClient, problemOf, type Reply } from "./http.ts";
import { until } from "./wait.ts";

export interface OperationView {
  readonly id: string;
  readonly kind: string;
  readonly state: "running" | "done" | "failed" | "cancelled";
  readonly reason: string;
  readonly blocked_by?: string;
}

export interface PlanView {
  readonly operation?: string;
  readonly plan: string;
  readonly steps: readonly { readonly shard: number; readonly from: string; readonly to: string }[];
  readonly blockers: readonly { readonly reason: string }[];
  readonly imbalance: { readonly before: number; readonly after: number };
  readonly eta_ms: number;
  readonly reason: string;
}

/** A request that begins work: a path under `/v1/admin/`. */
export interface Work {
  readonly path: string;
  readonly body?: unknown;
}

const workLimitMs = 150_000;

export class Operator {
  readonly #clients: () => readonly HttpClient[];
  #turn = 0;

  /** @param clients - asked before each call: whom to ask; they take turns */
  constructor(clients: () => readonly HttpClient[]) {
    this.#clients = clients;
  }

  #next(): HttpClient {
    const clients = this.#clients();
    this.#turn += 1;
    const client = clients[this.#turn % clients.length];
    if (client === undefined) throw new Error("nobody to ask");
    return client;
  }

  send(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Reply> {
    const json = { "content-type": "application/json", ...headers };
    const options = body === undefined ? { headers } : { body: JSON.stringify(body), headers: json };
    return this.#next().call(method, `/v1/admin/${path}`, options);
  }

  /** @throws Error when it is refused */
  async ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    const reply = await this.send(method, path, body);
    if (reply.status >= 300) throw new Error(`${method} ${path}: ${reply.status} ${reply.body.toString()}`);
    return JSON.parse(reply.body.toString()) as T;
  }

  get<T>(path: string): Promise<T> {
    return this.#next().json<T>(`/v1/admin/${path}`);
  }

  /**
   * Sent again under one idempotency key until somebody answers. Work on a shard is refused while other work
   * is on it, which the balancing may have begun: asked anew then.
   * @param make - the request, from the cluster as it is
   * @returns the operation's id; undefined when nothing is to be done
   * @throws Error when it is refused
   */
  async begin(what: string, make: () => Promise<Work>): Promise<string | undefined> {
    for (;;) {
      const { path, body } = await until(`${what} can be asked for`, make);
      const key = randomUUID();
      const reply = await until(`${what} is answered`, async () => {
        const answer = await this.send("POST", path, body, { "idempotency-key": key });
        if (problemOf(answer)?.retryable !== true) return answer;
        throw new Error(answer.body.toString());
      });
      if (reply.status === 202) return (JSON.parse(reply.body.toString()) as Partial<PlanView>).operation;
      if (problemOf(reply)?.code !== "conflict") {
        throw new Error(`${what}: POST ${path}: ${reply.status} ${reply.body.toString()}`);
      }
      await delay(200);
    }
  }

  /** @throws Error when it does not end as done */
  async end(what: string, id: string): Promise<OperationView> {
    let seen: OperationView | undefined;
    const ended = await until<OperationView>(
      `${what} (operation ${id}) is over`,
      async () => {
        seen = await this.get<OperationView>(`operations/${id}`);
        if (seen.state === "running") throw new Error(JSON.stringify(seen));
        return seen;
      },
      { limitMs: workLimitMs, everyMs: 100 },
    );
    if (ended.state !== "done") throw new Error(`${what}: ${JSON.stringify(ended)}`);
    return ended;
  }

  /** Begins it, and waits until it is done. @returns how long it took */
  async work(what: string, make: () => Promise<Work>): Promise<number> {
    const startMs = performance.now();
    const id = await this.begin(what, make);
    if (id !== undefined) await this.end(what, id);
    return performance.now() - startMs;
  }
}

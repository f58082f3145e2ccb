/** Work on the cluster, each to its end, as an operator would have it done. @module */
import { setTimeout as delay } from "node:timers/promises";
import type { Admin, NodeRow, ShardRow, Told } from "../servers/kvorum.ts";

export interface FullNodeRow extends NodeRow {
  readonly state: string;
  readonly replicas: number;
}

export interface FullShardRow extends ShardRow {
  readonly replicas: readonly { readonly node: string; readonly role: string }[];
  /** As its leader estimates; null when nobody leads. */
  readonly bytes: number | null;
  readonly operation?: string;
}

export interface Plan {
  readonly operation?: string;
  readonly plan: string;
  readonly steps: readonly { readonly action: string; readonly bytes: number }[];
  readonly blockers: readonly { readonly reason: string }[];
  readonly eta_ms: number;
}

interface OperationRow {
  readonly state: string;
}

const askEveryMs = 50;
const limitMs = 1_800_000;
/** Background work begins within a moment where there is a reason. */
const calmMs = 2_000;

export class Operator {
  readonly #admin: Admin;

  constructor(admin: Admin) {
    this.#admin = admin;
  }

  shards(): Promise<readonly FullShardRow[]> {
    return this.#admin.shards<FullShardRow>();
  }

  nodes(): Promise<readonly FullNodeRow[]> {
    return this.#admin.nodes<FullNodeRow>();
  }

  async configure(settings: Readonly<Record<string, unknown>>): Promise<void> {
    demandSuccess("config", await this.#admin.send("PATCH", "/v1/admin/config", settings));
  }

  /** A plan that is only shown. @param path - under /v1/admin/ */
  async dryRun(path: string): Promise<Plan> {
    const told = await this.#admin.send("POST", `/v1/admin/${path}?dry_run=true`);
    return JSON.parse(demandSuccess(path, told)) as Plan;
  }

  /**
   * Begins work, asked for again while other work is in its way.
   * @param path - under /v1/admin/
   * @returns the operation's id; undefined when there was nothing to do
   */
  async begin(path: string, body?: unknown): Promise<string | undefined> {
    for (;;) {
      const told = await this.#admin.send("POST", `/v1/admin/${path}`, body);
      if (told.status !== 409 || !told.body.includes('"conflict"')) {
        return (JSON.parse(demandSuccess(path, told)) as Partial<Plan>).operation;
      }
      await delay(askEveryMs);
    }
  }

  /** @throws Error when it does not end as done */
  async end(id: string | undefined): Promise<void> {
    if (id === undefined) return;
    await this.until(`operation ${id} is over`, async () => {
      const row: OperationRow = await this.#admin.get(`/v1/admin/operations/${id}`);
      if (row.state === "running") return false;
      if (row.state !== "done") throw new Error(`operation ${id}: ${JSON.stringify(row)}`);
      return true;
    });
  }

  async work(path: string, body?: unknown): Promise<void> {
    await this.end(await this.begin(path, body));
  }

  async until(what: string, holds: () => Promise<boolean>): Promise<void> {
    const giveUpMs = performance.now() + limitMs;
    while (!(await holds())) {
      if (performance.now() > giveUpMs) throw new Error(`gave up waiting until ${what}`);
      await delay(askEveryMs);
    }
  }

  /** Until nothing has been under way for a while. @returns that while, ms */
  async untilCalm(): Promise<number> {
    let sinceMs = performance.now();
    await this.until("nothing is under way", async () => {
      const path = "/v1/admin/operations?state=running";
      const running = await this.#admin.get<{ readonly items: readonly unknown[] }>(path);
      if (running.items.length > 0) sinceMs = performance.now();
      return performance.now() - sinceMs >= calmMs;
    });
    return performance.now() - sinceMs;
  }

  /** Every shard has its leader and three voters on nodes that are up, and nothing is under way. */
  async untilWhole(shards: number): Promise<void> {
    await this.until("all shards are whole", async () => {
      const rows = await this.shards();
      const whole = rows.filter(
        ({ health, leader, replicas, operation }) =>
          health === "healthy" &&
          leader != null &&
          operation === undefined &&
          replicas.length === 3 &&
          replicas.every(({ role }) => role === "voter"),
      );
      return rows.length >= shards && whole.length === rows.length;
    });
  }
}

function demandSuccess(what: string, { status, body }: Told): string {
  if (status >= 300) throw new Error(`${what}: ${status} ${body}`);
  return body;
}

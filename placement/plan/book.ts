import type { GroupId, NodeId } from "#proto";
import type { Model } from "../model.ts";
import type { TaskAction } from "../state.ts";

export interface PlannedStep {
  readonly action: TaskAction;
  readonly shard: GroupId;
  readonly from: NodeId;
  readonly to: NodeId;
  readonly reason: string;
  readonly bytes: number;
  readonly etaMs: number;
}

export interface Blocker {
  readonly shard?: GroupId;
  readonly node?: NodeId;
  /** With what would lift it. */
  readonly reason: string;
}

/** What would be done, and why, and what it would bring. */
export interface Plan {
  readonly kind: "rebalance" | "decommission";
  readonly node?: NodeId;
  readonly steps: readonly PlannedStep[];
  readonly blockers: readonly Blocker[];
  readonly imbalance: { readonly before: number; readonly after: number };
  readonly etaMs: number;
  readonly reason: string;
}

/** Plans remembered by one leader of placement. */
const kept = 64;

interface Entry {
  readonly plan: Plan;
  readonly sight: string;
}

/** Found, or why not: another plan's id is `unknown`, one of a cluster that is no more as it was `changed`. */
export type Found =
  | { readonly kind: "plan"; readonly plan: Plan }
  | { readonly kind: "changed"; readonly detail: string }
  | { readonly kind: "unknown" };

/**
 * Plans that were shown. Each is remembered together with what it was made from: carried out is exactly what
 * was shown, or nothing. Only in this leader's memory; the id itself tells that an earlier leader made it.
 */
export class PlanBook {
  readonly #term: number;
  readonly #seal: (text: string) => string;
  readonly #plans = new Map<string, Entry>();
  #count = 0;

  /** @param seal - a short check of a text, different in each cluster */
  constructor(term: number, seal: (text: string) => string) {
    this.#term = term;
    this.#seal = seal;
  }

  remember(plan: Plan, model: Model): string {
    this.#count += 1;
    const name = `p${this.#term}-${this.#count}`;
    const id = `${name}-${this.#seal(name)}`;
    this.#plans.set(id, { plan, sight: sightOf(model, plan) });
    const [oldest] = this.#plans.keys();
    if (this.#plans.size > kept && oldest !== undefined) this.#plans.delete(oldest);
    return id;
  }

  find(id: string, model: Model): Found {
    const entry = this.#plans.get(id);
    if (entry !== undefined) {
      return sightOf(model, entry.plan) === entry.sight
        ? { kind: "plan", plan: entry.plan }
        : { kind: "changed", detail: "the cluster has changed since the plan was made" };
    }
    const [name = "", seal] = /^(p\d+-\d+)-([0-9a-f]+)$/.exec(id)?.slice(1) ?? [];
    if (seal === undefined || seal !== this.#seal(name)) return { kind: "unknown" };
    return { kind: "changed", detail: "the plan was made by an earlier placement leader, or long ago" };
  }
}

/** What a plan is made from, but for sizes and rates, which never stand still. */
function sightOf(model: Model, plan: Plan): string {
  const nodes = [...model.nodes.values()].map(({ row, liveness }) => {
    const labels = Object.entries(row.labels).map(([name, value]) => `${name}=${value}`);
    return [row.id, row.membership, liveness, row.weight, ...labels.sort()].join();
  });
  const shards = [...model.shards.values()].map(({ id, descriptor: { epoch } }) =>
    [id, epoch.version, epoch.confVersion].join(),
  );
  const transfers = plan.steps.filter((step) => step.action === "transfer_leader");
  const leaders = transfers.map(({ shard }) => model.shards.get(shard)?.leader?.nodeId ?? 0);
  const busy = plan.steps.filter(({ shard }) => model.shards.get(shard)?.operation !== undefined);
  return [nodes.join(" "), shards.join(" "), leaders.join(), busy.length].join("|");
}

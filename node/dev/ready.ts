/** Whether a cluster is whole, asked over HTTP as anybody could. @module */
import { httpRequest } from "../http-request.ts";

export interface Readiness {
  readonly ready: boolean;
  /** What is missing, for people. */
  readonly missing: string;
}

/** Fetches a JSON document; undefined when there is none to be had now. */
export type Fetch = (url: string) => Promise<{ readonly ok: boolean; readonly body: unknown } | undefined>;

/** @param shards - how many there must be at least */
export async function checkReady(
  nodes: ReadonlyMap<string, string>,
  shards: number,
  fetch: Fetch,
): Promise<Readiness> {
  const answers = await Promise.all(
    [...nodes].map(async ([name, url]) => ({ name, ok: (await fetch(`${url}/readyz`))?.ok === true })),
  );
  const waiting = answers.filter(({ ok }) => !ok).map(({ name }) => name);
  if (waiting.length > 0) return { ready: false, missing: `not ready: ${waiting.join(", ")}` };
  const [first = ""] = nodes.values();
  const found = await listShards(first, fetch);
  const whole = found.filter(isWhole).length;
  const ready = found.length >= shards && whole === found.length;
  return {
    ready,
    missing: ready
      ? ""
      : `${whole} of ${Math.max(shards, found.length)} shards have a leader and all replicas`,
  };
}

async function listShards(url: string, fetch: Fetch): Promise<readonly unknown[]> {
  const found: unknown[] = [];
  let query = "";
  for (;;) {
    const page = pageOf((await fetch(`${url}/v1/admin/shards${query}`))?.body);
    found.push(...page.items);
    if (page.cursor === undefined) return found;
    query = `?cursor=${encodeURIComponent(page.cursor)}`;
  }
}

function pageOf(body: unknown): { readonly items: readonly unknown[]; readonly cursor: string | undefined } {
  if (typeof body !== "object" || body === null || !("items" in body) || !Array.isArray(body.items)) {
    return { items: [], cursor: undefined };
  }
  return {
    items: body.items,
    cursor: "cursor" in body && typeof body.cursor === "string" ? body.cursor : undefined,
  };
}

function isWhole(shard: unknown): boolean {
  if (typeof shard !== "object" || shard === null) return false;
  return (
    "health" in shard && shard.health === "healthy" && "leader" in shard && typeof shard.leader === "string"
  );
}

/** Over the network, with a bearer token where the cluster asks for one. */
export function httpFetch(token: string | undefined): Fetch {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return async (url) => {
    try {
      const { status, body } = await httpRequest(new URL(url), { method: "GET", headers, timeoutMs: 2000 });
      const text = new TextDecoder().decode(body);
      return { ok: status === 200, body: text.startsWith("{") ? JSON.parse(text) : undefined };
    } catch {
      // Not listening yet, or busy starting.
      return undefined;
    }
  };
}

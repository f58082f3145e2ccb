import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Cluster, type Member } from "./support/cluster.ts";
import { tell } from "./support/figures.ts";
import { testScope } from "./support/test-scope.ts";
import { until } from "./support/wait.ts";

const scope = testScope();
const writes = 60;

/** Why this machine cannot trace; undefined: it can. */
function hindrance(): string | undefined {
  const tried = spawnSync("strace", ["-qq", "-e", "trace=none", "-o", "/dev/null", "true"]);
  if (tried.error !== undefined) return "strace is not installed";
  return tried.status === 0 ? undefined : `strace may not trace here: ${tried.stderr.toString().trim()}`;
}

interface Sync {
  readonly startMs: number;
  readonly endMs: number;
  readonly path: string;
}

/** Follows a running process's syncs; `stop` gives what was seen. */
async function trace(member: Member, file: string): Promise<() => Promise<readonly Sync[]>> {
  const flags = ["-f", "-ttt", "-T", "-y", "-e", "trace=fdatasync,fsync", "-o", file];
  const child = spawn("strace", [...flags, "-p", `${member.process.pid}`], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const gone = new Promise((resolve) => child.once("exit", resolve));
  scope.defer(() => {
    child.kill("SIGKILL");
  });
  await until(`strace follows ${member.name}`, () => /attached/.test(said));
  return async () => {
    child.kill("SIGINT");
    await gone;
    return parse(readFileSync(file, "utf8"));
  };
}

/** Lines such as `123 1795.25 fdatasync(20</d/000009.log>) = 0 <0.001>`, or cut in two while another thread ran. */
function parse(text: string): readonly Sync[] {
  const syncs: Sync[] = [];
  const begun = new Map<string, { startMs: number; path: string }>();
  for (const line of text.split("\n")) {
    const head = /^(\d+)\s+(\d+\.\d+) (.*)$/.exec(line);
    if (head === null) continue;
    const [, thread = "", seconds = "", rest = ""] = head;
    const atMs = Number(seconds) * 1000;
    const path = /sync\(\d+<([^>]*)>/.exec(rest)?.[1];
    const tookMs = Number(/= 0 <(\d+\.\d+)>$/.exec(rest)?.[1] ?? Number.NaN) * 1000;
    if (path !== undefined && rest.includes("<unfinished")) begun.set(thread, { startMs: atMs, path });
    else if (path !== undefined && !Number.isNaN(tookMs))
      syncs.push({ startMs: atMs, endMs: atMs + tookMs, path });
    else if (rest.includes("sync resumed>") && !Number.isNaN(tookMs)) {
      const start = begun.get(thread);
      if (start !== undefined) syncs.push({ ...start, endMs: start.startMs + tookMs });
    }
  }
  return syncs;
}

async function syncsCounted(member: Member): Promise<number> {
  const page = (await member.client.call("GET", "/metrics")).body.toString();
  return Number(/^kvorum_storage_syncs_total (\d+)/m.exec(page)?.[1] ?? Number.NaN);
}

it("each acknowledged write was synced on a quorum before its answer (R2), and the engine's own count of syncs is true", async (context) => {
  const why = hindrance();
  if (why !== undefined) {
    tell(`skipped: ${why}`);
    context.skip(why);
  }
  const folder = scope.folder();
  const cluster = await Cluster.whole({ folder, shards: 4, defer: (end) => scope.defer(end) });
  const stops = await Promise.all(
    cluster.members.map((member) => trace(member, join(folder, `${member.name}.strace`))),
  );
  const before = await Promise.all(cluster.members.map(syncsCounted));

  const spans: { readonly startMs: number; readonly endMs: number }[] = [];
  for (let i = 0; i < writes; i++) {
    const { client } = cluster.members[i % 3]!;
    // The wall clock in whole ms, as wide as it may be: strace tells wall time.
    const startMs = Date.now();
    const reply = await client.call("PUT", `/v1/kv/synced/${i}`, { body: `${i}` });
    const endMs = Date.now() + 1;
    expect(reply.status).toBe(200);
    spans.push({ startMs, endMs });
  }
  const after = await Promise.all(cluster.members.map(syncsCounted));
  const seen = await Promise.all(stops.map((stop) => stop()));

  for (const [i, span] of spans.entries()) {
    const nodes = seen.filter((syncs) =>
      syncs.some((s) => s.startMs >= span.startMs && s.endMs <= span.endMs),
    );
    expect(nodes.length, `write ${i} was synced on a quorum`).toBeGreaterThanOrEqual(2);
  }
  for (const [i, member] of cluster.members.entries()) {
    const counted = after[i]! - before[i]!;
    const logSyncs = seen[i]!.filter(({ path }) => path.endsWith(".log")).length;
    tell(`${member.name}: ${counted} synced writes counted, ${logSyncs} syncs of the write-ahead log seen`);
    // Before the first and after the last count a few more may have been seen, never fewer.
    expect(logSyncs).toBeGreaterThanOrEqual(counted);
    expect(logSyncs - counted).toBeLessThanOrEqual(counted * 0.2 + 10);
  }
  tell(`${writes} writes, one after the other, each synced on at least two nodes before its answer`);
});

import { createHash, randomBytes } from "node:crypto";
import { expect, it } from "vitest";
import { Cluster, type Member } from "./support/cluster.ts";
import { tell } from "./support/figures.ts";
import { header, revisionOf } from "./support/http.ts";
import { testScope } from "./support/test-scope.ts";
import { until } from "./support/wait.ts";

const scope = testScope();
const mebibyte = 2 ** 20;

async function metric(member: Member, name: string): Promise<number> {
  const page = (await member.client.call("GET", "/metrics")).body.toString();
  return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? ([0-9.e+]+)`, "m").exec(page)?.[1] ?? 0);
}

it("values of 1 MiB are replicated, and a follower that was down while the log was compacted catches up by snapshot", async () => {
  const folder = scope.folder();
  const cluster = await Cluster.whole({ folder, shards: 2, defer: (end) => scope.defer(end) });
  const n3 = cluster.member("n3");
  const writers = [cluster.member("n1").client, cluster.member("n2").client];
  await n3.kill();

  // Few keys, written over and over: the log outgrows what is kept of it, the state stays small.
  const startMs = performance.now();
  const sums = new Map<string, { readonly sum: string; readonly revision: number }>();
  const each = 24;
  await Promise.all(
    Array.from({ length: 4 }, async (_, lane) => {
      for (let i = 0; i < each; i++) {
        const key = `large/${lane}/${i % 4}`;
        const value = randomBytes(mebibyte);
        const reply = await writers[lane % 2]!.call("PUT", `/v1/kv/${key}?timeout=30s`, {
          body: value,
          timeoutMs: 40_000,
        });
        expect(reply.status, reply.body.toString()).toBe(200);
        const sum = createHash("sha256").update(value).digest("hex");
        sums.set(key, { sum, revision: revisionOf(reply) });
      }
    }),
  );
  const wroteMs = performance.now() - startMs;
  tell(`${4 * each} values of 1 MiB in ${Math.round(wroteMs)} ms, on two nodes`);

  n3.start();
  await n3.untilReady();
  const readyMs = performance.now();
  await cluster.untilLevel();
  const installed = await metric(n3, "kvorum_raft_snapshots_installed_total");
  tell(
    `n3 level ${Math.round(performance.now() - readyMs)} ms after it was ready, ${installed} snapshots installed`,
  );
  expect(installed).toBeGreaterThan(0);

  for (const [key, { sum, revision }] of sums) {
    const read = `/v1/kv/${key}?consistency=stale&min_revision=${revision}`;
    const reply = await until(`${key} is there`, async () => {
      const answer = await n3.client.call("GET", read);
      return answer.status === 200 && answer;
    });
    expect(header(reply, "kvorum-served-by")).toBe("n3");
    expect(createHash("sha256").update(reply.body).digest("hex"), key).toBe(sum);
  }
});

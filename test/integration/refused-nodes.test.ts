import { existsSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Cluster, type Member } from "./support/cluster.ts";
import { textOf } from "./support/http.ts";
import { testScope } from "./support/test-scope.ts";

const scope = testScope();

/** What it said for people, beside its log. */
function wordsOf(member: Member): string[] {
  if (!existsSync(member.logPath)) return [];
  return readFileSync(member.logPath, "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("{"));
}

it("an emptied directory under its old name is refused (R1), as is a second bootstrap (R30); the cluster goes on", async () => {
  const folder = scope.folder();
  const cluster = await Cluster.whole({ folder, shards: 4, defer: (end) => scope.defer(end) });
  const n3 = cluster.member("n3");
  expect((await n3.client.call("PUT", "/v1/kv/a", { body: "kept" })).status).toBe(200);
  await n3.kill();
  renameSync(join(folder, "n3"), join(folder, "n3-lost"));

  const emptied = n3.start();
  expect(await emptied.exited).toEqual({ code: 1, signal: null });
  const words = wordsOf(n3);
  expect(words).toHaveLength(1);
  expect(words[0]).toMatch(/^kvorum: .*\bn3\b/);

  const second = cluster.node("n4", ["--bootstrap"]);
  scope.defer(() => second.kill());
  expect(await second.start().exited).toEqual({ code: 1, signal: null });
  expect(wordsOf(second)).toHaveLength(1);
  expect(wordsOf(second)[0]).toMatch(/^kvorum: cluster it exists already/);

  for (const name of ["n1", "n2"]) {
    const reply = await cluster.member(name).client.call("GET", "/v1/kv/a");
    expect(textOf(reply)).toBe("kept");
  }

  // The disk is found again: the node is who it was, and --bootstrap on a directory that holds a node is void.
  renameSync(join(folder, "n3"), join(folder, "n3-refused"));
  renameSync(join(folder, "n3-lost"), join(folder, "n3"));
  n3.start();
  await cluster.untilWhole();
  const n1 = cluster.member("n1");
  await n1.terminate();
  n1.start();
  await cluster.untilWhole();
  expect(textOf(await n1.client.call("GET", "/v1/kv/a"))).toBe("kept");
});

import { describe, expect, it } from "vitest";
import type { AdminResponse } from "#proto";
import { PlacementHarness } from "../harness.ts";

function healthyCluster(): PlacementHarness {
  const h = new PlacementHarness();
  h.cluster();
  h.run(3_000);
  return h;
}

describe("bodies", () => {
  const h = healthyCluster();

  it("cluster.get", () => {
    const body = h.ask("cluster.get");
    expect(body).toMatchObject({
      cluster: "test",
      cluster_id: "c".repeat(32),
      version: 1,
      placement: { leader: "n1", term: expect.any(Number), members: ["n1", "n2", "n3"] },
      nodes: { up: 3, suspect: 0, down: 0, draining: 0 },
      shards: { total: 16, healthy: 16, under_replicated: 0, leaderless: 0 },
      can_lose: { nodes: 1, reason: expect.stringMatching(/3 of the 3 voters/) },
      config: { replicas: 3, suspect_after_ms: 2_000 },
    });
  });

  it("nodes.list and nodes.get", () => {
    const { items, cursor } = h.ask<{ items: unknown[]; cursor: null }>("nodes.list");
    expect(items).toHaveLength(3);
    expect(cursor).toBeNull();
    const node = h.ask("nodes.get", { name: "n2" });
    expect(node).toEqual({
      name: "n2",
      id: 2,
      state: "up",
      liveness: "up",
      membership: "active",
      http: "n2:7401",
      pid: 1,
      labels: {},
      weight: 1,
      version: "0.1.0",
      replicas: 16,
      leaders: expect.any(Number),
      bytes: 100,
      disk_free_bytes: 1e9,
      heartbeat_age_ms: expect.any(Number),
      fsync_p99_ms: 1,
      started_at: "2023-11-14T22:13:20.000Z",
      joined_at: expect.stringMatching(/^2023-11-14T22:/),
      clock_off: false,
    });
  });

  it("shards.get: keys as hex of the encoded key, open ends empty", () => {
    const shard = h.ask("shards.get", { id: 2 });
    expect(shard).toMatchObject({
      id: 2,
      keyspace: "default",
      start: "0010",
      end: "0020",
      epoch: { version: 1, conf_version: 1 },
      leader: expect.stringMatching(/^n[123]$/),
      term: expect.any(Number),
      bytes: 1_000,
      keys: 10,
      writes_per_s: 1,
      reads_per_s: 2,
      health: "healthy",
    });
    expect(h.ask("shards.get", { id: "1" })["start"]).toBe("");
    expect(h.ask("shards.get", { id: 16 })["end"]).toBe("");
    const states = (shard["replicas"] as { state: string; match_lag: number }[]).map((r) => r.state).sort();
    expect(states).toEqual(["follower", "follower", "leader"]);
  });

  it("shards.list pages by cursor and filters", () => {
    interface Page {
      items: { id: number }[];
      cursor: string | null;
    }
    const first = h.ask<Page>("shards.list", { limit: 10 });
    expect(first.items.map((s) => s.id)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(first.cursor).toBe("10");
    const rest = h.ask<Page>("shards.list", { limit: "10", cursor: first.cursor });
    expect(rest.items).toHaveLength(6);
    expect(rest.cursor).toBeNull();
    expect(h.ask<Page>("shards.list", { state: "leaderless" }).items).toEqual([]);
    expect(h.ask<Page>("shards.list", { node: "n3", keyspace: "default" }).items).toHaveLength(16);
  });

  it("locate finds the shard of a key, whatever its bytes", () => {
    const byText = h.ask("locate", { key: "a" });
    const byBytes = h.ask("locate", { key: Uint8Array.of(0x61), keyspace: "default" });
    expect(byText).toEqual(byBytes);
    expect(byText).toMatchObject({ shard: expect.any(Number), epoch: { version: 1, conf_version: 1 } });
    expect(byText["replicas"]).toHaveLength(3);
    expect(h.ask("locate", { key: Uint8Array.of(0, 0xff) })).toMatchObject({ shard: expect.any(Number) });
  });

  it("keyspaces.list, config.get, operations, events", () => {
    expect(h.ask<{ items: unknown[] }>("keyspaces.list").items).toEqual([
      { name: "default", partition: "hash", slots: 256, shards: 16, replicas: 3 },
    ]);
    expect(h.ask("config.get")).toMatchObject({ max_value_bytes: 1_048_576, merge_enabled: false });
    const { items } = h.ask<{ items: Record<string, unknown>[] }>("operations.list", { state: "done" });
    const voters = items.find((row) => row["kind"] === "placement_voters");
    expect(voters).toMatchObject({ id: "1", progress: 1, steps_done: 5, steps_total: 5 });
    expect(h.ask("operations.get", { id: "1" })).toEqual(voters);
    interface Event {
      id: number;
      at: string;
      kind: string;
      reason: string;
      shard?: number;
    }
    const events = h.ask<{ items: Event[] }>("events.list").items;
    const ids = events.map((event) => event.id);
    expect([...ids].sort((a, b) => a - b)).toEqual(ids);
    expect(events.find((event) => event.kind === "shard_created")?.reason).toMatch(/n1/);
    const later = h.ask<{ items: Event[] }>("events.list", { since: ids.at(-3) }).items;
    expect(later.map((event) => event.id)).toEqual(ids.slice(-2));
    expect(h.ask<{ items: Event[] }>("events.list", { shard: 3 }).items.every((e) => e.shard === 3)).toBe(
      true,
    );
  });

  it.each([
    { operation: "nodes.get", parameters: { name: "n9" }, code: "not_found" },
    { operation: "shards.get", parameters: { id: 99 }, code: "not_found" },
    { operation: "shards.list", parameters: { limit: 0 }, code: "bad_parameter" },
    { operation: "shards.list", parameters: { state: "sad" }, code: "bad_parameter" },
    { operation: "shards.list", parameters: { colour: "red" }, code: "bad_parameter" },
    { operation: "shards.list", parameters: { keyspace: "none" }, code: "no_such_keyspace" },
    { operation: "locate", parameters: {}, code: "bad_parameter" },
    { operation: "locate", parameters: { key: "" }, code: "key_empty" },
    { operation: "locate", parameters: { key: "a", keyspace: "none" }, code: "no_such_keyspace" },
    { operation: "config.set", parameters: { changes: { replicas: 2 } }, code: "bad_parameter" },
    { operation: "config.set", parameters: {}, code: "bad_request" },
    { operation: "shards.explode", parameters: {}, code: "no_such_route" },
  ])("$operation $parameters: $code", ({ operation, parameters, code }) => {
    expect(h.admin(operation, parameters)).toMatchObject({ kind: "error", code });
  });

  it("another node names the leader", () => {
    const other = [...h.nodes.values()].find((node) => node !== h.leader())?.name;
    const answer: AdminResponse = h.admin("cluster.get", {}, other);
    expect(answer).toEqual({ kind: "not_leader", leader: h.leader()?.nodeId });
  });
});

describe("can_lose says what is so", () => {
  it("before there are shards, and with one node gone", () => {
    const h = new PlacementHarness();
    h.bootstrap("n1");
    h.until("leads", () => h.leader() !== undefined);
    const alone = h.ask<{ can_lose: { nodes: number; reason: string } }>("cluster.get").can_lose;
    expect(alone).toEqual({ nodes: 0, reason: expect.stringMatching(/1 of the 1 voter of placement/) });
  });
});

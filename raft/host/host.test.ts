import { describe, expect, it } from "vitest";
import { HostHarness } from "./testing/harness.ts";

const three = [1, 2, 3];

function started(options: ConstructorParameters<typeof HostHarness>[0] = {}): HostHarness {
  const harness = new HostHarness(options);
  for (let group = 1; group <= (options.groups ?? 1); group++) harness.create(group, three);
  for (let group = 1; group <= (options.groups ?? 1); group++) {
    harness.until(`leader of ${group}`, () => harness.leaderOf(group) !== undefined);
  }
  return harness;
}

describe("a group over three hosts", () => {
  it("elects a leader, commits, and every replica applies the same", () => {
    const h = started();
    expect(h.put(1, "a")).toBe("applied");
    expect(h.put(1, "b")).toBe("applied");
    h.run(1_000);
    for (const node of three) expect(h.machine(node, 1).commands()).toEqual(["a", "b"]);
  });

  it("puts the commands of one turn in one entry", () => {
    const h = started();
    const leader = h.host(h.leaderOf(1) ?? 0);
    h.run(100);
    const before = leader.stats.entriesAppended;
    const results: unknown[] = [];
    for (const text of ["a", "b", "c"]) {
      leader.propose(1, Buffer.from(text), (o) => results.push(o.kind === "applied" ? o.result : o));
    }
    h.until("three answers", () => results.length === 3);
    expect(leader.stats.entriesAppended - before).toBe(1);
    expect(new Set(results.map((r) => String(r).split(".")[0])).size).toBe(1);
  });

  it("reads on any replica see what was acknowledged before (R18)", () => {
    const h = started();
    for (let i = 0; i < 5; i++) {
      expect(h.put(1, `v${i}`)).toBe("applied");
      for (const node of three) {
        const read = h.read(node, 1);
        expect(read.outcome).toBe("ready");
        expect(read.commands).toContain(`v${i}`);
      }
    }
  });

  it("refuses proposals on a follower, naming the leader", () => {
    const h = started();
    h.run(200);
    const leader = h.leaderOf(1) ?? 0;
    const follower = three.find((node) => node !== leader) ?? 0;
    let outcome: unknown;
    h.host(follower).propose(1, Buffer.from("x"), (o) => {
      outcome = o;
    });
    h.until("outcome", () => outcome !== undefined);
    expect(outcome).toMatchObject({ kind: "refused", leaderNode: leader });
  });
});

describe("failover", () => {
  it("another leader takes over after a crash and nothing acknowledged is lost", () => {
    const h = started();
    h.run(1_000);
    expect(h.put(1, "before")).toBe("applied");
    const old = h.leaderOf(1) ?? 0;
    h.crash(old);
    h.until("new leader", () => {
      const leader = h.leaderOf(1);
      return leader !== undefined && leader !== old;
    });
    expect(h.put(1, "after")).toBe("applied");
    h.boot(old);
    h.run(2_000);
    for (const node of three) expect(h.machine(node, 1).commands()).toEqual(["before", "after"]);
  });

  it("a sleeping group whose leader's process is gone fails over by no-responders, soon after L (R21)", () => {
    const h = started();
    h.run(3_000);
    const old = h.leaderOf(1) ?? 0;
    expect(h.host(old).view(1)?.quiesced).toBe(true);
    h.crash(old);
    const at = h.clock.nowMs();
    h.until("new leader", () => {
      const leader = h.leaderOf(1);
      return leader !== undefined && leader !== old;
    });
    expect(h.clock.nowMs() - at).toBeLessThan(600);
  });

  it("all nodes crash at once and come back with everything acknowledged", () => {
    for (let seed = 1; seed <= 10; seed++) {
      const h = started({ seed });
      const acked: string[] = [];
      for (let i = 0; i < 10; i++) if (h.put(1, `v${i}`) === "applied") acked.push(`v${i}`);
      for (const node of three) h.crash(node);
      h.run(500);
      for (const node of three) h.boot(node);
      h.until("leader", () => h.leaderOf(1) !== undefined);
      expect(h.put(1, "last")).toBe("applied");
      h.run(1_000);
      for (const node of three) expect(h.machine(node, 1).commands()).toEqual([...acked, "last"]);
    }
  });

  it("a node that restarts while its groups sleep is noticed by its boot id (R20)", () => {
    const h = started();
    h.run(3_000);
    const old = h.leaderOf(1) ?? 0;
    h.crash(old);
    h.boot(old);
    h.until("leader", () => {
      const leader = h.leaderOf(1);
      return leader !== undefined && (h.host(leader).view(1)?.term ?? 0) > 0;
    });
    expect(h.put(1, "x")).toBe("applied");
  });
});

describe("sleep (R20)", () => {
  it("an idle group sends nothing and wakes for a proposal and a read", () => {
    const h = started({ groups: 5 });
    h.run(3_000);
    for (const node of three) {
      for (let group = 1; group <= 5; group++) expect(h.host(node).view(group)?.quiesced).toBe(true);
    }
    const term = h.host(1).view(1)?.term;
    h.run(60_000);
    expect(h.host(1).view(1)?.term).toBe(term);
    expect(h.put(1, "x")).toBe("applied");
    expect(h.read(1, 1).commands).toEqual(["x"]);
    h.run(3_000);
    expect(h.host(1).view(1)?.quiesced).toBe(true);
  });

  it("a follower that was away when the group fell asleep catches up when it is back", () => {
    const h = started();
    h.run(1_000);
    const leader = h.leaderOf(1) ?? 0;
    const away = three.find((node) => node !== leader) ?? 0;
    h.crash(away);
    h.run(2_000);
    expect(h.put(1, "missed")).toBe("applied");
    h.until("sleep without it", () => h.host(leader).view(1)?.quiesced === true);
    h.boot(away);
    h.until("caught up", () => h.machine(away, 1).commands().includes("missed"));
  });
});

describe("snapshots", () => {
  it("a follower behind the compacted log gets the state, and goes on with the log", () => {
    const h = started({
      limits: { compactLogBytes: 2_000, compactCapBytes: 4_000, snapshotChunkBytes: 500 },
    });
    h.run(1_000);
    const leader = h.leaderOf(1) ?? 0;
    const away = three.find((node) => node !== leader) ?? 0;
    h.crash(away);
    const want: string[] = [];
    for (let i = 0; i < 60; i++) {
      want.push(`value-${i}-${"x".repeat(100)}`);
      expect(h.put(1, want[i] ?? "")).toBe("applied");
    }
    h.boot(away);
    h.until("installed", () => h.host(away).stats.snapshotsInstalled === 1, 60_000);
    expect(h.machine(away, 1).commands()).toEqual(want);
    expect(h.put(1, "next")).toBe("applied");
    h.until("goes on", () => h.machine(away, 1).commands().at(-1) === "next");
  });
});

describe("the disk", () => {
  it("a failed sync stops the node and nothing is answered for it (R8)", () => {
    const h = started();
    const leader = h.leaderOf(1) ?? 0;
    const disk = h.disks.get(leader);
    if (disk !== undefined) disk.faults.failSyncs = true;
    let outcome: string | undefined;
    h.host(leader).propose(1, Buffer.from("x"), (o) => {
      outcome = o.kind;
    });
    expect(() => h.run(1_000)).toThrow();
    expect(h.fatal.has(leader)).toBe(true);
    expect(outcome).toBeUndefined();
  });
});

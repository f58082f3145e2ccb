import { describe, expect, it } from "vitest";
import type { Message } from "#raft/core";
import { readReplica, replicaRow } from "./rows.ts";
import { HostHarness } from "./testing/harness.ts";
import { encodeMessages, messageFields } from "./wire.ts";

const three = [1, 2, 3];

function started(options: ConstructorParameters<typeof HostHarness>[0] = {}): HostHarness {
  const h = new HostHarness(options);
  h.create(1, three);
  h.until("leader", () => h.leaderOf(1) !== undefined);
  h.run(300);
  return h;
}

/** Writes on every node take this long: crashes and calls fall in between. */
const slow = { syncDelayMs: (): number => 20 };

function rowsOf(h: HostHarness, node: number, family: "raft" | "data" | "meta", group: number): number {
  const engine = h.engines.get(node);
  const { rows } = engine?.scan({ family, start: new Uint8Array(0) }, { limit: 100_000 }) ?? { rows: [] };
  const at = family === "raft" ? 0 : 1;
  const mine = rows.filter((row, i) => {
    if (i % 2 === 1) return false;
    const bytes = Buffer.from(row);
    return family === "data" ? bytes.readUInt32BE(1) === group : Number(bytes.readBigUInt64BE(at)) === group;
  });
  return mine.length;
}

/** A message as a node would send it. */
function inject(h: HostHarness, from: number, to: number, message: Message, group = 1): void {
  h.transport(from).send(
    String(to),
    "raft",
    encodeMessages([messageFields(group, message, "none")]),
    "urgent",
  );
}

describe("a destroyed replica", () => {
  it("leaves a tombstone and no row, whatever was under way (R34)", () => {
    for (let wait = 0; wait < 30; wait += 1) {
      const h = started({ ...slow, seed: wait + 1 });
      const leader = h.leaderOf(1) ?? 0;
      for (let i = 0; i < 20; i++) h.host(leader).propose(1, Buffer.from(`v${i}`), () => {});
      h.run(wait);
      const node = three.find((other) => other !== leader) ?? 0;
      let done = 0;
      h.host(node).destroy(1, () => {
        done += 1;
      });
      // Asked again while the first is under way.
      h.host(node).destroy(1, () => {
        done += 1;
      });
      expect(done).toBe(0);
      h.until("destroyed", () => done === 2);
      h.run(500);
      expect([rowsOf(h, node, "raft", 1), rowsOf(h, node, "data", 1)]).toEqual([0, 0]);
      expect(rowsOf(h, node, "meta", 1)).toBe(1);
      expect(h.host(node).view(1)).toBeUndefined();
    }
  });

  it("cleans up after a crash in the middle, before another replica may come (R34, R5)", () => {
    for (let wait = 1; wait < 40; wait += 1) {
      const h = started({ ...slow, seed: wait, limits: { sliceRows: 1 } });
      for (let i = 0; i < 5; i++) h.put(1, `v${i}`);
      const leader = h.leaderOf(1) ?? 0;
      const node = three.find((other) => other !== leader) ?? 0;
      h.run(200);
      h.host(node).destroy(1, () => {});
      // The sync, then one slice a moment.
      const endMs = h.clock.nowMs() + 30;
      for (let i = 0; i < wait * 3; i++) h.clock.step(endMs);
      h.crash(node, wait % 2 === 0 ? "all" : "random");
      h.boot(node);
      const engine = h.engines.get(node);
      const record = readReplica(engine?.get("meta", replicaRow(1)) ?? new Uint8Array(0));
      let result: string | undefined;
      h.createOne(1, node, node + 10, [node + 10], (outcome) => {
        result = outcome;
      });
      h.until("answer", () => result !== undefined);
      expect(result).toBe(record.state === "live" ? "exists" : "created");
      if (record.state === "live") continue;
      expect(h.host(node).view(1)?.replica).toBe(node + 10);
      // An empty entry of its first term may be there already.
      expect(h.host(node).view(1)?.lastIndex).toBeLessThan(12);
      h.until("leads alone", () => h.host(node).view(1)?.role === "leader");
      expect(h.machine(node, 1).commands()).toEqual([]);
    }
  });

  it("is not made again by a message or an order, but a higher one is (R5)", () => {
    const h = started();
    const leader = h.leaderOf(1) ?? 0;
    const node = three.find((other) => other !== leader) ?? 0;
    h.host(node).destroy(1, () => {});
    h.run(3_000);
    expect(h.host(node).view(1)).toBeUndefined();
    const results: string[] = [];
    h.createOne(1, node, node, three, (result) => results.push(result));
    h.createOne(1, node, node + 10, three, (result) => results.push(result));
    h.until("answers", () => results.length === 2);
    expect(results).toEqual(["tombstone", "created"]);
  });

  it("spares rows that a live replica holds meanwhile (R34)", () => {
    const h = started();
    h.create(2, three);
    h.until("leader", () => h.leaderOf(2) !== undefined);
    h.put(2, "mine");
    h.run(500);
    // The replica of group 1 has always thought that it holds all of group 2's rows as well.
    const greedy = h.machine(1, 1);
    const ranges = [...greedy.snapshotRanges(), ...h.machine(1, 2).snapshotRanges()];
    Object.defineProperty(greedy, "snapshotRanges", { value: () => ranges });
    let done = false;
    h.host(1).destroy(1, () => {
      done = true;
    });
    h.until("destroyed", () => done);
    expect(h.machine(1, 2).commands()).toEqual(["mine"]);
  });

  it("of an order not yet carried out goes after it", () => {
    const h = new HostHarness(slow);
    const events: string[] = [];
    h.createOne(1, 1, 1, [1], (result) => events.push(result));
    h.host(1).destroy(1, () => events.push("destroyed"));
    h.until("both", () => events.length === 2);
    expect(events).toEqual(["created", "destroyed"]);
    expect(rowsOf(h, 1, "raft", 1)).toBe(0);
  });
});

describe("creation", () => {
  it("of one group asked twice in a turn makes one replica", () => {
    const h = new HostHarness(slow);
    const results: string[] = [];
    h.createOne(1, 1, 1, [1], (result) => results.push(result));
    h.createOne(1, 1, 11, [11], (result) => results.push(result));
    h.until("answers", () => results.length === 2);
    expect(results).toEqual(["created", "exists"]);
    h.crash(1, "all");
    h.boot(1);
    expect(h.host(1).view(1)).toMatchObject({ replica: 1, lastIndex: 10 });
  });

  it("wins over messages that come while it is written (R5)", () => {
    for (let wait = 0; wait < 25; wait++) {
      const h = new HostHarness({ syncDelayMs: () => 15, seed: wait + 1 });
      h.createOne(1, 2, 2, [2]);
      h.until("leads", () => h.host(2).view(1)?.role === "leader");
      h.run(100);
      // It arrives in the very turn of the order, or while the order is being written.
      const hello = (): void => inject(h, 2, 1, { kind: "heartbeat", from: 2, to: 1, term: 9, commit: 0 });
      hello();
      if (wait < 12) h.run(wait / 20);
      let result = "";
      h.createOne(1, 1, 1, [1, 2, 3], (outcome) => {
        result = outcome;
      });
      for (let i = 0; i < wait; i++) {
        hello();
        h.run(1);
      }
      h.run(200);
      if (result === "created") {
        expect(h.host(1).view(1)).toMatchObject({ applied: 10, conf: { voters: [1, 2, 3] } });
      } else expect(h.host(1).view(1)).toMatchObject({ applied: 0, conf: { voters: [] } });
      expect(result === "created" || wait < 12).toBe(true);
    }
  });
});

describe("a replica without a first state", () => {
  it("never votes nor campaigns (R5)", () => {
    const h = new HostHarness();
    h.createOne(1, 2, 2, [2]);
    h.until("leads", () => h.host(2).view(1)?.role === "leader");
    inject(h, 2, 1, { kind: "heartbeat", from: 2, to: 1, term: 6, commit: 0 });
    h.run(100);
    expect(h.host(1).view(1)).toMatchObject({ lastIndex: 0, conf: { voters: [] } });
    const { term } = h.host(1).view(1) ?? {};
    h.run(1_000);
    for (const kind of ["preVote", "vote", "timeoutNow"] as const) {
      inject(h, 2, 1, { kind, from: 2, to: 1, term: 50, index: 100, logTerm: 49 });
      h.run(2_000);
    }
    expect(h.host(1).view(1)).toMatchObject({ term, role: "follower" });
  });
});

describe("messages", () => {
  it("of a replica from a node that is not its own are dropped (R1)", () => {
    const h = started();
    const leader = h.leaderOf(1) ?? 0;
    const [liar, victim] = three.filter((node) => node !== leader) as [number, number];
    inject(h, liar, victim, { kind: "heartbeat", from: leader, to: victim, term: 1000, commit: 0 });
    h.run(100);
    expect(h.host(victim).view(1)?.term).toBeLessThan(1000);
  });

  it("that cannot be are dropped and stop nobody", () => {
    const h = started();
    const snapshot = {
      index: 99,
      term: 99,
      conf: { voters: three, outgoing: [], learners: [], learnersNext: [], autoLeave: false },
    };
    for (const to of three) {
      const from = (to % 3) + 1;
      inject(h, from, to, { kind: "snapshot", from, to, term: 1000, snapshot });
      inject(h, from, to, { kind: "propose", from, to, term: 0, entries: [] });
      h.transport(from).send(String(to), "raft", new Uint8Array([1, 2, 3]), "urgent");
      h.transport(from).send(String(to), "bulk", new Uint8Array([1, 2, 3]), "urgent");
    }
    h.run(2_000);
    expect(h.put(1, "fine")).toBe("applied");
  });
});

describe("callers that come back from within their answer", () => {
  it("may propose again when refused, without end", () => {
    const h = started();
    const follower = three.find((node) => node !== h.leaderOf(1)) ?? 0;
    let refused = 0;
    const again = (): void =>
      h.host(follower).propose(1, Buffer.from("x"), () => {
        refused += 1;
        if (refused < 100_000) again();
      });
    again();
    h.run(500);
    expect(refused).toBeGreaterThan(10);
  });

  const actions: Readonly<Record<string, (h: HostHarness, node: number) => void>> = {
    "destroy the group": (h, node) => h.host(node).destroy(1, () => {}),
    "stop the host": (h, node) => h.host(node).stop(),
    "make another group": (h, node) => h.createOne(9, node, node, [node]),
    "ask for all else": (h, node) => {
      h.host(node).propose(1, Buffer.from("more"), () => {});
      h.host(node).read(1, { lease: true, timeoutMs: 100 }, () => {});
      h.host(node).transferLeader(1, (node % 3) + 1);
      h.host(node).campaign(1);
    },
  };
  it.each(Object.entries(actions))("may %s", (_name, act) => {
    for (let seed = 1; seed <= 8; seed++) {
      const h = started({ seed, ...(seed % 2 === 0 ? slow : {}) });
      const leader = h.leaderOf(1) ?? 0;
      const answers: string[] = [];
      for (let i = 0; i < 4; i++) {
        h.host(leader).propose(1, Buffer.from(`a${i}`), ({ kind }) => {
          if (answers.push(kind) === seed % 4) act(h, leader);
        });
        h.host(leader).read(1, { lease: i % 2 === 0, timeoutMs: 500 }, ({ kind }) => {
          if (answers.push(kind) === seed % 4) act(h, leader);
        });
        if (i % 2 === 1) h.run(1);
      }
      h.run(3_000);
      expect(answers).toHaveLength(8);
    }
  });

  it("are each answered once when the host stops, and never after it was killed or failed (R8, R11)", () => {
    for (const how of ["stop", "kill", "poison"] as const) {
      const h = started(slow);
      const leader = h.leaderOf(1) ?? 0;
      const answers: string[] = [];
      const host = h.host(leader);
      for (const text of ["a", how === "poison" ? "poison" : "b"]) {
        host.propose(1, Buffer.from(text), ({ kind }) => answers.push(kind));
      }
      host.read(1, { lease: false, timeoutMs: 500 }, ({ kind }) => answers.push(kind));
      h.clock.advance(1);
      if (how === "poison") {
        h.clock.advance(3_000);
        expect(h.fatal.has(leader)).toBe(true);
        expect(answers.filter((kind) => kind === "applied")).toEqual([]);
        continue;
      }
      if (how === "stop") host.stop();
      else host.kill();
      expect(answers).toHaveLength(how === "stop" ? 3 : 0);
      h.clock.advance(3_000);
      expect(answers).toHaveLength(how === "stop" ? 3 : 0);
    }
  });
});

describe("reads", () => {
  it("are asked again under a new id when an answer is lost, and end at their deadline (R18)", () => {
    const h = started();
    const leader = h.leaderOf(1) ?? 0;
    const follower = three.find((node) => node !== leader) ?? 0;
    const outcomes: string[] = [];
    h.network.setLink(`n${leader}`, `n${follower}`, { cut: true });
    h.host(follower).read(1, { lease: false, timeoutMs: 450 }, (o) =>
      outcomes.push(o.kind === "refused" ? o.reason : o.kind),
    );
    h.run(400);
    expect(outcomes).toEqual([]);
    h.run(200);
    expect(outcomes).toHaveLength(1);
    h.network.heal();
    h.run(2_000);
    let late = "";
    h.network.setLink(`n${h.leaderOf(1)}`, `n${follower}`, { loss: 1 });
    h.host(follower).read(1, { lease: false, timeoutMs: 3_000 }, (o) => {
      late = o.kind;
    });
    h.run(100);
    h.network.heal();
    h.until("answered by a retry", () => late !== "");
    expect(outcomes).toHaveLength(1);
  });
});

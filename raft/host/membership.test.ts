import { describe, expect, it } from "vitest";
import type { NodeId } from "#proto";
import type { ConfChange, MemberChange } from "#raft/core";
import { HostHarness } from "./testing/harness.ts";
import { nodeOfReplica } from "./testing/list-machine.ts";

const three = [1, 2, 3];
const context = new Uint8Array(0);

function started(voters: readonly NodeId[] = three, nodes = 4): HostHarness {
  const h = new HostHarness({ nodes });
  h.create(1, voters);
  h.until("leader", () => h.leaderOf(1) !== undefined);
  h.run(300);
  return h;
}

function learner(id: number): ConfChange {
  return { transition: "auto", changes: [{ kind: "learner", id }], context };
}

function joint(...changes: MemberChange[]): ConfChange {
  return { transition: "explicit", changes, context };
}

function change(h: HostHarness, wanted: ConfChange): string {
  let outcome = "";
  h.host(h.leaderOf(1) ?? 0).proposeConfChange(1, wanted, (o) => {
    outcome = o.kind === "refused" ? o.reason : o.kind;
  });
  h.until("the change's outcome", () => outcome !== "");
  return outcome;
}

const leave: ConfChange = { transition: "auto", changes: [], context };

const confOf = (
  h: HostHarness,
): { readonly voters: readonly number[]; readonly outgoing: readonly number[] } =>
  h.host(h.leaderOf(1) ?? 0).view(1)?.conf ?? { voters: [], outgoing: [] };

/** Node 4 learns, then takes the place of `leaver` in a joint step. */
function replace(h: HostHarness, leaver: number): void {
  expect(change(h, learner(4))).toBe("applied");
  h.until(
    "the learner is level",
    () => h.host(4).view(1)?.applied === h.host(h.leaderOf(1) ?? 0).view(1)?.applied,
  );
  h.run(300);
  expect(change(h, joint({ kind: "voter", id: 4 }, { kind: "remove", id: leaver }))).toBe("applied");
}

describe("a joint configuration (R10)", () => {
  it("that nobody leaves is left after 5 s", () => {
    const h = started();
    const leaver = three.find((id) => id !== h.leaderOf(1)) ?? 0;
    replace(h, leaver);
    h.run(3_500);
    expect(confOf(h).outgoing).toEqual(three);
    h.run(4_000);
    expect(confOf(h)).toMatchObject({ voters: [...three.filter((id) => id !== leaver), 4], outgoing: [] });
  });

  it("stands while its new half has no live quorum, and is left when it has", () => {
    const h = started();
    const leader = h.leaderOf(1) ?? 0;
    const [other, leaver] = three.filter((id) => id !== leader) as [number, number];
    replace(h, leaver);
    h.crash(4);
    h.crash(other);
    h.run(1_000);
    h.boot(4);
    h.until("left", () => h.leaderOf(1) !== undefined && confOf(h).outgoing.length === 0, 30_000);
  });
});

describe("who has left is needed no more once the change is answered (R10)", () => {
  it("by a lone voter in place of another, whose node loses power at once", () => {
    const h = started([1]);
    expect(change(h, learner(4))).toBe("applied");
    h.run(1_000);
    expect(change(h, joint({ kind: "voter", id: 4 }, { kind: "remove", id: 1 }))).toBe("applied");
    expect(change(h, leave)).toBe("transferring");
    h.until("node 4 leads", () => h.leaderOf(1) === 4);
    expect(change(h, leave)).toBe("applied");
    for (const node of [1, 4]) h.crash(node, "none");
    h.boot(4);
    h.until("it leads alone", () => h.leaderOf(1) === 4);
    expect(h.put(1, "after")).toBe("applied");
  });

  it.each([1, 2, 3, 4])("by a majority of those who stay, without the leader too: seed %i", (seed) => {
    const h = new HostHarness({ nodes: 5, seed, syncDelayMs: (random) => random.below(3) });
    h.create(1, three);
    h.until("leader", () => h.leaderOf(1) !== undefined);
    h.run(300);
    const stays = h.leaderOf(1) ?? 0;
    const leavers = three.filter((id) => id !== stays);
    for (const id of [4, 5]) expect(change(h, learner(id))).toBe("applied");
    h.run(1_000);
    const changes = [
      ...[4, 5].map((id) => ({ kind: "voter" as const, id })),
      ...leavers.map((id) => ({ kind: "remove" as const, id })),
    ];
    expect(change(h, joint(...changes))).toBe("applied");
    expect(change(h, leave)).toBe("applied");
    for (let node = 1; node <= 5; node++) h.crash(node, "none");
    for (const node of [4, 5]) h.boot(node);
    h.until("one of them leads", () => h.leaderOf(1) !== undefined);
    expect(confOf(h).outgoing).toEqual([]);
    expect(h.put(1, "after")).toBe("applied");
  });
});

describe("a removed voter", () => {
  it("hears of its removal, even where it was away when it happened (R10)", () => {
    for (const away of [false, true]) {
      const h = started();
      const leaver = three.find((id) => id !== h.leaderOf(1)) ?? 0;
      if (away) h.crash(leaver, "all");
      replace(h, leaver);
      expect(change(h, { transition: "auto", changes: [], context })).toBe("applied");
      h.run(5_000);
      if (away) h.boot(leaver);
      h.until("it knows", () => h.host(leaver).view(1)?.conf.voters.includes(leaver) === false, 3_000);
      expect(h.host(leaver).view(1)?.conf).toMatchObject({ outgoing: [], learners: [] });
    }
  });

  it("is told for a minute, not for ever", () => {
    const h = started();
    const leaver = three.find((id) => id !== h.leaderOf(1)) ?? 0;
    h.crash(leaver);
    replace(h, leaver);
    change(h, { transition: "auto", changes: [], context });
    h.run(65_000);
    expect(
      (h.host(h.leaderOf(1) ?? 0).view(1) as unknown as { farewells: Map<number, unknown> }).farewells.size,
    ).toBe(0);
  });
});

describe("a leader", () => {
  it("that a change would remove hands over first; the next one makes the change (R10)", () => {
    const h = started();
    const leader = h.leaderOf(1) ?? 0;
    expect(change(h, learner(4))).toBe("applied");
    h.run(1_000);
    const wanted = joint({ kind: "voter", id: 4 }, { kind: "remove", id: leader });
    expect(change(h, wanted)).toBe("transferring");
    h.until("another leads", () => h.leaderOf(1) !== leader && h.leaderOf(1) !== undefined, 3_000);
    h.run(300);
    expect(change(h, wanted)).toBe("applied");
    h.until("without it", () => confOf(h).outgoing.length === 0 && !confOf(h).voters.includes(leader));
    expect(h.put(1, "after")).toBe("applied");
  });

  it("that is the whole outgoing half hands over inside, and its successor leaves (R10)", () => {
    const h = started([1]);
    expect(change(h, learner(4))).toBe("applied");
    h.run(1_000);
    expect(change(h, joint({ kind: "voter", id: 4 }, { kind: "remove", id: 1 }))).toBe("applied");
    h.until("node 4 alone", () => h.leaderOf(1) === 4 && confOf(h).outgoing.length === 0, 15_000);
    expect(confOf(h).voters).toEqual([4]);
    expect(h.put(1, "after")).toBe("applied");
    h.until("the old one knows", () => h.host(1).view(1)?.conf.voters.includes(1) === false);
  });

  it("refuses even sizes and removals that leave no live quorum (R10)", () => {
    const h = started();
    const leader = h.leaderOf(1) ?? 0;
    const [a, b] = three.filter((id) => id !== leader) as [number, number];
    expect(change(h, { transition: "auto", changes: [{ kind: "remove", id: a }], context })).toBe(
      "conf_change_invalid",
    );
    h.crash(a);
    h.run(2_000);
    expect(change(h, joint({ kind: "remove", id: b }, { kind: "voter", id: 4 }))).toBe("conf_change_invalid");
    expect(confOf(h)).toMatchObject({ voters: three, outgoing: [] });
  });
});

describe("a draining node (R35)", () => {
  it("gives its leaderships away and wins none while another live voter can lead", () => {
    const h = started();
    const drained = h.leaderOf(1) ?? 0;
    h.host(drained).drain();
    h.until("handed over", () => h.leaderOf(1) !== undefined && h.leaderOf(1) !== drained, 5_000);
    for (let i = 0; i < 4; i++) {
      const leader = h.leaderOf(1) ?? 0;
      expect(leader).not.toBe(drained);
      h.crash(leader);
      h.until("the next", () => h.leaderOf(1) !== undefined && h.leaderOf(1) !== leader, 10_000);
      h.boot(leader);
      h.run(1_500);
    }
    expect(h.host(drained).leadersToHandOver).toBe(0);
  });

  it("is no transfer target: a leader told to hand over to it goes on taking writes", () => {
    const h = started();
    const leader = h.leaderOf(1) ?? 0;
    const drained = three.find((id) => id !== leader) ?? 0;
    h.host(drained).drain();
    h.run(50);
    h.crash(drained);
    h.host(leader).transferLeader(1, drained);
    expect(h.put(1, "meanwhile")).toBe("applied");
    expect(h.leaderOf(1)).toBe(leader);
  });
});

describe("a transfer", () => {
  it("to a node that is gone is given up when that is known, not only after an election timeout", () => {
    const h = started();
    const leader = h.leaderOf(1) ?? 0;
    const dead = three.find((id) => id !== leader) ?? 0;
    h.crash(dead);
    h.host(leader).transferLeader(1, dead);
    h.run(50);
    h.host(leader).propose(1, Buffer.from("refused"), (result) => expect(result.kind).toBe("refused"));
    h.until("the node is missed", () => h.host(leader).suspected(dead), 5_000);
    expect(h.put(1, "at once")).toBe("applied");
    h.host(leader).transferLeader(1, dead);
    expect(h.put(1, "and again")).toBe("applied");
    expect(h.leaderOf(1)).toBe(leader);
  });
});

describe("sleep (R20)", () => {
  it("is not for a leader that is cut off from a quorum", () => {
    const h = started(three, 3);
    h.run(2_000);
    const leader = h.leaderOf(1) ?? 0;
    h.host(leader).propose(1, Buffer.from("wakes it"), () => {});
    h.run(300);
    h.network.isolate(`n${leader}`);
    h.run(4_000);
    expect(h.host(leader).view(1)?.role).not.toBe("leader");
    h.network.heal();
    h.until("one leader again", () => h.host(leader).view(1)?.leaderReplica !== undefined);
    expect(nodeOfReplica(h.host(leader).view(1)?.leaderReplica ?? 0)).not.toBe(leader);
  });

  it("survives the loss of the message that asks for it", () => {
    for (let wait = 0; wait < 12; wait++) {
      const h = started(three, 3);
      const leader = h.leaderOf(1) ?? 0;
      const follower = three.find((id) => id !== leader) ?? 0;
      const { term } = h.host(leader).view(1) ?? {};
      h.run(300 + wait * 25);
      h.network.setLink(`n${leader}`, `n${follower}`, { cut: true });
      h.until("the leader sleeps", () => h.host(leader).view(1)?.quiesced === true);
      h.network.heal();
      h.run(5_000);
      for (const node of three) expect(h.host(node).view(1)).toMatchObject({ quiesced: true, term });
    }
  });
});

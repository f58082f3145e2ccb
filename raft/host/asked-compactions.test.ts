import { describe, expect, it } from "vitest";
import type { NodeId } from "#proto";
import type { Group } from "./group.ts";
import { HostHarness } from "./testing/harness.ts";

const three = [1, 2, 3];

function written(count: number, options: ConstructorParameters<typeof HostHarness>[0] = {}): HostHarness {
  const h = new HostHarness(options);
  h.create(1, three);
  h.until("leader", () => h.leaderOf(1) !== undefined);
  for (let i = 0; i < count; i++) expect(h.put(1, `v${i}`)).toBe("applied");
  h.run(500);
  return h;
}

function compact(h: HostHarness, node: NodeId): boolean {
  let answer: boolean | undefined;
  h.host(node).compact(1, (compacted) => {
    answer = compacted;
  });
  h.until("an answer", () => answer !== undefined);
  return answer === true;
}

const groupOn = (h: HostHarness, node: NodeId): Group => h.host(node).view(1) as Group;

describe("a compaction that was asked for", () => {
  it("goes up to what is applied, on leader and followers, whatever the log's size; slice by slice (R13)", () => {
    const h = written(40, { limits: { sliceRows: 7 } });
    for (const node of three) {
      expect(compact(h, node)).toBe(true);
      const { log, applied } = groupOn(h, node);
      expect(log.firstIndex()).toBe(applied + 1);
      expect(compact(h, node)).toBe(true);
    }
    expect(h.put(1, "after")).toBe("applied");
    for (const node of three) {
      h.crash(node, "all");
      h.boot(node);
    }
    h.until("again", () => h.leaderOf(1) !== undefined);
    expect(h.put(1, "later")).toBe("applied");
    h.until("all", () => three.every((node) => h.machine(node, 1).commands().length === 42));
  });

  it("leaves a live follower what it lacks; one that is gone gets a snapshot (R9)", () => {
    const h = written(5);
    const leader = h.leaderOf(1) ?? 0;
    const away = three.find((node) => node !== leader) ?? 0;
    h.crash(away, "all");
    for (let i = 0; i < 20; i++) h.put(1, `w${i}`);
    h.until("suspected", () => h.host(leader).suspected(away));
    expect(compact(h, leader)).toBe(true);
    expect(groupOn(h, leader).log.firstIndex()).toBe(groupOn(h, leader).applied + 1);
    h.boot(away);
    h.until("installed", () => h.host(away).stats.snapshotsInstalled === 1, 60_000);
    h.until("level", () => h.machine(away, 1).commands().length === 25);
  });

  it("is refused where there is no replica, and answered when the host stops", () => {
    const h = written(1);
    const answers: boolean[] = [];
    h.host(1).compact(9, (compacted) => answers.push(compacted));
    expect(answers).toEqual([false]);
    h.host(1).compact(1, (compacted) => answers.push(compacted));
    h.host(1).stop();
    expect(answers).toEqual([false, false]);
  });
});

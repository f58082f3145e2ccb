import { describe, expect, it } from "vitest";
import { leastToMove, type Step, spreadOver } from "./growth.ts";
import { Phases } from "./phases.ts";
import { growthTable, workTable } from "./report.ts";
import { peakOf, sentIn } from "./traffic.ts";

const cells = (line: string | undefined): string[] => (line ?? "").split("|").map((cell) => cell.trim());

describe("what moves", () => {
  it("at least what the nodes lack of an equal share", () => {
    const held = new Map([
      ["n1", 100],
      ["n2", 100],
      ["n3", 100],
    ]);
    expect(leastToMove(held, ["n1", "n2", "n3", "n4", "n5"])).toBe(120);
    expect(leastToMove(held, ["n1", "n2", "n3"])).toBe(0);
    expect(leastToMove(held, ["n1", "n2"])).toBe(100);
  });

  it("a spread is of the nodes that stay, those with nothing among them", () => {
    const held = new Map([
      ["n1", 30],
      ["n2", 10],
      ["n9", 1000],
    ]);
    expect(spreadOver(["n1", "n2"], held)).toBe(1);
    expect(spreadOver(["n1", "n2", "n3"], held)).toBeCloseTo(30 / (40 / 3));
  });
});

describe("the rate", () => {
  it("is of whole seconds", () => {
    const readings = [0, 500, 1000, 1500, 2000].map((ms, at) => ({
      ms,
      bytes: [0, 10, 10, 40, 40][at] ?? 0,
    }));
    expect(peakOf(readings)).toBe(30);
    expect(peakOf(readings.slice(0, 2))).toBe(0);
  });

  it("comes from the metrics", () => {
    expect(sentIn("# HELP x\nkvorum_raft_snapshot_bytes_sent_total 17\n")).toBe(17);
    expect(() => sentIn("kvorum_raft_turns_total 1\n")).toThrow("kvorum_raft_snapshot_bytes_sent_total");
  });
});

describe("the tables", () => {
  it("show before and during, and their ratio; a failed request is in no latency", () => {
    const phases = new Phases();
    for (let i = 0; i < 100; i++) phases.record("read", 1000, true);
    phases.record("write", 2000, true);
    const before = phases.cut();
    phases.record("read", 3000, true);
    phases.record("write", 2000, true);
    phases.record("write", 9_000_000, false);
    const [, , row, all, ...more] = workTable([{ name: "split", before, during: phases.cut() }]).split("\n");
    expect(cells(row).slice(1, 2)).toEqual(["split"]);
    expect(cells(row).slice(3, -1)).toEqual([
      "3",
      "1",
      "1.0 → 3.0",
      "1.0 → 3.0",
      "3.0",
      "2.0 → 2.0",
      "2.0 → 2.0",
      "1.0",
    ]);
    expect(cells(all)[1]).toBe("all together");
    expect(more).toEqual([]);
  });

  it("have a column for each change of the number of nodes", () => {
    const step: Step = {
      from: 3,
      to: 5,
      seconds: 60,
      plannedSeconds: 50,
      moves: 77,
      movedBytes: 1300 * 2 ** 20,
      leastBytes: 1200 * 2 ** 20,
      peakBytesPerS: 16 * 2 ** 20,
      bytesSpread: 0.04,
      replicasSpread: 0.026,
      leadersSpread: 0.078,
    };
    const rows = growthTable([step, { ...step, from: 5, to: 3 }]).split("\n");
    expect(cells(rows[0]).slice(2, -1)).toEqual(["3 → 5", "5 → 3"]);
    expect(cells(rows.find((line) => line.includes("moved ÷"))).slice(2, -1)).toEqual(["1.08", "1.08"]);
  });
});

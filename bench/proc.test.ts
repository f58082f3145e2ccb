import { describe, expect, it } from "vitest";
import { descendants, parseStat } from "./proc.ts";

it("reads a process's line, whatever its name is", () => {
  const line =
    "4711 (a) (b c) S 12 4711 4711 0 -1 4194560 1 0 0 0 250 31 0 0 20 0 11 0 100 0 0 18446744073709551615";
  expect(parseStat(line)).toEqual({ pid: 4711, name: "a) (b c", parent: 12, cpuTicks: 281 });
});

describe("a tree of processes", () => {
  const process = (pid: number, parent: number) => ({ pid, parent, name: `p${pid}`, cpuTicks: 0 });
  const all = [process(5, 3), process(2, 1), process(3, 2), process(4, 2), process(9, 1)];

  it("holds children and children's children", () => {
    expect(descendants(2, all).map(({ pid }) => pid)).toEqual([2, 3, 4, 5]);
  });

  it("is empty when its root is gone", () => {
    expect(descendants(77, all)).toEqual([]);
  });
});

import { describe, expect, it, vi } from "vitest";
import { isCompleteReshape, isCompleteShards, isCompleteThroughput, parseSettings } from "./settings.ts";

describe("the command line", () => {
  it("has what the documents report as its default", () => {
    const settings = parseSettings([]);
    expect(settings).toMatchObject({
      only: ["put", "get", "stale", "shards", "reshape"],
      systems: ["kvorum", "etcd"],
      repetitions: 5,
      connections: [64, 256],
      valueBytes: 128,
      docs: true,
    });
    const complete = [
      isCompleteThroughput(settings),
      isCompleteShards(settings),
      isCompleteReshape(settings),
    ];
    expect(complete).toEqual([true, true, true]);
  });

  it("takes lists and numbers, and keeps an order of its own", () => {
    const args = ["--only", "get,put", "--connections", "8,16", "--seconds", "0.5", "--no-docs"];
    expect(parseSettings(args)).toMatchObject({
      only: ["put", "get"],
      connections: [8, 16],
      seconds: 0.5,
      docs: false,
    });
  });

  it("a part of a section is not the section", () => {
    expect(isCompleteThroughput(parseSettings(["--only", "put"]))).toBe(false);
    expect(isCompleteThroughput(parseSettings(["--connections", "64"]))).toBe(false);
    expect(isCompleteReshape(parseSettings(["--reshape-mib", "64"]))).toBe(false);
    expect(isCompleteShards(parseSettings(["--shard-counts", "16"]))).toBe(false);
  });

  it.each([
    ["--only", "scan"],
    ["--systems", "redis"],
    ["--repetitions", "0"],
    ["--repetitions", "1.5"],
    ["--keys", "1000001"],
    ["--connections", "64,x"],
    ["--nothing"],
  ])("refuses %s %s", (...args) => {
    const silenced = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    expect(() => parseSettings(args)).toThrow();
    silenced.mockRestore();
  });
});

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { runScript } from "./runner.ts";

const folder = join(import.meta.dirname, "scripts");
const names = readdirSync(folder).filter((name) => name.endsWith(".jsonl"));

describe("golden scripts", () => {
  it("are there", () => {
    expect(names.length).toBeGreaterThanOrEqual(22);
  });

  it.each(names)("%s matches the reference at every step", (name) => {
    const result = runScript(readFileSync(join(folder, name), "utf8"));
    expect(result.strictDifferences).toEqual([]);
    expect(result.steps).toBeGreaterThan(0);
  });

  it("a changed script is caught", () => {
    const text = readFileSync(join(folder, names[0] as string), "utf8").trim();
    const lines = text.split("\n");
    const last = JSON.parse(lines.at(-1) as string) as { cmd: string; nodes: { commit: number }[] };
    last.cmd = "stabilize";
    (last.nodes[0] as { commit: number }).commit += 1;
    const changed = [...lines.slice(0, -1), JSON.stringify(last)].join("\n");
    expect(runScript(changed).differences).toContainEqual(
      expect.objectContaining({ step: lines.length, node: 1, field: "commit" }),
    );
  });
});

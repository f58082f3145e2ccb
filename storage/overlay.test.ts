import { expect, it } from "vitest";
import { openMemory } from "./memory.ts";
import { MemoryDisk } from "./memory-disk.ts";
import { OverlayBatch } from "./overlay.ts";

const key = (text: string) => Buffer.from(text);

function filled(...keys: string[]) {
  const engine = openMemory(new MemoryDisk());
  const batch = engine.batch();
  for (const k of keys) batch.put("data", key(k), key("old"));
  engine.write(batch, { sync: true }, () => {});
  return engine;
}

it("reads its own changes first, the engine's rows else, family by family", () => {
  const overlay = new OverlayBatch(filled("a", "b"));
  overlay.put("data", key("b"), key("new"));
  overlay.put("data", key("c"), key("new"));
  overlay.delete("data", key("a"));
  overlay.put("meta", key("x"), key("meta"));
  const read = (k: string) => overlay.get("data", new Uint8Array(key(k)))?.toString();
  expect(["a", "b", "c", "x"].map(read)).toEqual([undefined, "new", "new", undefined]);
  expect(overlay.get("meta", key("x"))?.toString()).toBe("meta");
});

it("writes what it was given, in order, through its batch", () => {
  const engine = filled("a");
  const overlay = new OverlayBatch(engine);
  overlay.delete("data", key("a"));
  overlay.put("data", key("a"), key("again"));
  expect([overlay.size, overlay.bytes]).toEqual([2, 7]);
  expect(engine.get("data", key("a"))?.toString()).toBe("old");
  engine.write(overlay.batch, { sync: false }, () => {});
  expect(engine.get("data", key("a"))?.toString()).toBe("again");
});

it.each([
  { name: "forward", options: { limit: 9 }, want: "a b c e", finished: true },
  { name: "backward", options: { limit: 9, reverse: true }, want: "e c b a", finished: true },
  { name: "limit", options: { limit: 3 }, want: "a b c", finished: false },
  { name: "bytes", options: { limit: 9, maxBytes: 5 }, want: "a b", finished: false },
])("merges in scans: $name", ({ options, want, finished }) => {
  const overlay = new OverlayBatch(filled("b", "d", "e", "z"));
  overlay.put("data", key("a"), key("new"));
  overlay.put("data", key("c"), key("new"));
  overlay.put("data", key("e"), key("new"));
  overlay.put("data", key("zz"), key("new"));
  overlay.delete("data", key("d"));
  overlay.delete("data", key("none"));
  const page = overlay.scan({ family: "data", start: key("a"), end: key("z") }, options);
  expect(page.rows.filter((_, at) => at % 2 === 0).join(" ")).toBe(want);
  expect(page.finished).toBe(finished);
});

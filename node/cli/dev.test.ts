import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { resolve } from "../config.ts";
import type { DevOptions } from "../dev.ts";
import { commands } from "./commands.ts";
import { devOptions } from "./dev.ts";

function options(
  flags: Readonly<Record<string, string>>,
  environment: Readonly<Record<string, string>> = {},
): DevOptions {
  const settings = commands.find(({ name }) => name === "dev")?.settings ?? [];
  const texts = new Map(Object.entries(flags).map(([flag, text]) => [flag, [text]]));
  return devOptions(resolve(settings, { flags: texts, environment }, []), []);
}

describe("where the data is", () => {
  it("./data by default", () => {
    expect(options({}).dataDir).toBe("data");
  });
  it("nowhere with --ephemeral", () => {
    expect(options({ ephemeral: "true" }).dataDir).toBeUndefined();
  });
  it("the stronger source decides", () => {
    expect(options({ ephemeral: "true" }, { KVORUM_DATA: "d" }).dataDir).toBeUndefined();
    expect(options({ data: "d" }, { KVORUM_EPHEMERAL: "1" }).dataDir).toBe("d");
  });
  it("not both at once", () => {
    expect(() => options({ data: "d", ephemeral: "true" })).toThrow(/exclude/);
    expect(() => options({}, { KVORUM_DATA: "d", KVORUM_EPHEMERAL: "1" })).toThrow(/exclude/);
  });
});

it("hands on what belongs to the nodes", () => {
  const flags = options({
    host: "a,b",
    insecure: "true",
    "log-pretty": "false",
    "log-level": "debug",
  }).nodeFlags;
  expect(flags).toEqual(["--host", "a", "--host", "b", "--insecure", "--log-level", "debug"]);
});

describe("a token file", () => {
  const folder = mkdtempSync(join(tmpdir(), "kvorum-token-"));
  const file = join(folder, "tokens");

  it("lends dev its admin token", () => {
    writeFileSync(file, "r read\np admin users/\na admin\n");
    expect(options({ "token-file": file }).token).toBe("a");
  });
  it("without one is refused, and so is a missing one", () => {
    writeFileSync(file, "r read\n");
    expect(() => options({ "token-file": file })).toThrow(/admin token/);
    rmSync(folder, { recursive: true });
    expect(() => options({ "token-file": file })).toThrow(/^--token-file/);
  });
});

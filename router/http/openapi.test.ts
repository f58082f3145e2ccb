import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Code, errorCodes } from "#proto";
import { changeOf, changes } from "./changes.ts";
import { errorsMarkdown, errorsPage, errorTexts } from "./error-texts.ts";
import { openApi } from "./openapi.ts";
import { type Resource, type ResourceName, resources } from "./routes.ts";

interface Parameter {
  readonly name: string;
  readonly in: string;
}
interface Operation {
  readonly parameters?: readonly Parameter[];
  readonly responses: Readonly<Record<string, { readonly description: string; readonly $ref?: string }>>;
}
type Path = Readonly<Record<string, unknown>> & { readonly parameters?: readonly Parameter[] };

function operationsOf(path: Path): [string, Operation][] {
  return Object.entries(path).filter(([name]) => name !== "parameters") as [string, Operation][];
}

const document = openApi("1.2.3");
const paths = document["paths"] as Record<string, Path>;
const codes = Object.keys(errorCodes) as Code[];
const all: readonly Resource[] = Object.values(resources);

describe("the OpenAPI document", () => {
  it("has exactly the resources the server registers, with their methods", () => {
    const described = Object.entries(paths).map(([path, operations]) => ({
      path,
      methods: operationsOf(operations)
        .map(([name]) => name.toUpperCase())
        .sort(),
    }));
    const registered = all.map(({ path, methods }) => ({ path, methods: [...methods].sort() }));
    const byPath = (a: { path: string }, b: { path: string }) => (a.path < b.path ? -1 : 1);
    expect(described.sort(byPath)).toEqual(registered.sort(byPath));
  });

  it("has exactly their parameters, in query and path", () => {
    for (const { path, parameters } of all) {
      const item = paths[path]!;
      const own = operationsOf(item).flatMap(([, operation]) => operation.parameters ?? []);
      const listed = [...(item.parameters ?? []), ...own];
      const named = (where: string) =>
        [...new Set(listed.filter((p) => p.in === where).map((p) => p.name))].sort();
      expect(named("query"), path).toEqual([...parameters].sort());
      expect(named("path"), path).toEqual([...path.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).sort());
    }
  });

  it("names only codes that exist, under their status", () => {
    for (const [path, item] of Object.entries(paths)) {
      for (const [method, operation] of operationsOf(item)) {
        for (const [status, { description }] of Object.entries(operation.responses)) {
          if (Number(status) < 400) continue;
          const named = [...description.matchAll(/`(\w+)`/g)].map((m) => m[1] as Code);
          expect(named.length, `${method} ${path} ${status}`).toBeGreaterThan(0);
          for (const code of named) expect(errorCodes[code]?.status, `${path} ${code}`).toBe(Number(status));
        }
      }
    }
  });

  it("lists every code, and nothing else", () => {
    const schemas = (
      document["components"] as {
        schemas: Record<string, { properties: Record<string, { enum: string[] }> }>;
      }
    ).schemas;
    expect(schemas["Problem"]?.properties["code"]?.enum).toEqual(codes);
  });

  it("refers only to what it has", () => {
    const text = JSON.stringify(document);
    const schemas = (document["components"] as { schemas: object }).schemas;
    for (const [, name = ""] of text.matchAll(/#\/components\/schemas\/(\w+)/g)) {
      expect(Object.keys(schemas)).toContain(name);
    }
    expect(document["info"]).toMatchObject({ version: "1.2.3" });
  });
});

describe("error codes", () => {
  it("docs/errors.md is what the code says", async () => {
    await expect(errorsMarkdown()).toMatchFileSnapshot("../../docs/errors.md");
  });

  it("docs/errors.md has one section a code, both ways", () => {
    const text = readFileSync(new URL("../../docs/errors.md", import.meta.url), "utf8");
    expect([...text.matchAll(/^## (\w+)$/gm)].map((m) => m[1])).toEqual(codes);
  });

  it("every code has its text, and an anchor on the page that problems link to", () => {
    expect(Object.keys(errorTexts).sort()).toEqual([...codes].sort());
    for (const code of codes) expect(errorsPage()).toContain(`id="${code}"`);
  });
});

describe("changes of the cluster", () => {
  it("each that is registered is described on both sides", () => {
    for (const [name, { kind, methods }] of Object.entries(resources)) {
      if (kind !== "admin") continue;
      for (const method of methods.filter((each) => each !== "GET" && each !== "HEAD")) {
        expect(changeOf(method, name as ResourceName), `${method} ${name}`).toBeDefined();
      }
      const path = paths[resources[name as ResourceName].path]!;
      for (const [method, operation] of operationsOf(path)) {
        expect((operation as unknown as { summary?: string }).summary, `${method} ${name}`).toBeTruthy();
      }
    }
    for (const change of Object.keys(changes)) {
      const [method = "", name = ""] = change.split(" ");
      expect(resources[name as ResourceName].methods).toContain(method);
    }
  });

  it("their bodies are described field by field", () => {
    const move = paths["/v1/admin/shards/{id}/move"]!["post"] as { requestBody: unknown };
    expect(move.requestBody).toMatchObject({
      required: true,
      content: { "application/json": { schema: { required: ["from", "to"], additionalProperties: false } } },
    });
  });
});

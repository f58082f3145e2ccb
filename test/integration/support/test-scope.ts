import { afterEach, type TestContext } from "vitest";
import { Scope } from "./scope.ts";

/** A scope that ends with each test of this file. */
export function testScope(): Scope {
  const scope = new Scope();
  afterEach(async ({ task }: TestContext) => {
    const failed = task.result?.state === "fail";
    await scope.end(failed ? task.name.replaceAll(/[^a-z0-9]+/gi, "-").slice(0, 60) : undefined);
  });
  return scope;
}

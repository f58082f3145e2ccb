import { expect, it } from "vitest";
import { seededRandom } from "#runtime";
import { agree } from "./example.ts";

it("the example of the README: three replicas apply the same texts in the same order", () => {
  const random = seededRandom(1);
  const texts = ["hello", "world"];
  expect(agree(texts, (bound) => random.below(bound))).toEqual([texts, texts, texts]);
});

import { describe, expect, it } from "vitest";
import { formatNumber, markdownTable, replaceSection } from "./table.ts";

describe("a table", () => {
  it("is aligned as plain text, and says its alignment in Markdown", () => {
    const table = markdownTable(
      [{ title: "system", align: "left" }, { title: "req/s" }],
      [
        ["kvorum", "12,345"],
        ["etcd", "1"],
      ],
    );
    expect(table.split("\n")).toEqual([
      "| system |  req/s |",
      "| ------ | -----: |",
      "| kvorum | 12,345 |",
      "| etcd   |      1 |",
    ]);
  });

  it("shows missing cells as empty", () => {
    expect(markdownTable([{ title: "a" }, { title: "b" }], [["1"]])).toContain("|   1 |     |");
  });
});

it.each([
  { value: 1234567, decimals: 0, want: "1,234,567" },
  { value: 1.005, decimals: 1, want: "1.0" },
  { value: 0.25, decimals: 2, want: "0.25" },
  { value: Number.NaN, decimals: 0, want: "-" },
])("$value is shown as $want", ({ value, decimals, want }) => {
  expect(formatNumber(value, decimals)).toBe(want);
});

describe("a section of a document", () => {
  const document =
    "# Title\n<!-- bench:a -->\nold\n<!-- /bench:a -->\nbetween\n<!-- bench:b --><!-- /bench:b -->\n";

  it("is replaced, and nothing else", () => {
    expect(replaceSection(document, "a", "new\n")).toBe(
      "# Title\n<!-- bench:a -->\n\nnew\n\n<!-- /bench:a -->\nbetween\n<!-- bench:b --><!-- /bench:b -->\n",
    );
  });

  it("can be replaced again and again", () => {
    const once = replaceSection(document, "b", "$1 $& new");
    expect(replaceSection(once, "b", "$1 $& new")).toBe(once);
  });

  it.each([
    { name: "without markers", text: "nothing" },
    { name: "with the end first", text: "<!-- /bench:a --> <!-- bench:a -->" },
    { name: "with markers twice", text: `${document}${document}` },
  ])("$name is refused", ({ text }) => {
    expect(() => replaceSection(text, "a", "new")).toThrow("<!-- bench:a -->");
  });
});

import { describe, expect, it } from "vitest";
import { importsOf, withoutTexts } from "./support/source.ts";

describe("what a source imports", () => {
  it.each([
    { name: "a named import", source: 'import { a } from "#x";', want: ["#x"] },
    { name: "a type, over lines", source: 'import type {\n  A,\n} from "./a.ts";\nlet b;', want: ["./a.ts"] },
    { name: "a re-export", source: 'export { type A } from "./a.ts";', want: ["./a.ts"] },
    { name: "for its effect alone", source: 'import "./a.ts";', want: ["./a.ts"] },
    { name: "on the way", source: 'const a = await import("./a.ts");', want: ["./a.ts"] },
    { name: "in a comment", source: '// import { a } from "#x";\n/* import "#y"; */', want: [] },
    { name: "in a text", source: "const a = 'import \"#x\"';", want: [] },
    { name: "in a program within a text", source: 'run(`\n  import a from "#x";\n`);', want: [] },
    { name: "two in a row", source: 'import a from "a";\nimport b from "b";', want: ["a", "b"] },
  ])("$name", ({ source, want }) => {
    expect(importsOf(source)).toEqual(want);
  });
});

describe("the code alone", () => {
  it.each([
    { name: "comments go", source: "a(); // Date\n/* Date */ b();", want: "a(); \n b();" },
    { name: "texts go", source: "a('Date', \"Date\");", want: 'a("", "");' },
    { name: "an escaped quote ends nothing", source: "a('\\'Date');", want: 'a("");' },
    {
      name: "a template's expressions stay",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the source of a template
      source: "`Date ${now({ a: `x${b}` })} Date`;",
      want: '""now({ a: ""b"" })"";',
    },
    { name: "a regular expression's quote opens no text", source: 'a = /["/]/g; b', want: 'a = ""g; b' },
    { name: "a division is none", source: "a = b / c; d / e", want: "a = b / c; d / e" },
  ])("$name", ({ source, want }) => {
    expect(withoutTexts(source)).toBe(want);
  });
});

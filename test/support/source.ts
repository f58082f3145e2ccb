/**
 * Just enough reading of TypeScript for checks on the sources: what a file imports, and its code without
 * comments and texts. Biome's cycle check does not see through `#room`, and a linter that reads none of our
 * files passes; a plain reader can be counted on, and counted.
 * @module
 */

/** Names of all modules a source imports, re-exports from, or loads with `import()`. */
export function importsOf(source: string): string[] {
  const code = scan(source, "keep names");
  const patterns = [
    /(?:^|[;}\n])\s*(?:import|export)\b[^;"'`()]*?\bfrom\s*["']([^"']+)["']/g,
    /(?:^|[;}\n])\s*import\s*["']([^"']+)["']/g,
    /\bimport\s*\(\s*["'`]([^"'`]+)["'`]/g,
  ];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1] ?? ""));
}

/** The code alone: comments, texts and regular expressions are blanks, template expressions stay. */
export function withoutTexts(source: string): string {
  return scan(source, "drop texts");
}

function scan(source: string, mode: "keep names" | "drop texts"): string {
  let out = "";
  let at = 0;
  /** Depth of braces inside each open template's expression, outermost first. */
  const templates: number[] = [];
  const text = (end: number): void => {
    out += mode === "keep names" && namesModule(out) ? source.slice(at, end) : '""';
    at = end;
  };
  while (at < source.length) {
    const char = source[at] ?? "";
    const pair = source.slice(at, at + 2);
    if (pair === "//") at = indexOrEnd(source, "\n", at);
    else if (pair === "/*") at = indexOrEnd(source, "*/", at) + 2;
    else if (char === '"' || char === "'") text(endOfQuoted(source, at, char));
    else if (char === "`") {
      text(endOfTemplatePart(source, at + 1));
      if (source.slice(at - 2, at) === "${") templates.push(0);
    } else if (char === "/" && startsRegExp(out)) text(endOfRegExp(source, at));
    else if (char === "}" && templates.at(-1) === 0) {
      templates.pop();
      text(endOfTemplatePart(source, at + 1));
      if (source.slice(at - 2, at) === "${") templates.push(0);
    } else {
      const depth = templates.at(-1);
      if (depth !== undefined && char === "{") templates[templates.length - 1] = depth + 1;
      if (depth !== undefined && char === "}") templates[templates.length - 1] = depth - 1;
      out += char;
      at += 1;
    }
  }
  return out;
}

/** Whether the text that comes next is the name of a module: others may hold whole programs. */
function namesModule(before: string): boolean {
  return /\b(?:from|import|import\s*\()\s*$/.test(before.slice(-40));
}

function indexOrEnd(source: string, what: string, from: number): number {
  const found = source.indexOf(what, from);
  return found < 0 ? source.length : found;
}

function endOfQuoted(source: string, start: number, quote: string): number {
  let at = start + 1;
  while (at < source.length && source[at] !== quote && source[at] !== "\n") at += source[at] === "\\" ? 2 : 1;
  return at + 1;
}

/** Behind the closing back-quote, or behind the `${` that comes first. */
function endOfTemplatePart(source: string, start: number): number {
  let at = start;
  while (at < source.length && source[at] !== "`") {
    if (source.startsWith("${", at)) return at + 2;
    at += source[at] === "\\" ? 2 : 1;
  }
  return at + 1;
}

/** A slash divides behind a value and opens a regular expression elsewhere. */
function startsRegExp(before: string): boolean {
  const trimmed = before.trimEnd();
  return /(?:^|[(,=:[!&|?{};+\-*%<>~^])$/.test(trimmed) || /\b(?:return|typeof|case|in|of)$/.test(trimmed);
}

function endOfRegExp(source: string, start: number): number {
  let at = start + 1;
  let inClass = false;
  while (at < source.length && source[at] !== "\n" && (inClass || source[at] !== "/")) {
    if (source[at] === "[") inClass = true;
    if (source[at] === "]") inClass = false;
    at += source[at] === "\\" ? 2 : 1;
  }
  return at + 1;
}

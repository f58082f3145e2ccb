import type { IncomingHttpHeaders } from "node:http";
import type { Condition } from "#proto";
import { Problem } from "./problem.ts";

/**
 * `If-Match` and `If-None-Match` (RFC 9110, 13.1): `*`, or a list of quoted revisions; `W/` in front of one
 * is ignored, since revisions are exact. An entity tag that is no revision is allowed and matches nothing.
 * Revision 0 stands for "absent", as everywhere in the API.
 * @throws Problem bad_request where a value has no quotes, or the list is none
 */
export function parseConditions(headers: IncomingHttpHeaders): Condition | undefined {
  const match = headers["if-match"];
  const noneMatch = headers["if-none-match"];
  if (match === undefined && noneMatch === undefined) return undefined;
  return {
    ...(match === undefined ? {} : { match: parseTags("If-Match", match) }),
    ...(noneMatch === undefined ? {} : { noneMatch: parseTags("If-None-Match", noneMatch) }),
  };
}

/** Does `revision` (0: absent) satisfy one header's list? */
export function matches(tags: "any" | readonly number[], revision: number): boolean {
  return tags === "any" ? revision !== 0 : tags.includes(revision);
}

const tag = /[ \t]*(?:W\/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*(,|$)/y;

function parseTags(header: string, text: string): "any" | number[] {
  if (text.trim() === "*") return "any";
  const revisions: number[] = [];
  tag.lastIndex = 0;
  for (;;) {
    const found = tag.exec(text);
    if (found === null) throw new Problem("bad_request", `${header} must be * or a list of quoted revisions`);
    const revision = revisionOf(found[1] ?? "");
    if (revision !== undefined) revisions.push(revision);
    if (found[2] === "") return revisions;
  }
}

function revisionOf(text: string): number | undefined {
  const revision = /^(0|[1-9]\d{0,15})$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(revision) ? revision : undefined;
}

import { createHash, timingSafeEqual } from "node:crypto";
import { Problem } from "./problem.ts";

const levels = ["read", "write", "admin"] as const;
/** Each includes the ones before it. */
export type AccessLevel = (typeof levels)[number];

export interface TokenRule {
  /** SHA-256 of the token: the token itself is not kept. */
  readonly digest: Buffer;
  readonly level: AccessLevel;
  /** Keys must begin with it; absent: all keys, and the resources that are not keys. */
  readonly prefix?: Buffer;
}

/**
 * Reads a token file: lines `TOKEN read|write|admin [PREFIX]`, blanks between; empty lines and lines that
 * begin with `#` are skipped.
 * @returns text that names the line when one is bad; never the token
 */
export function parseTokenFile(text: string): TokenRule[] | string {
  const rules: TokenRule[] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [token = "", level = "", prefix, ...rest] = line.trim().split(/[ \t]+/);
    const known = levels.find((candidate) => candidate === level);
    if (known === undefined) return `line ${i + 1}: the second word must be read, write or admin`;
    if (rest.length > 0) return `line ${i + 1}: more than TOKEN, level and PREFIX`;
    const rule = { digest: digestOf(token), level: known };
    if (rules.some((other) => other.digest.equals(rule.digest)))
      return `line ${i + 1}: the token stands twice`;
    rules.push(prefix === undefined ? rule : { ...rule, prefix: Buffer.from(prefix) });
  }
  return rules.length === 0 ? "there is no token in it" : rules;
}

/** What a request's token lets it do. */
export interface Grant {
  readonly level: AccessLevel;
  readonly prefix?: Buffer;
}

/** Without a token file anybody may do all. */
export const fullGrant: Grant = { level: "admin" };

/** @throws Problem unauthenticated */
export function authenticate(rules: readonly TokenRule[], authorization: string | undefined): Grant {
  const presented = /^bearer +(\S+) *$/i.exec(authorization ?? "")?.[1];
  const found = presented === undefined ? undefined : findRule(rules, presented);
  if (found === undefined) {
    throw new Problem(
      "unauthenticated",
      presented === undefined ? "send Authorization: Bearer TOKEN" : "the token is not known",
      { headers: ["WWW-Authenticate", "Bearer"] },
    );
  }
  return found;
}

/** Compares with every rule, in a time that does not depend on which one it is. */
function findRule(rules: readonly TokenRule[], token: string): TokenRule | undefined {
  const digest = digestOf(token);
  let found: TokenRule | undefined;
  for (const rule of rules) if (timingSafeEqual(rule.digest, digest)) found = rule;
  return found;
}

/**
 * @param key - the key that is touched; absent for what is no key, which a token with a prefix may not see
 * @throws Problem forbidden
 */
export function authorise(grant: Grant, wanted: AccessLevel, key?: Uint8Array): void {
  if (levels.indexOf(grant.level) < levels.indexOf(wanted)) {
    throw new Problem("forbidden", `the token allows ${grant.level}, this needs ${wanted}`);
  }
  const { prefix } = grant;
  if (prefix === undefined) return;
  const inside = key !== undefined && prefix.equals(key.subarray(0, prefix.length));
  if (!inside) throw new Problem("forbidden", "the token is for keys of its prefix alone");
}

function digestOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

import { type Code, errorCodes } from "#proto";
import { type Json, ref, text, whole } from "./openapi-schemas.ts";

export function listOf(name: string): Json {
  return {
    type: "object",
    required: ["items", "cursor"],
    properties: { items: { type: "array", items: ref(name) }, cursor: { type: ["string", "null"] } },
  };
}

export function query(name: string, schema: Json, description: string): Json {
  return { name, in: "query", schema, description };
}

export function header(name: string, description: string): Json {
  return { name, in: "header", schema: text, description };
}

export const keyQuery: Json = query(
  "key",
  text,
  "The key, for those that URL libraries would rewrite in a path.",
);
export const timeout: Json = query(
  "timeout",
  { ...text, default: "5s" },
  "Such as 500ms or 5s; at most 60s.",
);

export const servedHeaders: Json = {
  "Kvorum-Request-Id": { schema: text, description: "The caller's X-Request-Id if it sent one." },
  "Kvorum-Served-By": { schema: text, description: "The node whose answer this is." },
  "Kvorum-Shard": { schema: text },
  "Server-Timing": { schema: text, description: "With Kvorum-Trace: 1." },
};

export const problemResponse: Json = {
  description: "An error",
  headers: {
    ...servedHeaders,
    "Kvorum-Code": { schema: text, description: "The code, for HEAD." },
    "Retry-After": { schema: whole },
  },
  content: { "application/problem+json": { schema: ref("Problem") } },
};

export function json(description: string, schema: Json, headers: Json = {}): Json {
  return {
    description,
    headers: { ...servedHeaders, ...headers },
    content: { "application/json": { schema } },
  };
}

/** Whatever goes wrong has one shape; the codes say which. */
export function responses(good: Json, ...codes: readonly Code[]): Json {
  const bad = new Map<string, Code[]>();
  for (const code of codes) {
    const status = String(errorCodes[code].status);
    bad.set(status, [...(bad.get(status) ?? []), code]);
  }
  const problems = [...bad].map(([status, list]) => [
    status,
    { ...problemResponse, description: `\`${list.join("`, `")}\`` },
  ]);
  return { ...good, ...Object.fromEntries(problems) };
}

export const everywhere: readonly Code[] = [
  "bad_request",
  "bad_parameter",
  "unauthenticated",
  "forbidden",
  "uri_too_long",
  "headers_too_large",
  "internal",
  "unavailable",
];

import { type Code, errorCodes } from "#proto";

/** What an error means and what to do about it, for people. docs/errors.md and /docs/errors are made of it. */
export const errorTexts: Readonly<Record<Code, string>> = {
  bad_request:
    "The request itself is wrong: a badly escaped path, a condition without quotes, a body where none fits. `detail` says which part. Sending it again does not help.",
  key_empty: "A key has at least one byte. `/v1/kv/` and `/v1/kv` without `?key=` name none.",
  key_too_large: "Keys have at most 4,096 bytes, counted after percent-decoding.",
  bad_parameter:
    "A query parameter, a header that works as one, a setting or a field of a JSON body is unknown, missing, given twice, or has a value that will not do. `detail` names it.",
  unauthenticated:
    "This server has a token file. Send `Authorization: Bearer TOKEN` with a token that stands in it (`KVORUM_TOKEN` for the command).",
  forbidden:
    "The token does not allow this, or the key lies outside its prefix; or a web page of another origin, or a `Host` that is none of this server's, is asking (`--cors-origin`, `--host`).",
  not_found: "There is no such key, node, shard or operation at present.",
  no_such_route: "No resource has this path. `/openapi.json` lists all there are.",
  no_such_keyspace: "The keyspace does not exist. `GET /v1/admin/keyspaces` lists them.",
  method_not_allowed: "The resource exists but does not take this method. `Allow` lists those it takes.",
  not_acceptable: "`Accept` excludes every type in which this resource can be given.",
  cross_shard:
    "A transaction's keys are not all in one shard. In hash keyspaces give them the same `{tag}`; `detail` names the shards.",
  not_a_number: "The value cannot be incremented: it is not a whole number in decimal text.",
  out_of_range: "The result would lie beyond ±(2^53 − 1).",
  idempotency_expired:
    "The record of this `Idempotency-Key` is no longer kept, so whether the request was applied cannot be told. It is never applied again under this id.",
  conflict:
    "Something that exists, or has changed since, is in the way; `detail` names it. A plan that no longer fits the cluster: make a new one.",
  blocked:
    "The work cannot begin, and nothing of it was begun. `blockers` says, by shard and node, what would have to change first.",
  compacted: "The history from that token on is no longer kept. Read the present state and go on from there.",
  precondition_failed:
    "`If-Match` or `If-None-Match` does not hold. `ETag` (and `revision`) tell the present revision; without them the key does not exist.",
  value_too_large: "Values have at most `max_value_bytes` (1 MiB unless set otherwise).",
  request_too_large:
    "The request as a whole is too large: split it. Bodies of the admin API have at most 64 KiB.",
  uri_too_long: "The request line has more than 64 KiB.",
  unsupported_media_type:
    "The body's type or encoding is not supported here. Values may have any `Content-Type` but no `Content-Encoding`.",
  idempotency_conflict: "The `Idempotency-Key` was used for another request. Use a new one for each request.",
  too_busy:
    "Too many requests or bytes are in flight. Nothing was applied; try again after `Retry-After`, with growing pauses.",
  headers_too_large: "The headers have more than 64 KiB together.",
  internal:
    "A fault of the server, logged there under the `request_id`. A write may or may not have been applied.",
  unavailable:
    "No leader or no quorum can be reached, or this node is stopping. Writes say by `outcome` whether they can still be applied; mostly they were never proposed. Try again, on another node too.",
  timeout:
    "No answer came before the deadline (`?timeout=`). A write may have been applied, or may still be. Read the key, or make the write conditional before repeating it; a change of the cluster is safe to repeat under the same `Idempotency-Key`.",
  storage_full: "The disk of the shard's leader is nearly full; only deletes are taken.",
};

/** One section a code, in the order of the table. */
export function errorsMarkdown(): string {
  const sections = codes().map(({ code, status, title, retryable }) =>
    [
      `## ${code}`,
      `**${status}** · ${title} · ${retryable ? "worth a retry" : "no retry helps"}`,
      errorTexts[code],
    ].join("\n\n"),
  );
  return `${[
    "# Errors",
    "Every error is `application/problem+json` (RFC 9457) with these codes, which stay as they are: recognise errors by `code`, never by their text. The code is in the header `Kvorum-Code` too. On each failed write `outcome` says `not_applied` (it was not, and never will be) or `unknown`.",
    ...sections,
  ].join("\n\n")}\n`;
}

export function errorsPage(): string {
  const sections = codes().map(
    ({ code, status, title, retryable }) =>
      `<h2 id="${code}">${code}</h2><p><b>${status}</b> · ${escapeHtml(title)} · ${
        retryable ? "worth a retry" : "no retry helps"
      }</p><p>${escapeHtml(errorTexts[code]).replace(/`([^`]*)`/g, "<code>$1</code>")}</p>`,
  );
  return page(
    "Kvorum: errors",
    `<h1>Errors</h1><p><a href="/docs">Documentation</a></p>${sections.join("\n")}`,
  );
}

export function docsPage(version: string): string {
  return page(
    "Kvorum: documentation",
    `<h1>Kvorum ${escapeHtml(version)}</h1><ul>
<li><a href="/openapi.json">The HTTP API as an OpenAPI document</a></li>
<li><a href="/docs/errors">Errors, what they mean and what to do</a></li>
<li><a href="/metrics">Metrics of this node</a></li>
</ul>`,
  );
}

function codes(): { code: Code; status: number; title: string; retryable: boolean }[] {
  return (Object.keys(errorCodes) as Code[]).map((code) => ({ code, ...errorCodes[code] }));
}

function page(title: string, body: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escapeHtml(title)}</title><style>body{font:16px/1.5 system-ui;max-width:44rem;margin:2rem auto;padding:0 1rem}code{background:#8882}</style>${body}</html>\n`;
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}

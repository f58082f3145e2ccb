import { UsageError } from "../config.ts";
import type { HttpReply } from "../http-request.ts";
import type { Context, Run } from "./command.ts";
import { openApi } from "./http.ts";
import { exitCodes } from "./outcome.ts";
import {
  consistency,
  contentType,
  file,
  idempotencyId,
  ifAbsent,
  ifRevision,
  json,
  maxStaleness,
  minRevision,
  ttl,
} from "./settings.ts";

const maxKeyBytes = 4096;

/** `kvorum put` */
export const put: Run = async (context) => {
  const { values, io } = context;
  const body = await readValue(context);
  const ttlMs = values.get(ttl);
  const type = values.get(contentType);
  const reply = await openApi(values).call({
    method: "PUT",
    ...resourceOf(context),
    query: { ...resourceOf(context).query, ...(ttlMs === undefined ? {} : { ttl: `${ttlMs}ms` }) },
    headers: { ...conditionsOf(context), ...(type === undefined ? {} : { "content-type": type }) },
    body,
  });
  const answer = answerOf(reply);
  io.out(values.get(json, false) ? `${JSON.stringify(answer)}\n` : `revision ${answer["revision"]}\n`);
  return exitCodes.ok;
};

/** `kvorum get` */
export const get: Run = async (context) => {
  const { values, args, io } = context;
  const stalenessMs = values.get(maxStaleness);
  const revision = values.get(minRevision);
  const level = values.get(consistency);
  const reply = await openApi(values).call({
    method: "GET",
    ...resourceOf(context),
    query: {
      ...resourceOf(context).query,
      ...(level === undefined ? {} : { consistency: level }),
      ...(stalenessMs === undefined ? {} : { max_staleness: `${stalenessMs}ms` }),
      ...(revision === undefined ? {} : { min_revision: String(revision) }),
    },
  });
  if (values.get(json, false)) io.out(`${JSON.stringify(itemOf(args[0] ?? "", reply))}\n`);
  else {
    io.out(reply.body);
    if (io.outIsTerminal) io.out("\n");
  }
  return exitCodes.ok;
};

/** `kvorum del`; a key that was absent is deleted all the same. */
export const del: Run = async (context) => {
  const { values, io } = context;
  const reply = await openApi(values).call({
    method: "DELETE",
    ...resourceOf(context),
    headers: conditionsOf(context),
  });
  const answer = answerOf(reply);
  const words = answer["deleted"] === false ? "was absent" : "deleted";
  io.out(values.get(json, false) ? `${JSON.stringify(answer)}\n` : `${words}\n`);
  return exitCodes.ok;
};

/** The key as a path; as a parameter where URL libraries would take the path for a way up. */
function resourceOf({ args }: Context): {
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
} {
  const key = args[0] ?? "";
  const bytes = Buffer.byteLength(key);
  if (bytes === 0 || bytes > maxKeyBytes)
    throw new UsageError(`key: expected 1 to ${maxKeyBytes} bytes, got ${bytes}`);
  if (key === "." || key === "..") return { path: "/v1/kv", query: { key } };
  return { path: `/v1/kv/${encodeURIComponent(key)}` };
}

async function readValue({ values, args, io }: Context): Promise<Uint8Array> {
  const path = values.get(file);
  const argument = args[1];
  if (argument !== undefined && path !== undefined)
    throw new UsageError("give the value as an argument or with --file, not both");
  if (argument !== undefined) return new TextEncoder().encode(argument);
  if (path === undefined) return io.readInput();
  try {
    return await io.readFile(path);
  } catch (error) {
    throw new UsageError(`--file: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function conditionsOf({ values }: Context): Readonly<Record<string, string>> {
  const revision = values.get(ifRevision);
  const absent = values.get(ifAbsent, false) || revision === 0;
  if (absent && revision !== undefined && revision !== 0) {
    throw new UsageError("--if-absent and --if-revision contradict each other");
  }
  const id = values.get(idempotencyId);
  return {
    ...(absent ? { "if-none-match": "*" } : revision === undefined ? {} : { "if-match": `"${revision}"` }),
    ...(id === undefined ? {} : { "idempotency-key": id }),
  };
}

function answerOf(reply: HttpReply): Readonly<Record<string, unknown>> {
  const parsed: unknown = JSON.parse(new TextDecoder().decode(reply.body));
  return typeof parsed === "object" && parsed !== null ? { ...parsed } : {};
}

/** One row as a scan would show it: text where it is UTF-8, else base64. */
function itemOf(key: string, reply: HttpReply): object {
  const expires = reply.headers["kvorum-expires"];
  return {
    key,
    value: textOrBase64(reply.body),
    revision: Number(/\d+/.exec(reply.headers.etag ?? "")?.[0] ?? Number.NaN),
    content_type: reply.headers["content-type"],
    ...(expires === undefined ? {} : { expires }),
  };
}

function textOrBase64(bytes: Uint8Array): string | { readonly base64: string } {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { base64: Buffer.from(bytes).toString("base64") };
  }
}

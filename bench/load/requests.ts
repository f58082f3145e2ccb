/** Requests as bytes, made once and only patched afterwards. @module */
import type { Random } from "#runtime";

export type System = "kvorum" | "etcd";
export type Workload = "put" | "get" | "stale";

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Keys are `bench/` and six digits, so that they have one length, also in base64. */
export const keysMax = 1_000_000;
/** Different values: enough that no compression on disk gains by their likeness. */
const valueCount = 1024;

/** All keys and values of a run in the form a system's requests hold them. */
export class Corpus {
  readonly keyLength: number;
  readonly valueLength: number;
  readonly valueCount: number = valueCount;
  readonly #keys: Buffer;
  readonly #values: Buffer;

  constructor(system: System, keys: number, valueBytes: number, random: Random) {
    const encode = (bytes: Buffer): Buffer =>
      system === "etcd" ? Buffer.from(bytes.toString("base64")) : bytes;
    const key = (at: number): Buffer => encode(Buffer.from(keyName(at)));
    const value = (): Buffer => encode(Buffer.from(random.hex(valueBytes), "hex"));
    this.#keys = Buffer.concat(Array.from({ length: keys }, (_, at) => key(at)));
    this.#values = Buffer.concat(Array.from({ length: valueCount }, value));
    this.keyLength = this.#keys.length / keys;
    this.valueLength = this.#values.length / valueCount;
  }

  copyKey(key: number, target: Buffer, at: number): void {
    this.#keys.copy(target, at, key * this.keyLength, (key + 1) * this.keyLength);
  }

  copyValue(value: number, target: Buffer, at: number): void {
    this.#values.copy(target, at, value * this.valueLength, (value + 1) * this.valueLength);
  }
}

export function keyName(at: number): string {
  return `bench/${String(at).padStart(6, "0")}`;
}

/** The requests of one connection. The buffer it hands out is the same each time: one in flight only. */
export class RequestTemplate {
  readonly #corpus: Corpus;
  readonly #bytes: Buffer;
  readonly #keyAt: number;
  /** Negative: it has no value. */
  readonly #valueAt: number;

  constructor(system: System, workload: Workload, { host, port }: HostPort, corpus: Corpus) {
    this.#corpus = corpus;
    // Characters that no other part of a request holds.
    const [key, value] = ["\x01".repeat(corpus.keyLength), "\x02".repeat(corpus.valueLength)];
    const at = `Host: ${host}:${port}\r\n`;
    const text =
      system === "etcd" ? etcdRequest(workload, at, key, value) : kvorumRequest(workload, at, key, value);
    this.#bytes = Buffer.from(text, "latin1");
    this.#keyAt = text.indexOf(key);
    this.#valueAt = text.indexOf(value);
  }

  fill(key: number, value: number): Buffer {
    this.#corpus.copyKey(key, this.#bytes, this.#keyAt);
    if (this.#valueAt >= 0) this.#corpus.copyValue(value, this.#bytes, this.#valueAt);
    return this.#bytes;
  }
}

function kvorumRequest(workload: Workload, host: string, key: string, value: string): string {
  if (workload === "put") {
    return `PUT /v1/kv/${key} HTTP/1.1\r\n${host}Content-Length: ${value.length}\r\n\r\n${value}`;
  }
  const query = workload === "stale" ? "?consistency=stale" : "";
  return `GET /v1/kv/${key}${query} HTTP/1.1\r\n${host}\r\n`;
}

function etcdRequest(workload: Workload, host: string, key: string, value: string): string {
  const body =
    workload === "put"
      ? `{"key":"${key}","value":"${value}"}`
      : `{"key":"${key}"${workload === "stale" ? ',"serializable":true' : ""}}`;
  const path = workload === "put" ? "/v3/kv/put" : "/v3/kv/range";
  const headers = `${host}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`;
  return `POST ${path} HTTP/1.1\r\n${headers}\r\n${body}`;
}

/** Whether the answer is a success, with a value where one was asked for: a fast error is no result. */
export function isAnswer(
  system: System,
  workload: Workload,
  status: number,
  bytes: number,
  value: number,
): boolean {
  if (status !== 200) return false;
  if (workload === "put") return bytes > 0;
  return system === "etcd" ? bytes > value : bytes === value;
}

import { connect } from "node:net";
import type { AdminRequest } from "#proto";
import {
  type AdminOutcome,
  type ReadIntent,
  type ReadOutcome,
  RouteCache,
  Router,
  type WriteIntent,
  type WriteOutcome,
} from "#router/routing";
import { seededRandom, silentLogger, VirtualClock } from "#runtime";
import { HttpServer, type HttpServerOptions } from "./server.ts";

/** For the tests of this room: a server over a router that answers as told and remembers what it was asked. */
export class HttpBench {
  readonly writes: WriteIntent[] = [];
  readonly reads: ReadIntent[] = [];
  readonly adminRequests: AdminRequest[] = [];
  /** Undefined: no answer yet. */
  onWrite: (intent: WriteIntent) => WriteOutcome | undefined = () => ({
    kind: "put",
    revision: 42,
    shard: 7,
    servedBy: 2,
    attempts: 1,
  });
  onRead: (intent: ReadIntent) => ReadOutcome | undefined = () => ({
    kind: "found",
    stored: { revision: 42, contentType: "text/plain", value: Buffer.from("value") },
    shard: 7,
    servedBy: 2,
    attempts: 1,
  });
  onAdmin: (request: AdminRequest) => AdminOutcome = () => ({
    kind: "ok",
    status: 200,
    body: {},
    servedBy: 1,
  });
  readonly server: HttpServer;
  #unanswered: (outcome: ReadOutcome) => void = () => {};

  constructor(options: Partial<HttpServerOptions> = {}) {
    const clock = new VirtualClock();
    const random = seededRandom(1);
    const rpc = { call: () => {}, serve: () => {} };
    const common = { clock, random, rpc, logger: silentLogger };
    const cache = new RouteCache({ ...common, seeds: () => [], self: "1" });
    cache.applyTable({
      clusterId: "c".repeat(32),
      version: { term: 1, sequence: 1 },
      placementMembers: [1],
      nodes: [1, 2].map((id) => ({ id, name: `n${id}`, http: `127.0.0.1:${7400 + id}` })),
      keyspaces: [{ id: 1, name: "default", partition: "hash", slots: 256, replicas: 1 }],
      routes: [],
    });
    const { stats } = new Router({ ...common, cache });
    this.server = new HttpServer({
      name: "n1",
      version: "0.0.1",
      router: {
        stats,
        inFlight: 0,
        inFlightBytes: 0,
        write: (intent, done) => {
          this.writes.push(intent);
          const outcome = this.onWrite(intent);
          if (outcome !== undefined) setImmediate(() => done(outcome));
        },
        read: (intent, done) => {
          this.reads.push(intent);
          const outcome = this.onRead(intent);
          if (outcome === undefined) this.#unanswered = done;
          else setImmediate(() => done(outcome));
        },
        admin: (request, _timeoutMs, done) => {
          this.adminRequests.push(request);
          const outcome = this.onAdmin(request);
          setImmediate(() => done(outcome));
        },
      },
      cache,
      logger: silentLogger,
      random,
      limits: () => ({ maxValueBytes: 1024 * 1024, maxInflightBytes: 4 * 1024 * 1024 }),
      readiness: () => ({ ready: true, reasons: [] }),
      collect: () => [],
      hosts: [],
      corsOrigins: [],
      ...options,
    });
  }

  /** Answers the last read that got no answer. */
  answerRead(outcome: ReadOutcome): void {
    this.#unanswered(outcome);
  }
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Sends `text` as it is over a socket of its own and reads one answer. */
export function rawRequest(port: number, text: string | Buffer): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect({ host: "127.0.0.1", port }, () => socket.write(text));
    const finish = (): void => {
      const answer = parseAnswer(Buffer.concat(chunks));
      if (answer === undefined) return;
      socket.destroy();
      resolve(answer);
    };
    socket.on("data", (chunk) => {
      chunks.push(chunk);
      finish();
    });
    socket.on("end", () => reject(new Error(`no whole answer: ${Buffer.concat(chunks).toString()}`)));
    socket.on("error", reject);
  });
}

function parseAnswer(bytes: Buffer): RawAnswer | undefined {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const [line = "", ...lines] = bytes.toString("latin1", 0, end).split("\r\n");
  const headers: Record<string, string> = {};
  for (const header of lines) {
    const colon = header.indexOf(":");
    headers[header.slice(0, colon).toLowerCase()] = header.slice(colon + 1).trim();
  }
  const body = bytes.subarray(end + 4);
  if (body.length < Number(headers["content-length"] ?? 0)) return undefined;
  return { status: Number(line.split(" ")[1]), headers, body: body.toString() };
}

import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HttpClient } from "./http.ts";
import { Recorder } from "./recorder.ts";

/** A checker that never fails proves nothing: here are servers that lie. */
let server: Server;
let client: HttpClient;
let recorder: Recorder;
/** Answers in order of the requests. */
let answers: ((response: ServerResponse) => void)[];

const json =
  (status: number, body: unknown, headers: Record<string, string> = {}) =>
  (to: ServerResponse) => {
    const type = status < 400 ? "application/json" : "application/problem+json";
    to.writeHead(status, { "Content-Type": type, ...headers }).end(JSON.stringify(body));
  };
const value =
  (text: string, revision: number, headers: Record<string, string> = {}) =>
  (to: ServerResponse) => {
    to.writeHead(200, { ETag: `"${revision}"`, ...headers }).end(text);
  };
const problem = (status: number, code: string, more: object = {}) =>
  json(status, { code, ...more }, { "Kvorum-Code": code });
const put = () => recorder.call(client, "c", "k", { kind: "put", value: recorder.newValue() });
const get = () => recorder.call(client, "c", "k", { kind: "get" });

beforeEach(async () => {
  recorder = new Recorder();
  answers = [];
  server = createServer((request, response) => {
    request.resume().once("end", () => answers.shift()?.(response));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  client = new HttpClient("n1", (server.address() as AddressInfo).port);
});

afterEach(() => {
  client.close();
  server.closeAllConnections();
  server.close();
});

describe("the recorder finds fault with", () => {
  it.each([
    {
      name: "an acknowledged write that is gone",
      calls: [put, get],
      told: [json(200, { revision: 5 }), problem(404, "not_found")],
      want: /k: not linearizable/,
    },
    {
      name: "an old value after a newer one was acknowledged",
      calls: [put, put, get],
      told: [json(200, { revision: 5 }), json(200, { revision: 6 }), value("v1", 5)],
      want: /k: not linearizable/,
    },
    {
      name: "a write that was said not to be applied, and is read",
      calls: [put, get],
      told: [problem(503, "unavailable", { outcome: "not_applied" }), value("v1", 5)],
      want: /R24/,
    },
    {
      name: "a write that took effect twice",
      calls: [put, get, get],
      told: [problem(504, "timeout", { outcome: "unknown" }), value("v1", 5), value("v1", 7)],
      want: /applied twice/,
    },
    {
      name: "a failed write that does not say its outcome",
      calls: [put],
      told: [problem(503, "unavailable")],
      want: /without its outcome/,
    },
    {
      name: "an error that a cluster in trouble has no reason for",
      calls: [get],
      told: [problem(500, "internal")],
      want: /unexpected answer/,
    },
  ])("$name", async ({ calls, told, want }) => {
    answers = [...told];
    for (const call of calls) await call();
    expect(recorder.verdict().join("\n")).toMatch(want);
  });
});

it("the recorder has nothing against unknown outcomes, whichever they were", async () => {
  const unknown = problem(504, "timeout", { outcome: "unknown" });
  answers = [
    json(200, { revision: 5 }),
    unknown,
    unknown,
    value("v2", 6),
    (to) => to.destroy(),
    value("v4", 9),
  ];
  for (const call of [put, put, put, get, put, get]) await call();
  expect(recorder.verdict()).toEqual([]);
  expect(recorder.acknowledged).toBe(1);
});

it("a stale answer may be as old as it says, and no older", async () => {
  const stale = () => recorder.call(client, "c", "k", { kind: "staleGet" });
  answers = [
    json(200, { revision: 5 }),
    json(200, { revision: 6 }),
    value("v1", 5, { "Kvorum-Staleness-Ms": "60000" }),
  ];
  for (const call of [put, put, stale]) await call();
  expect(recorder.verdict()).toEqual([]);
  answers = [value("v1", 5, { "Kvorum-Staleness-Ms": "0" })];
  await stale();
  expect(recorder.verdict().join("\n")).toMatch(/not linearizable/);
});

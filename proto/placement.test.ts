import { describe, expect, it } from "vitest";
import { encode, ProtocolError } from "./codec.ts";
import {
  decodeConfContext,
  decodeJoinReply,
  decodeJoinRequest,
  decodeNodeReport,
  decodeRegisterReply,
  decodeRegisterRequest,
  decodeReportReply,
  encodeConfContext,
  encodeJoinReply,
  encodeJoinRequest,
  encodeRegisterReply,
  encodeRegisterRequest,
  encodeReportReply,
  type JoinReply,
  type JoinRequest,
  type RegisterReply,
  type ReportReply,
  replicasOfConf,
} from "./placement.ts";
import { changeSettings, defaultSettings } from "./settings.ts";

const settings = { version: 3, values: { ...defaultSettings, replicas: 5 } };
const shard = {
  id: 4,
  keyspace: 1,
  start: Uint8Array.of(0, 16),
  end: new Uint8Array(0),
  epoch: { version: 1, confVersion: 2 },
  replicas: [{ replicaId: 9, nodeId: 2, role: "voter" as const }],
};
const keyspace = { id: 1, name: "default", partition: "hash" as const, slots: 256, replicas: 3 };

const replies: readonly ReportReply[] = [
  { kind: "not_leader" },
  { kind: "not_leader", leader: 3 },
  { kind: "not_a_member", detail: "gone" },
  {
    kind: "ok",
    term: 7,
    wantFull: false,
    standing: { membership: "draining", clockBad: true },
    clusterVersion: 1,
    settings,
    ask: [4],
    members: [1, 2, 3],
    orders: [
      { kind: "create", shard, keyspace, replicaId: 9, index: 10, term: 5, campaign: true },
      { kind: "transfer", group: 4, to: 9 },
      {
        kind: "conf",
        group: 4,
        change: {
          changes: [{ kind: "learner", id: 12 }],
          joint: false,
          context: { expectedConfVersion: 2, replicas: [{ replicaId: 12, nodeId: 5 }] },
        },
      },
      { kind: "suggest", group: 4, by: "load", ways: 3, partition: "hash", slots: 256 },
      {
        kind: "split",
        group: 4,
        split: {
          expected: { version: 1, confVersion: 2 },
          partition: "range",
          boundaries: [Uint8Array.of(0, 32)],
          children: [{ id: 5, replicas: [{ parent: 9, child: 10 }] }],
        },
      },
      { kind: "destroy", group: 4, replicaId: 9, reason: "removed" },
    ],
  },
];

const joinRequests: readonly JoinRequest[] = [
  { kind: "probe" },
  { kind: "router" },
  { kind: "node", nonce: "abc", name: "n1", http: "h:1", labels: { zone: "a" }, version: "1" },
];

const joinReplies: readonly JoinReply[] = [
  { kind: "member", clusterId: "c" },
  { kind: "member", clusterId: "c", leader: 2 },
  { kind: "joined", clusterId: "c", nodeId: 5, members: [1] },
  { kind: "refused", clusterId: "c", detail: "taken" },
  { kind: "router", clusterId: "c", members: [1, 2], settings },
  {
    kind: "router",
    clusterId: "c",
    members: [],
    settings,
    routes: {
      clusterId: "c",
      version: { term: 1, sequence: 2 },
      placementMembers: [1],
      nodes: [{ id: 1, name: "n1", http: "h:1" }],
      keyspaces: [keyspace],
      routes: [{ shard, leader: 2 }],
    },
  },
];

const registers: readonly RegisterReply[] = [
  { kind: "ok" },
  { kind: "ok", settings },
  { kind: "not_leader" },
];

/** Bytes decoded are views of another class; their content counts. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_key, v) => (v instanceof Uint8Array ? Buffer.from(v).toString("hex") : v)),
  );
}

describe("placement's messages come through whole", () => {
  it.each(replies)("report reply %#", (reply) => {
    expect(plain(decodeReportReply(encodeReportReply(reply)))).toEqual(plain(reply));
  });
  it.each(joinRequests)("join request %#", (request) => {
    expect(decodeJoinRequest(encodeJoinRequest(request))).toEqual(request);
  });
  it.each(joinReplies)("join reply %#", (reply) => {
    expect(plain(decodeJoinReply(encodeJoinReply(reply)))).toEqual(plain(reply));
  });
  it.each(registers)("register reply %#", (reply) => {
    expect(decodeRegisterReply(encodeRegisterReply(reply))).toEqual(reply);
  });
  it("register request, configuration context", () => {
    const request = { routes: { term: 2, sequence: 9 }, settingsVersion: 4 };
    expect(decodeRegisterRequest(encodeRegisterRequest(request))).toEqual(request);
    const context = { expectedConfVersion: 3, replicas: [{ replicaId: 1, nodeId: 2 }] };
    expect(decodeConfContext(encodeConfContext(context))).toEqual(context);
  });
});

it.each([
  { name: "no MessagePack", bytes: Uint8Array.of(0xc1) },
  { name: "no array", bytes: encode({ a: 1 }) },
  { name: "too few fields", bytes: encode([]) },
  { name: "a wrong type", bytes: encode(["joined", 7]) },
])("what is malformed is refused by name: $name", ({ bytes }) => {
  for (const decode of [decodeJoinReply, decodeJoinRequest, decodeNodeReport, decodeReportReply]) {
    expect(() => decode(bytes)).toThrow(ProtocolError);
  }
});

describe("roles in a configuration", () => {
  const known = [1, 2, 3].map((id) => ({ replicaId: id, nodeId: id + 10 }));
  const sets = { voters: [1, 2, 3], outgoing: [], learners: [], learnersNext: [] };

  it.each([
    { name: "at rest", conf: sets, roles: ["voter", "voter", "voter"] },
    {
      name: "a learner",
      conf: { ...sets, voters: [1, 2], learners: [3] },
      roles: ["voter", "voter", "learner"],
    },
    {
      name: "joint: one comes, one goes",
      conf: { ...sets, voters: [1, 3], outgoing: [1, 2] },
      roles: ["voter", "outgoing", "incoming"],
    },
    {
      name: "joint: a voter becomes a learner",
      conf: { ...sets, voters: [1, 2], outgoing: [1, 2, 3], learnersNext: [3] },
      roles: ["voter", "voter", "outgoing"],
    },
  ])("$name", ({ conf, roles }) => {
    expect(replicasOfConf(conf, known, [])?.map((r) => r.role)).toEqual(roles);
  });

  it("a member whose node nobody knows voids the change; who brings it in names the node", () => {
    const conf = { ...sets, voters: [1, 2, 4] };
    expect(replicasOfConf(conf, known, [])).toBeUndefined();
    const named = replicasOfConf(conf, known, [{ replicaId: 4, nodeId: 99 }]);
    expect(named?.find((r) => r.replicaId === 4)?.nodeId).toBe(99);
  });
});

describe("settings", () => {
  const refused: readonly { changes: Readonly<Record<string, unknown>>; want: RegExp }[] = [
    { changes: { nonsense: 1 }, want: /nonsense: there is no such setting/ },
    { changes: { replicas: 2 }, want: /replicas: must be one of 1, 3, 5/ },
    { changes: { max_value_bytes: 9 * 1024 * 1024 }, want: /max_value_bytes: must be a whole number/ },
    { changes: { merge_enabled: "yes" }, want: /merge_enabled: must be true or false/ },
    { changes: { watch_keep_ms: 999 }, want: /watch_keep_ms/ },
    { changes: { down_after_ms: 1_000 }, want: /down_after_ms: must not be below/ },
    { changes: { constructor: 1 }, want: /no such setting/ },
  ];

  it.each(refused)("$changes is refused", ({ changes, want }) => {
    expect(changeSettings(defaultSettings, changes)).toMatch(want);
  });

  it("what fits is taken, the rest stays", () => {
    expect(changeSettings(defaultSettings, { replicas: 5, rebalance_enabled: false })).toEqual({
      ...defaultSettings,
      replicas: 5,
      rebalance_enabled: false,
    });
  });
});

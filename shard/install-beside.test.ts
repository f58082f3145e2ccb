import { expect, it } from "vitest";
import { encodeCommand, encodeWriteRequest, firstLogIndex, firstLogTerm } from "#proto";
import { rigCommand } from "./rig.ts";
import { initialRows } from "./state-rows.ts";
import { confChange, ShardCluster } from "./testing/cluster.ts";

const none = new Uint8Array(0);

it("clearing a dead replica spares what a snapshot is putting there (R4, R34)", () => {
  const cluster = new ShardCluster({ seed: 1, nodes: 4, limits: { sliceRows: 2, snapshotChunkBytes: 300 } });
  const shard = cluster.create(1, [1, 2, 3], none, none);
  cluster.until("a leader", () => cluster.leaderOf(1) !== undefined);
  cluster.run(300);
  const leader = cluster.node(cluster.leaderOf(1) ?? 0);
  let answers = 0;
  for (let i = 0; i < 120; i++) {
    const command = rigCommand({
      key: Buffer.from(`p${i}`),
      version: shard.epoch.version,
      attempt: { sequence: i + 1, lowestUnanswered: 1, deadlineMicros: 2 ** 52 },
    });
    const body = encodeWriteRequest({ shard: 1, command: encodeCommand(command) });
    cluster.write(leader.id, body, () => {
      answers += 1;
    });
  }
  cluster.until("all is written", () => answers === 120);
  const replicaId = cluster.newReplica();
  const change = confChange([{ kind: "learner", id: replicaId }], false, {
    expectedConfVersion: shard.epoch.confVersion,
    replicas: [{ replicaId, nodeId: 4 }],
  });
  leader.host.proposeConfChange(1, change, () => {});
  const { host, engine } = cluster.node(4);
  const rows = () => engine.scan({ family: "data", start: none }, { limit: 1_000 }).rows.length / 2;
  const installing = () => (host.view(1) as unknown as { installing: boolean } | undefined)?.installing;
  cluster.until("half an install", () => installing() === true && rows() > 10);

  // An order that was long on its way makes, over the same keys, the first replica of a shard that is no more.
  let done = false;
  const replicas = [50, 51, 52].map((id, i) => ({
    replicaId: id,
    nodeId: [4, 1, 2][i] ?? 0,
    role: "voter" as const,
  }));
  host.create(
    {
      group: 2,
      replica: 50,
      conf: { voters: [50, 51, 52], outgoing: [], learners: [], learnersNext: [], autoLeave: false },
      index: firstLogIndex,
      term: firstLogTerm,
      rows: initialRows({ ...shard, id: 2, replicas }),
    },
    () => host.destroy(2, () => (done = true)),
  );
  cluster.until("its end", () => done);
  cluster.until("the install", () => installing() === false);
  cluster.run(1_000);
  expect(rows()).toBe(120);
  expect(cluster.machine(4, 1)?.stateHash()).toBe(cluster.machine(leader.id, 1)?.stateHash());
});

import { UsageError } from "../config.ts";
import { type Action, withActions } from "./actions.ts";
import { change } from "./changing.ts";
import type { Run } from "./command.ts";
import { type Document, fetchAll, printList } from "./documents.ts";
import { openApi } from "./http.ts";
import * as set from "./settings.ts";
import type { Column } from "./table.ts";

const columns: readonly Column<Document>[] = [
  { title: "NAME", cell: (keyspace) => keyspace["name"] },
  { title: "PARTITION", cell: (keyspace) => keyspace["partition"] },
  { title: "SLOTS", cell: (keyspace) => keyspace["slots"], right: true },
  { title: "SHARDS", cell: (keyspace) => keyspace["shards"], right: true },
  { title: "REPLICAS", cell: (keyspace) => keyspace["replicas"], right: true },
];

const list: Action = {
  flags: [],
  run: async (context) =>
    printList(context, columns, await fetchAll(openApi(context.values), "/v1/admin/keyspaces")),
};

const create: Action = {
  names: "name",
  flags: [set.keyspacePartition, set.keyspaceShards, set.slots, set.keyspaceReplicas],
  run: (context, name) => {
    const { values } = context;
    const body = {
      name,
      partition: values.get(set.keyspacePartition),
      slots: values.get(set.slots),
      shards: values.get(set.keyspaceShards),
      replicas: values.get(set.keyspaceReplicas),
    };
    return change(context, { method: "POST", path: "/v1/admin/keyspaces", body }, `keyspace ${name} is made`);
  },
};

const rm: Action = {
  names: "keyspace",
  flags: [set.yes, set.wait],
  run: (context, name) => {
    if (!context.values.get(set.yes, false)) {
      throw new UsageError(`keyspaces rm: all data of ${name} would be gone for good: say --yes`);
    }
    const path = `/v1/admin/keyspaces/${encodeURIComponent(name)}`;
    return change(context, { method: "DELETE", path }, `keyspace ${name} is removed`);
  },
};

/** `kvorum keyspaces [create|rm NAME]` */
export const keyspaces: Run = withActions("keyspaces", set.keyspaceActionSettings, list, { create, rm });

import { isName, type Membership } from "#proto";
import { type Applied, type CommandOf, done, nameRule, refused } from "./applied.ts";
import { beginJob, cancelJobOf } from "./apply-jobs.ts";
import type { Tables } from "./rows.ts";
import { findNode, groupsOn } from "./state.ts";

/** Commands about nodes. @module */

export function join(tables: Tables, c: CommandOf<"node.join">, stampMicros: number): Applied {
  const { state } = tables;
  const known = [...state.nodes.values()].find((node) => node.nonce === c.nonce);
  if (known !== undefined) {
    return known.name === c.node ? done(known.id) : refused(`this directory joined as ${known.name}`);
  }
  if (!isName(c.node)) return refused(`${JSON.stringify(c.node)} is not a name: ${nameRule}`);
  const holder = findNode(state, c.node);
  if (holder !== undefined) {
    // R1: with its disk it lost its votes; under its old id it could vote twice in a term.
    return refused(
      `the name ${c.node} belongs to node ${holder.id}, whose data this directory does not have: ` +
        `remove that node first, or join under another name`,
    );
  }
  const id = state.counters.node;
  tables.putCounters({ ...state.counters, node: id + 1 });
  tables.putNode({
    id,
    name: c.node,
    http: c.http,
    labels: c.labels,
    startLabels: c.labels,
    weight: 1,
    membership: "active",
    nonce: c.nonce,
    joinedMicros: stampMicros,
    version: c.version,
  });
  const reason = `${c.node} joined with an empty directory`;
  return done(id, { atMicros: stampMicros, kind: "node_joined", reason, node: id });
}

export function refresh(tables: Tables, c: CommandOf<"node.refresh">): Applied {
  const row = tables.state.nodes.get(c.id);
  if (row === undefined) return refused(`there is no node ${c.id}`);
  const labels = sameLabels(row.startLabels, c.labels) ? row.labels : c.labels;
  tables.putNode({ ...row, http: c.http, version: c.version, labels, startLabels: c.labels });
  return done();
}

export function sameLabels(
  a: Readonly<Record<string, string>>,
  b: Readonly<Record<string, string>>,
): boolean {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}

export function liveness(tables: Tables, c: CommandOf<"node.liveness">, stampMicros: number): Applied {
  const row = tables.state.nodes.get(c.id);
  if (row === undefined) return refused(`there is no node ${c.id}`);
  const { downSinceMicros, ...rest } = row;
  tables.putNode(c.down ? { ...rest, downSinceMicros: downSinceMicros ?? stampMicros } : rest);
  return done();
}

export function update(tables: Tables, c: CommandOf<"node.update">, stampMicros: number): Applied {
  const row = tables.state.nodes.get(c.id);
  if (row === undefined) return refused(`there is no node ${c.id}`);
  const labels = c.labels ?? row.labels;
  const weight = c.weight ?? row.weight;
  tables.putNode({ ...row, labels, weight });
  const shown = Object.entries(labels).map(([name, value]) => `${name}=${value}`);
  const reason = `${row.name} has labels ${shown.join(", ") || "none"} and weight ${weight}`;
  return beginJob(tables, { ...nothingToDo, kind: "update_node", reason, node: row.id }, stampMicros);
}

const nothingToDo = { shards: [], total: 0, tasks: [] };

/** From which memberships each may be reached. */
const before: Readonly<Record<Membership, readonly Membership[]>> = {
  active: ["active", "draining", "decommissioning", "decommissioned"],
  draining: ["active", "draining"],
  decommissioning: ["active", "draining"],
  decommissioned: ["decommissioning"],
};

export function changeMembership(
  tables: Tables,
  c: CommandOf<"node.membership">,
  stampMicros: number,
): Applied {
  const row = tables.state.nodes.get(c.id);
  if (row === undefined) return refused(`there is no node ${c.id}`);
  if (!before[c.membership].includes(row.membership)) {
    return refused(`${row.name} is ${row.membership}`);
  }
  const cancelled = cancelJobOf(tables, row.id, `another order: ${c.job.reason}`, stampMicros);
  const { drainUntilMicros: _, ...rest } = row;
  const until = c.untilMicros === undefined ? {} : { drainUntilMicros: c.untilMicros };
  tables.putNode({ ...rest, membership: c.membership, ...until });
  const begun = beginJob(tables, c.job, stampMicros);
  return { result: begun.result, events: [...cancelled, ...begun.events] };
}

export function deleteNode(tables: Tables, c: CommandOf<"node.delete">, stampMicros: number): Applied {
  const { state } = tables;
  const row = state.nodes.get(c.id);
  if (row === undefined) return refused(`there is no node ${c.id}`);
  const left = groupsOn(state, c.id).length;
  const empty = row.membership === "decommissioned" && left === 0;
  if (!empty && !(c.force && row.downSinceMicros !== undefined)) {
    return refused(`${row.name} is ${row.membership} with ${left} replicas`);
  }
  const cancelled = cancelJobOf(tables, row.id, "the node was deleted", stampMicros);
  tables.deleteNode(row);
  const event = { atMicros: stampMicros, kind: "node_deleted", reason: c.reason, node: c.id };
  return done(c.id, ...cancelled, event);
}

import type { AdminResponse } from "#proto";
import { mismatchDetail } from "../apply.ts";
import { operationStates } from "../state.ts";
import { setConfig } from "./config.ts";
import {
  type AdminContext,
  type Answer,
  type Handler,
  list,
  replayOf,
  takeNode,
  takeShard,
  viewing,
} from "./context.ts";
import { fingerprint } from "./fingerprint.ts";
import { createKeyspace, deleteKeyspace } from "./keyspaces.ts";
import { findShard, listShards } from "./lookup.ts";
import {
  decommissionNode,
  deleteNode,
  drainNode,
  patchNode,
  recommissionNode,
  undrainNode,
} from "./nodes.ts";
import { cancelOperation } from "./operations.ts";
import { Parameters, Refusal } from "./parameters.ts";
import { rebalance } from "./rebalance.ts";
import { mergeShards, moveReplica, scatterShard, splitShard, transferLeader } from "./shards.ts";
import { takeSnapshots } from "./snapshot.ts";
import {
  clusterView,
  eventView,
  jobView,
  keyspaceView,
  locateView,
  nodeView,
  operationView,
  shardView,
  whyView,
} from "./views.ts";

/** Answers one admin operation from a model that holds everything decided before it was asked. */
export function answerAdmin(
  context: AdminContext,
  operation: string,
  parameters: Readonly<Record<string, unknown>>,
  answer: Answer,
): void {
  const handler = handlers.get(operation);
  if (handler === undefined) {
    return answer({ kind: "error", code: "no_such_route", detail: `no admin operation ${operation}` });
  }
  try {
    const { idempotency_key: given, ...asked } = parameters;
    const once =
      given == null ? undefined : { key: keyOf(given), fingerprint: fingerprint([operation, asked]) };
    const earlier = once === undefined ? undefined : replay(context, once);
    if (earlier !== undefined) return answer(earlier);
    handler({ ...context, ...(once === undefined ? {} : { once }) }, new Parameters(asked), answer);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const { code, message: detail, extra } = error;
    answer({ kind: "error", code, detail, ...(extra === undefined ? {} : { extra }) });
  }
}

function keyOf(given: unknown): string {
  if (typeof given === "string" && /^[\x21-\x7e]{1,128}$/.test(given)) return given;
  throw new Refusal("bad_parameter", "Idempotency-Key: must be 1 to 128 visible ASCII characters");
}

/** Looked up before all else: what was asked then may be refused now for its own success (R22). */
function replay(
  context: AdminContext,
  { key, fingerprint: print }: { readonly key: string; readonly fingerprint: string },
): AdminResponse | undefined {
  const row = context.model.state.once.get(key);
  if (row !== undefined && row.fingerprint !== print) {
    throw new Refusal("idempotency_conflict", mismatchDetail(key));
  }
  return replayOf(context, key);
}

const handlers: ReadonlyMap<string, Handler> = new Map(
  Object.entries({
    "cluster.get": viewing(({ model }, parameters) => {
      parameters.end();
      return clusterView(model);
    }),
    "nodes.list": viewing(({ model }, parameters) => {
      parameters.end();
      return list([...model.nodes.values()].map((node) => nodeView(model, node)));
    }),
    "nodes.get": viewing(({ model }, parameters) => {
      const node = takeNode(model, parameters);
      parameters.end();
      return nodeView(model, node);
    }),
    "nodes.patch": patchNode,
    "nodes.drain": drainNode,
    "nodes.undrain": undrainNode,
    "nodes.decommission": decommissionNode,
    "nodes.recommission": recommissionNode,
    "nodes.delete": deleteNode,
    "shards.list": viewing(listShards),
    "shards.get": viewing(({ model }, parameters) => {
      const shard = takeShard(model, parameters);
      parameters.end();
      return shardView(model, shard);
    }),
    "shards.move": moveReplica,
    "shards.transferLeader": transferLeader,
    "shards.scatter": scatterShard,
    "shards.split": splitShard,
    "shards.merge": mergeShards,
    "shards.why": viewing(({ model }, parameters) => whyView(model, findShard(model, parameters))),
    locate: viewing(({ model }, parameters) => locateView(model, findShard(model, parameters))),
    rebalance,
    snapshot: takeSnapshots,
    "keyspaces.list": viewing(({ model }, parameters) => {
      parameters.end();
      return list([...model.state.keyspaces.values()].map((keyspace) => keyspaceView(model, keyspace)));
    }),
    "keyspaces.create": createKeyspace,
    "keyspaces.delete": deleteKeyspace,
    "config.get": viewing(({ model }, parameters) => {
      parameters.end();
      return model.settings;
    }),
    "config.set": setConfig,
    "operations.list": viewing(({ model }, parameters) => {
      const state = parameters.choice("state", operationStates);
      parameters.end();
      const { operations, jobs } = model.state;
      const rows = [...operations.values(), ...jobs.values()].sort((a, b) => a.id - b.id);
      const wanted = rows.filter((row) => state === undefined || row.state === state);
      return list(wanted.map((row) => ("tasks" in row ? jobView(model, row) : operationView(model, row))));
    }),
    "operations.get": viewing(({ model }, parameters) => {
      const id = parameters.whole("id", 1);
      parameters.end();
      const operation = id === undefined ? undefined : model.state.operations.get(id);
      if (operation !== undefined) return operationView(model, operation);
      const job = id === undefined ? undefined : model.state.jobs.get(id);
      if (job === undefined) throw new Refusal("not_found", `there is no operation ${id}`);
      return jobView(model, job, { steps: true });
    }),
    "operations.cancel": cancelOperation,
    "events.list": viewing(({ model, events }, parameters) => {
      const since = parameters.whole("since", 0) ?? 0;
      const shard = parameters.whole("shard", 1);
      parameters.end();
      if (shard !== undefined && shard >= model.state.counters.shard) {
        throw new Refusal("not_found", `there never was a shard ${shard}`);
      }
      const found = events.after(since).filter((event) => shard === undefined || event.shard === shard);
      return list(found.map((event) => eventView(model, event)));
    }),
  } satisfies Record<string, Handler>),
);

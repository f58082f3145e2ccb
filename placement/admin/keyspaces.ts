import { defaultSlots, isName } from "#proto";
import { nameRule } from "../applied.ts";
import { defaultKeyspace, planKeyspace } from "../plan/births.ts";
import { findKeyspace } from "../state.ts";
import { type AdminContext, type Answer, carryOut, demandKeyspace } from "./context.ts";
import { type Parameters, Refusal } from "./parameters.ts";

const slotsMax = 65_536;
/** Range keyspaces begin with bounds of two bytes. */
const shardsMax = 65_536;

/** `{name, partition?, slots?, shards?, replicas?}`; what is left out is as at the bootstrap. */
export function createKeyspace(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { model } = context;
  const wish = model.state.cluster?.wish;
  const keyspace = parameters.need("name");
  const partition = parameters.choice("partition", ["hash", "range"] as const) ?? wish?.partition ?? "hash";
  const asked = parameters.whole("slots", 1, slotsMax);
  const shards =
    parameters.whole("shards", 1, shardsMax) ?? (partition === "hash" ? (wish?.shards ?? 16) : 1);
  const own = parameters.whole("replicas", 1, 5);
  const replicas = own ?? model.settings.replicas;
  parameters.end();
  if (!isName(keyspace)) throw new Refusal("bad_parameter", `name: must be ${nameRule}`);
  if (replicas % 2 === 0) throw new Refusal("bad_parameter", "replicas: must be one of 1, 3, 5");
  const slots = slotsOf(partition, asked, shards);
  if (findKeyspace(model.state, keyspace) !== undefined) {
    throw new Refusal("conflict", `keyspace ${keyspace} exists`);
  }
  const wanted = { keyspace, partition, shards, slots, replicas };
  const command = planKeyspace(model, own === undefined ? wanted : { ...wanted, ownReplicas: true });
  if (typeof command === "string") {
    const reason = `${command}: start more nodes, or ask for fewer replicas`;
    throw new Refusal("blocked", reason, { blockers: [{ reason }] });
  }
  const hash = partition === "hash" ? { slots } : {};
  const body = { name: keyspace, partition, ...hash, shards, replicas };
  carryOut(context, { command, status: 201, body, isOperation: false }, answer);
}

function slotsOf(partition: "hash" | "range", asked: number | undefined, shards: number): number {
  if (partition === "range") {
    if (asked !== undefined) throw new Refusal("bad_parameter", "slots: a range keyspace has none");
    return 0;
  }
  const slots = asked ?? defaultSlots(shards);
  if ((slots & (slots - 1)) !== 0) throw new Refusal("bad_parameter", "slots: must be a power of two");
  if (shards > slots) throw new Refusal("bad_parameter", `shards: more than the ${slots} slots`);
  return slots;
}

/** `{name}`: all its data goes. */
export function deleteKeyspace(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const { model } = context;
  const name = parameters.need("name");
  parameters.end();
  const { id } = demandKeyspace(model, name);
  if (name === defaultKeyspace) {
    throw new Refusal(
      "conflict",
      "the default keyspace is what every client takes when it names none: it stays",
    );
  }
  const shards = [...model.shards.values()].filter((shard) => shard.descriptor.keyspace === id);
  const total = shards.reduce((sum, shard) => sum + shard.present.size, 0);
  const reason = `keyspace ${name} is deleted with its ${shards.length} shards`;
  const command = { name: "keyspace.delete", id, total, reason } as const;
  carryOut(context, { command, status: 202, body: {}, isOperation: true }, answer);
}

import { sameLabels } from "../apply-nodes.ts";
import { isNewsOf } from "../apply-shards.ts";
import type { Command } from "../commands.ts";
import type { Checker } from "./decision.ts";

/** Newer memberships than the log has, as leaders report them (R32). */
export const checkEpochs: Checker = (model) => {
  const descriptors = [];
  for (const { descriptor, lead } of model.shards.values()) {
    if (lead === undefined) continue;
    if (isNewsOf(lead.descriptor, descriptor)) descriptors.push(lead.descriptor);
  }
  return descriptors.length === 0 ? [] : [{ name: "shards.report", descriptors }];
};

/** Who is down, or back, is in the log, so that the next placement leader need not find out again. */
export const checkNodes: Checker = (model) => {
  const commands: Command[] = [];
  for (const { row, liveness, heard } of model.nodes.values()) {
    const loggedDown = row.downSinceMicros !== undefined;
    if (liveness === "down" && !loggedDown) {
      commands.push({ name: "node.liveness", id: row.id, down: true });
    }
    if (liveness === "up" && heard !== undefined && loggedDown) {
      commands.push({ name: "node.liveness", id: row.id, down: false });
    }
    if (heard === undefined) continue;
    const { http, version, labels } = heard.info;
    if (http !== row.http || version !== row.version || !sameLabels(labels, row.startLabels)) {
      commands.push({ name: "node.refresh", id: row.id, http, version, labels });
    }
  }
  return commands;
};

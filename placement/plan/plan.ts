import type { Command } from "../commands.ts";
import type { Model } from "../model.ts";
import { balanceLeaders } from "./balance.ts";
import { checkBirths, checkDefaultKeyspace } from "./births.ts";
import { checkCount } from "./count.ts";
import type { Checker } from "./decision.ts";
import { checkEpochs, checkNodes } from "./facts.ts";
import { coolHotShards } from "./hot.ts";
import { checkJobs } from "./jobs.ts";
import { checkJoint, checkLearners, checkPlacementVoters } from "./membership.ts";
import { recordMerges } from "./merge-steps.ts";
import { checkMerges } from "./merges.ts";
import { checkOperations } from "./operations.ts";
import { checkSplits, recordSplits } from "./splits.ts";
import { balanceReplicas, checkParting, checkRepair } from "./upkeep.ts";

/** What is written down as it happens, whatever else is going on. */
const recorders: readonly Checker[] = [checkNodes, checkEpochs, recordSplits, recordMerges, checkBirths];

/** In order: what is begun is finished before anything new, safety comes before evenness. */
const schedulers: readonly Checker[] = [
  checkDefaultKeyspace,
  checkJoint,
  checkLearners,
  checkPlacementVoters,
  checkRepair,
  checkCount,
  checkJobs,
  checkSplits,
  checkMerges,
  checkParting,
  balanceReplicas,
  coolHotShards,
  balanceLeaders,
];

/**
 * One pass: what to write into placement's log now. While something is recorded or moved on, the plan waits
 * for the pass after it, so that it is made from what is true.
 */
export function plan(model: Model): readonly Command[] {
  const facts = [...recorders, checkOperations].flatMap((check) => [...check(model)]);
  if (facts.length > 0 || !model.warm) return facts;
  for (const check of schedulers) {
    const commands = check(model);
    if (commands.length > 0) return commands;
  }
  return [];
}

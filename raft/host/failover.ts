import type { BootId, NodeId } from "#proto";
import { isQuorum } from "#raft/core";
import type { Group } from "./group.ts";
import { campaignRank } from "./rank.ts";
import type { Shared } from "./shared.ts";

interface Campaign {
  readonly group: Group;
  /** Void once the group has gone on to another term. */
  readonly term: number;
  ticksLeft: number;
  triesLeft: number;
}

/** A campaign begun within the lease of the lost leader is refused: it is tried again for so many ticks. */
const campaignTries = 10;

/** Ticks between one voter's turn to campaign and the next one's: enough for an election to be won. */
const ticksPerRank = 3;

/**
 * What follows from a node's being lost, heard again or started anew: only the groups led by it wake, and
 * their voters campaign one after the other, so that thousands of groups do not split their votes (R20, R21).
 */
export class Failover {
  readonly #shared: Shared;
  #campaigns: Campaign[] = [];
  /** R35: a draining node campaigns only where no other live voter can. */
  draining = false;

  constructor(shared: Shared) {
    this.#shared = shared;
  }

  /** Judged after the poll (R15). */
  judge(): void {
    const { lost, back } = this.#shared.liveness.judge();
    for (const node of lost) this.nodeLost(node, "silent");
    for (const node of back) this.#nodeBack(node);
  }

  nodeLost(node: NodeId, why: "absent" | "silent"): void {
    this.#shared.options.logger.info({ node, why }, "a node is suspected");
    for (const group of this.#followersOf(node)) {
      // Merely silent and awake: the group's own election timers judge that.
      if (why === "absent" || group.quiesced) this.#forgetAndCampaign(group);
    }
    this.#giveUpTransfersTo(node);
    this.#wakeCutOff();
    this.#shared.schedule();
  }

  /** Until a transfer is over its leader takes no proposals: one to a dead node need not wait for the timeout. */
  #giveUpTransfersTo(node: NodeId): void {
    for (const group of this.#shared.awake) {
      const target = group.core.transferTarget;
      if (group.core.role !== "leader" || target === 0 || group.nodeOf(target) !== node) continue;
      group.core.step({ kind: "transferLeader", to: group.replica, nowMs: this.#shared.nowMs() });
    }
  }

  /** Leaders that sleep without a live quorum are deposed already, or should be: awake, they notice. */
  #wakeCutOff(): void {
    for (const group of this.#shared.groups.values()) {
      if (!group.quiesced || group.core.role !== "leader") continue;
      const { voters, outgoing } = group.conf;
      const isLive = (replica: number): boolean => this.#shared.isLive(group, replica);
      if (!isQuorum(voters, outgoing, isLive)) this.#shared.wake(group);
    }
  }

  /** A new process at a leader's node remembers no leadership: whoever slept on its word wakes (R20). */
  nodeRestarted(node: NodeId, boot: BootId): void {
    for (const group of this.#followersOf(node)) {
      if (group.leaderBoot !== undefined && group.leaderBoot !== boot) this.#forgetAndCampaign(group);
    }
    this.#wakeForReturn(node);
  }

  #nodeBack(node: NodeId): void {
    this.#shared.options.logger.info({ node }, "a suspected node is heard again");
    this.#wakeForReturn(node);
  }

  #wakeForReturn(node: NodeId): void {
    for (const group of this.#shared.groups.values()) {
      if (group.asleepWithout.has(node)) this.#shared.wake(group);
    }
    this.#shared.schedule();
  }

  #followersOf(node: NodeId): Group[] {
    return [...this.#shared.groups.values()].filter(
      (group) => group.core.role !== "leader" && group.leaderNode === node && !group.installing,
    );
  }

  #forgetAndCampaign(group: Group): void {
    const lost = group.core.leader;
    const rank = campaignRank(group, lost, (node) => this.#shared.suspected(node));
    group.core.step({ kind: "forgetLeader" });
    this.#shared.markDirty(group);
    // It wakes when its turn has come, or by the votes of those before it: thousands of groups woken at once
    // would all campaign by their own timers, in no order and within one timeout (R20).
    if (rank !== undefined && !this.yields(group)) this.campaignLater(group, rank * ticksPerRank);
    else this.#shared.wake(group);
  }

  /** R35: on a draining node, where another live voter can lead. */
  yields(group: Group): boolean {
    if (!this.draining || group.core.role === "leader") return false;
    return group.conf.voters.some(
      (replica) => replica !== group.replica && this.#shared.isLive(group, replica),
    );
  }

  campaignLater(group: Group, ticks: number): void {
    this.#campaigns.push({ group, term: group.core.term, ticksLeft: ticks, triesLeft: campaignTries });
    this.#shared.schedule();
  }

  get campaignsDue(): boolean {
    return this.#campaigns.some((campaign) => campaign.ticksLeft <= 0);
  }

  /** Lets a tick pass for those who wait for their place. */
  tickCampaigns(): void {
    for (const campaign of this.#campaigns) campaign.ticksLeft -= 1;
  }

  /** Begins what is due, so many a turn. */
  runCampaigns(): void {
    const waiting = this.#campaigns;
    this.#campaigns = [];
    let begun = 0;
    for (const campaign of waiting) {
      const { group, term } = campaign;
      if (group.closed || group.core.term !== term || group.core.leader !== 0) continue;
      if (campaign.ticksLeft > 0 || begun >= this.#shared.limits.campaignsPerTick || group.installing) {
        this.#campaigns.push({ ...campaign, ticksLeft: Math.max(1, campaign.ticksLeft) });
        continue;
      }
      begun += 1;
      this.#shared.wake(group);
      const result = group.core.step({ kind: "campaign", nowMs: this.#shared.nowMs() });
      if (result === "ignored" && campaign.triesLeft > 0) {
        this.#campaigns.push({ ...campaign, ticksLeft: 1, triesLeft: campaign.triesLeft - 1 });
      }
      this.#shared.markDirty(group);
    }
  }
}

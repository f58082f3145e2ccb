import type { BootId, GroupId, NodeId } from "#proto";
import type { Message } from "#raft/core";
import type { Batch, Family, Range } from "#storage";
import type { HostLimits, HostTiming } from "./config.ts";
import type { Group } from "./group.ts";
import { Liveness } from "./liveness.ts";
import type { HostOptions, HostStats } from "./options.ts";
import { Outbox } from "./outbox.ts";
import { ReadIds } from "./reads.ts";
import { installedRanges } from "./snapshot-receive.ts";

/** What the parts of one host share: its groups, who of them has work, and how to end. */
export class Shared {
  readonly options: HostOptions;
  readonly stats: HostStats = {
    turns: 0,
    syncedTurns: 0,
    entriesAppended: 0,
    entriesApplied: 0,
    commandsProposed: 0,
    electionsWon: 0,
    snapshotsInstalled: 0,
    snapshotBytesSent: 0,
    snapshotBytesReceived: 0,
    messagesToUnknown: 0,
  };
  readonly groups: Map<GroupId, Group> = new Map();
  /** Groups that get ticks; the others sleep (R20). */
  readonly awake: Set<Group> = new Set();
  readonly outbox: Outbox;
  readonly liveness: Liveness;
  readonly readIds: ReadIds;
  dirty: Group[] = [];
  /** Groups with members to be told that they are removed (R10). */
  readonly farewells: Set<Group> = new Set();
  /** Members came or went: whom this node beats with is to be looked up again. */
  peersDirty = true;
  stopped = false;
  /** No answer leaves any more: after a fatal error what was on its way to disk is unknown (R8). */
  #silent = false;
  #answers: (() => void)[] = [];
  startedMs = 0;
  /** Monotonic ms at which the write under way began; undefined while none is. */
  writingSinceMs: number | undefined;
  lastSyncMs = 0;
  /** Makes a turn come. */
  schedule: () => void = () => {};
  #onStop: () => void = () => {};

  constructor(options: HostOptions) {
    this.options = options;
    const { transport, clock, timing, boot } = options;
    this.outbox = new Outbox(transport, (group, message) => this.#dropped(group, message));
    this.liveness = new Liveness(clock, transport, timing);
    this.readIds = new ReadIds(boot);
  }

  get nodeId(): NodeId {
    return this.options.nodeId;
  }

  get boot(): BootId {
    return this.options.boot;
  }

  get timing(): HostTiming {
    return this.options.timing;
  }

  get limits(): HostLimits {
    return this.options.limits;
  }

  nowMs(): number {
    return this.options.clock.nowMs();
  }

  onStop(handler: () => void): void {
    this.#onStop = handler;
  }

  markDirty(group: Group): void {
    if (group.dirty) return;
    group.dirty = true;
    this.dirty.push(group);
  }

  /** Ticks the group again; its core's timers begin anew (R20). */
  wake(group: Group): void {
    if (!group.quiesced) return;
    group.quiesced = false;
    group.asleepWithout = new Set();
    group.busyAtMs = this.nowMs();
    this.awake.add(group);
    group.core.step({ kind: "wake", nowMs: group.busyAtMs });
    this.markDirty(group);
  }

  suspected(node: NodeId): boolean {
    return node !== this.nodeId && this.liveness.isSuspected(node);
  }

  /** Rows of one family that replicas here hold: a clean-up must spare them (R34). */
  liveRanges(family: Family): Range[] {
    // The family of logs is divided by group, not by key.
    if (family === "raft") return [];
    const ranges: Range[] = [];
    for (const group of this.groups.values()) {
      // What an install is putting there the state machine has yet to hear of.
      const coming = group.installing ? installedRanges(this.options.engine, group.group) : [];
      for (const range of [...group.machine.snapshotRanges(), ...coming])
        if (range.family === family) ranges.push(range);
    }
    return ranges;
  }

  /** Is the node of this member known, and not believed gone? */
  isLive(group: Group, replica: number): boolean {
    const node = group.nodeOf(replica);
    return node !== undefined && !this.suspected(node);
  }

  writeIsSlow(): boolean {
    const since = this.writingSinceMs;
    return since !== undefined && this.nowMs() - since > this.timing.slowWriteMs;
  }

  writeUnsynced(batch: Batch): void {
    this.options.engine.write(batch, { sync: false }, (error) => {
      if (error !== undefined) this.fatal(error);
    });
  }

  /**
   * Keeps an answer for the next `flushAnswers`: who is answered may ask, destroy or stop, so nobody is
   * called while a group is being worked on.
   */
  answer(run: () => void): void {
    this.#answers.push(run);
  }

  /** Runs the answers kept. @returns whether there were any */
  flushAnswers(): boolean {
    if (this.#answers.length === 0) return false;
    while (this.#answers.length > 0 && !this.#silent) {
      const answers = this.#answers;
      this.#answers = [];
      for (const run of answers) {
        if (this.#silent) return true;
        run();
      }
    }
    return true;
  }

  /** Runs a part of a turn; whatever it throws stops the node. */
  guarded(run: () => void): void {
    if (this.stopped) return;
    try {
      run();
    } catch (error) {
      this.fatal(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** R8, R11: this node must not go on with what might not be on disk, or with a log it cannot read. */
  fatal(error: Error): void {
    if (this.stopped) return;
    this.end("silent");
    this.options.logger.error({ err: error }, "the node cannot go on");
    this.options.onFatal(error);
  }

  end(how: "silent" | "answering"): void {
    this.stopped = true;
    this.#silent = how === "silent";
    this.#onStop();
  }

  #dropped(id: GroupId, message: Message): void {
    const group = this.groups.get(id);
    if (group !== undefined) group.core.step({ kind: "reportUnreachable", id: message.to });
  }
}

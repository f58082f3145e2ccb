import type {
  ConfChange,
  ConfState,
  CoreConfig,
  Entry,
  Input,
  Message,
  ReadState,
  Ready,
  StepResult,
} from "#raft/core";
import type { Clock } from "#runtime";
import type { NodeClock } from "../node-clock.ts";
import type { CoreClass } from "../watch/watched-core.ts";
import {
  manyLeaderReads,
  manyReads,
  slowSyncs,
  withBriefCrashes,
  withLeadersPaused,
  withMoves,
  withOldLeaders,
  withPartedLogs,
  withSmallAppends,
  withSplitViews,
} from "./bent-plans.ts";
import type { Mutant } from "./mutant.ts";

/** A core whose messages are changed before it takes them. */
function hearing(Base: CoreClass, change: (message: Message, config: CoreConfig) => Message): CoreClass {
  return class extends Base {
    readonly #config: CoreConfig;

    constructor(config: CoreConfig) {
      super(config);
      this.#config = config;
    }

    override step(input: Input): StepResult {
      if (input.kind !== "message") return super.step(input);
      return super.step({ ...input, message: change(input.message, this.#config) });
    }
  };
}

/** What a core says out of turn. */
interface Said {
  readonly messages: Message[];
  readonly reads: ReadState[];
}

/** A core that hands out answers of its own making with its Readys. */
function talking(
  Base: CoreClass,
  react: (core: InstanceType<CoreClass>, input: Input, out: Said) => StepResult | undefined,
): CoreClass {
  return class extends Base {
    readonly #out: Said = { messages: [], reads: [] };
    #real: Ready | undefined;

    override step(input: Input): StepResult {
      return react(this, input, this.#out) ?? super.step(input);
    }

    override hasReady(): boolean {
      return this.#out.messages.length > 0 || this.#out.reads.length > 0 || super.hasReady();
    }

    override takeReady(): Ready {
      const real = super.takeReady();
      this.#real = real;
      const { messages, reads } = this.#out;
      return {
        ...real,
        sendNow: [...real.sendNow, ...messages.splice(0)],
        readStates: [...real.readStates, ...reads.splice(0)],
      };
    }

    override advance(_ready: Ready): void {
      if (this.#real !== undefined) super.advance(this.#real);
    }
  };
}

/** A leader that commits up to an index of its own choice, if that is further than the right one. */
function committing(
  Base: CoreClass,
  choose: (core: InstanceType<CoreClass>, config: CoreConfig) => number,
): CoreClass {
  return class extends Base {
    readonly #config: CoreConfig;
    #chosen = 0;
    #handedOut = 0;
    #real: Ready | undefined;

    constructor(config: CoreConfig) {
      super(config);
      this.#config = config;
    }

    override get commit(): number {
      return Math.max(super.commit, this.#chosen);
    }

    #choose(): void {
      if (this.role === "leader") this.#chosen = Math.max(this.#chosen, choose(this, this.#config));
    }

    override step(input: Input): StepResult {
      const result = super.step(input);
      this.#choose();
      return result;
    }

    override hasReady(): boolean {
      return super.hasReady() || this.#chosen > Math.max(super.commit, this.#handedOut);
    }

    override takeReady(): Ready {
      const real = super.takeReady();
      this.#real = real;
      const committed: Entry[] = real.committed.filter((entry) => entry.index > this.#handedOut);
      const next = Math.max(super.commit, this.#handedOut) + 1;
      const { storage } = this.#config;
      const stored =
        next <= storage.lastIndex() ? (storage.entries(next, storage.lastIndex() + 1, 1e9) ?? []) : [];
      const known = [
        ...stored.filter((entry) => entry.index < (real.append[0]?.index ?? Infinity)),
        ...real.append,
      ];
      committed.push(...known.filter((entry) => entry.index >= next && entry.index <= this.#chosen));
      this.#handedOut = committed.at(-1)?.index ?? this.#handedOut;
      return { ...real, committed };
    }

    override advance(_ready: Ready): void {
      if (this.#real !== undefined) super.advance(this.#real);
    }
  };
}

/** The highest index that a majority of `members` has, the leader's own taken as `own`. */
function majorityHas(core: InstanceType<CoreClass>, own: number, members = core.conf.voters): number {
  const { progress } = core.status();
  const matches = members.map((id) => (id === core.id ? own : (progress.get(id)?.match ?? 0)));
  matches.sort((a, b) => b - a);
  return matches[Math.floor(members.length / 2)] ?? 0;
}

/** Stands still while its process sleeps. */
function sleepsToo(inner: NodeClock): Clock {
  return {
    nowMs: () => inner.nowMs() - inner.pausedMs,
    wallMicros: () => inner.wallMicros(),
    after: (delayMs, run) => inner.after(delayMs, run),
    soon: (run) => inner.soon(run),
  };
}

export const coreMutants: readonly Mutant[] = [
  {
    name: "old-term-committed-by-counting",
    about: "an entry of an older term counts as committed once a majority has it (Raft paper 5.4.2)",
    plan: (plan) => withLeadersPaused(withSmallAppends(plan)),
    core: (Base) =>
      committing(Base, (core, { storage }) => {
        const index = Math.min(majorityHas(core, storage.lastIndex()), storage.lastIndex());
        return (storage.term(index) ?? core.term) < core.term ? index : 0;
      }),
  },
  {
    name: "self-counted-before-sync",
    about: "R2: a leader counts itself before its own append is durable",
    plan: slowSyncs,
    core: (Base) =>
      committing(Base, (core, { storage }) => {
        const index = majorityHas(core, core.lastIndex);
        const term = index > storage.lastIndex() ? core.term : storage.term(index);
        return term === core.term ? index : 0;
      }),
  },
  {
    name: "learner-counted",
    about: "R10: what a learner has counts towards a commit (thesis 4.2.1)",
    plan: withMoves,
    core: (Base) =>
      committing(Base, (core, { storage }) => {
        const { voters, learners, outgoing } = core.conf;
        if (learners.length === 0 || outgoing.length > 0) return 0;
        // One voter's place is taken by the learner.
        const others = voters.filter((id) => id !== core.id).slice(1);
        const index = majorityHas(core, storage.lastIndex(), [core.id, ...learners, ...others]);
        return storage.term(index) === core.term ? index : 0;
      }),
  },
  {
    name: "removed-replica-still-votes",
    about: "R10: a membership change adds the new replica and leaves the old one a voter",
    plan: withMoves,
    core: (Base) =>
      class extends Base {
        override applyConfChange(change: ConfChange): ConfState {
          return super.applyConfChange({
            ...change,
            changes: change.changes.filter(({ kind }) => kind !== "remove"),
          });
        }
      },
  },
  {
    name: "follower-read-without-asking",
    about: "R18: a follower reads what it has, and asks nobody",
    plan: manyReads,
    core: (Base) =>
      talking(Base, (core, input, out) => {
        if (core.role !== "follower" || core.leader === 0 || input.kind !== "readIndex") return undefined;
        out.reads.push({ context: input.context, index: core.commit });
        return "ok";
      }),
  },
  {
    name: "log-match-check-skipped",
    about: "entries are taken whatever stands before them",
    plan: withPartedLogs,
    core: (Base) =>
      hearing(Base, (message, { storage }) => {
        const own = message.kind === "append" ? storage.term(message.index ?? 0) : undefined;
        return own === undefined || own === message.logTerm ? message : { ...message, logTerm: own };
      }),
  },
  {
    name: "vote-for-a-shorter-log",
    about: "a vote is given without comparing logs (Raft paper 5.4.1)",
    plan: withSplitViews,
    core: (Base) =>
      hearing(Base, (message) => {
        if (message.kind !== "vote" && message.kind !== "preVote") return message;
        return { ...message, logTerm: Number.MAX_SAFE_INTEGER, index: Number.MAX_SAFE_INTEGER };
      }),
  },
  {
    name: "second-vote-in-a-term",
    about: "a replica votes for everybody who asks",
    plan: withLeadersPaused,
    core: (Base) =>
      talking(Base, (core, input, out) => {
        if (input.kind !== "message" || input.message.kind !== "vote") return undefined;
        const { from, term } = input.message;
        const { vote } = core.status();
        if (term !== core.term || vote === 0 || vote === from) return undefined;
        out.messages.push({ kind: "voteResponse", from: core.id, to: from, term });
        return "ok";
      }),
  },
  {
    name: "vote-within-the-lease",
    about: "R17: a vote is given while the leader's lease may still run",
    plan: (plan) => withSplitViews(manyLeaderReads(plan)),
    core: (Base) =>
      hearing(Base, (message) =>
        message.kind === "vote" || message.kind === "preVote" ? { ...message, transfer: true } : message,
      ),
  },
  {
    name: "vote-right-after-a-start",
    about: "R17: a node that starts again votes before the lease of a leader that it has forgotten is over",
    plan: withBriefCrashes,
    core: (Base) =>
      class extends Base {
        constructor(config: CoreConfig) {
          super({ ...config, noVoteBeforeMs: 0 });
        }
      },
  },
  {
    name: "lease-held-through-a-pause",
    about: "R17: a leader's clock does not see that its process slept",
    plan: (plan) => withLeadersPaused(manyLeaderReads(plan)),
    clock: (clock) => sleepsToo(clock),
  },
  {
    name: "stale-leader-read",
    about: "a leader reads locally for as long as it believes to lead",
    plan: (plan) => withSplitViews(withLeadersPaused(manyLeaderReads(plan))),
    core: (Base) =>
      class extends Base {
        override leaseHeld(): boolean {
          return this.role === "leader";
        }
      },
  },
  {
    name: "read-index-without-quorum",
    about: "a leader answers reads without asking whether it still leads",
    plan: (plan) => withOldLeaders(manyReads(plan)),
    core: (Base) =>
      talking(Base, (core, input, out) => {
        if (core.role !== "leader" || !core.committedInTerm) return undefined;
        if (input.kind === "readIndex") {
          out.reads.push({ context: input.context, index: core.commit });
          return "ok";
        }
        if (input.kind !== "message" || input.message.kind !== "readIndex") return undefined;
        const { from, context = "" } = input.message;
        const { id, term, commit } = core;
        out.messages.push({ kind: "readIndexResponse", from: id, to: from, term, context, index: commit });
        return "ok";
      }),
  },
  {
    name: "read-joined-to-a-sent-request",
    about: "R18: a read shares the answer to a request that was sent before it came",
    plan: manyReads,
    core: (Base) => joiningReads(Base),
  },
  {
    name: "restarted-leader-kept",
    about: "R20: a follower does not forget a leader that is gone",
    plan: (plan) => ({ ...plan, timing: { ...plan.timing, quiesceAfterMs: 5 * plan.timing.heartbeatMs } }),
    core: (Base) =>
      class extends Base {
        override step(input: Input): StepResult {
          return input.kind === "forgetLeader" ? "ignored" : super.step(input);
        }
      },
  },
];

function joiningReads(Base: CoreClass): CoreClass {
  return class extends Base {
    #first: string | undefined;
    #ticks = 0;
    readonly #joined: string[] = [];
    #real: Ready | undefined;

    override step(input: Input): StepResult {
      // What is never answered must not hold up the others for good.
      if (input.kind === "tick" && this.#first !== undefined && ++this.#ticks > 10) this.#first = undefined;
      if (input.kind !== "readIndex") return super.step(input);
      if (this.#first !== undefined) {
        this.#joined.push(input.context);
        return "ok";
      }
      const result = super.step(input);
      if (result === "ok") {
        this.#first = input.context;
        this.#ticks = 0;
      }
      return result;
    }

    override takeReady(): Ready {
      const real = super.takeReady();
      this.#real = real;
      const answer = real.readStates.find(({ context }) => context === this.#first);
      if (answer === undefined) return real;
      this.#first = undefined;
      const joined = this.#joined.splice(0).map((context) => ({ context, index: answer.index }));
      return { ...real, readStates: [...real.readStates, ...joined] };
    }

    override advance(_ready: Ready): void {
      if (this.#real !== undefined) super.advance(this.#real);
    }
  };
}

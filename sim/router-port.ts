import type { ReadOutcome, Router, WriteOutcome } from "#router/routing";
import type { Answer, Call } from "./history.ts";
import { bytesOfValue, valueOfBytes } from "./workload.ts";

/** Calls a router as HTTP would, and puts its outcomes into a history's words. */
export function submitTo(
  router: Router,
  key: string,
  call: Call,
  timeoutMs: number,
  done: (answer: Answer) => void,
): void {
  const target = { keyspace: "default", key: new Uint8Array(Buffer.from(key, "latin1")), timeoutMs };
  switch (call.kind) {
    case "put":
      router.write(
        {
          ...target,
          operation: {
            kind: "put",
            value: bytesOfValue(call.value),
            contentType: "text/plain",
            ...(call.condition === undefined ? {} : { condition: call.condition }),
          },
        },
        (outcome) => done(answerOfWrite(outcome)),
      );
      break;
    case "delete":
      router.write(
        {
          ...target,
          operation: {
            kind: "delete",
            ...(call.condition === undefined ? {} : { condition: call.condition }),
          },
        },
        (outcome) => done(answerOfWrite(outcome)),
      );
      break;
    case "get":
      router.read({ ...target, consistency: "linearizable" }, (outcome) => done(answerOfRead(outcome)));
      break;
    case "leaderGet":
      router.read({ ...target, consistency: "leader" }, (outcome) => done(answerOfRead(outcome)));
      break;
    default: {
      const { maxStalenessMs, minRevision } = call;
      const bounds = {
        ...(maxStalenessMs === undefined ? {} : { maxStalenessMs }),
        ...(minRevision === undefined ? {} : { minRevision }),
      };
      router.read({ ...target, consistency: "stale", ...bounds }, (outcome) => done(answerOfRead(outcome)));
    }
  }
}

function answerOfWrite(outcome: WriteOutcome): Answer {
  switch (outcome.kind) {
    case "put":
      return { kind: "put", revision: outcome.revision };
    case "deleted":
      return { kind: "deleted", deleted: outcome.deleted, revision: outcome.revision };
    case "precondition_failed":
      return { kind: "conditionFailed", revision: outcome.revision };
    default:
      return { kind: outcome.outcome === "not_applied" ? "notApplied" : "unknown" };
  }
}

function answerOfRead(outcome: ReadOutcome): Answer {
  const staleness =
    outcome.kind === "failed" || outcome.stalenessMs === undefined
      ? {}
      : { stalenessMs: outcome.stalenessMs };
  switch (outcome.kind) {
    case "found": {
      const { revision, value } = outcome.stored;
      return { kind: "found", revision, value: valueOfBytes(value), ...staleness };
    }
    case "absent":
      return { kind: "absent", ...staleness };
    default:
      return { kind: "noAnswer" };
  }
}

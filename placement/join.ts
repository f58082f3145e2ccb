import {
  type Address,
  type ClusterId,
  decodeJoinReply,
  decodeJoinRequest,
  encodeJoinReply,
  encodeJoinRequest,
  type JoinReply,
  type JoinRequest,
  type NodeId,
  ProtocolError,
  type RouteTable,
  type VersionedSettings,
} from "#proto";
import type { Cancel, Clock, Logger } from "#runtime";
import type { JoinAnswer, JoinExchange } from "#transport";

type NodeRequest = Extract<JoinRequest, { readonly kind: "node" }>;

/** What a member's answers are made of. */
export interface JoinMember {
  readonly clusterId: ClusterId;
  readonly logger: Logger;
  /** Placement's leader, as far as known here. */
  leader(): NodeId | undefined;
  members(): readonly NodeId[];
  /** Only placement's leader lets nodes in. @returns false when this is not it */
  admit(request: NodeRequest, reply: (reply: JoinReply) => void): boolean;
  routes(): RouteTable | undefined;
  settings(): VersionedSettings;
}

/** Answers those who do not know the cluster yet. */
export function serveJoins(joins: Pick<JoinExchange, "serve">, member: JoinMember): void {
  joins.serve((from, body, replyBytes) => {
    const reply = (answer: JoinReply): void => replyBytes(encodeJoinReply(answer));
    const request = readRequest(member, from, body);
    if (request !== undefined) answerJoin(member, request, reply);
  });
}

function readRequest(member: JoinMember, from: Address, body: Uint8Array): JoinRequest | undefined {
  try {
    return decodeJoinRequest(body);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    member.logger.warn({ from, err: error }, "dropped a malformed join request");
    return undefined;
  }
}

function answerJoin(member: JoinMember, request: JoinRequest, reply: (reply: JoinReply) => void): void {
  const { clusterId } = member;
  if (request.kind === "router") {
    const routes = member.routes();
    reply({
      kind: "router",
      clusterId,
      members: member.members(),
      settings: member.settings(),
      ...(routes === undefined ? {} : { routes }),
    });
    return;
  }
  if (request.kind === "node" && member.admit(request, reply)) return;
  // R30: any answer under the cluster's name tells that there is a cluster.
  const leader = member.leader();
  reply({ kind: "member", clusterId, ...(leader === undefined ? {} : { leader }) });
}

export interface AskParts {
  readonly joins: Pick<JoinExchange, "ask">;
  readonly clock: Clock;
}

const askAgainMs = 500;

/**
 * R30: is there a cluster under this name? Asks several times within `listenMs`; silence, or the network's
 * word that nobody listens, means that there is none. Time without a connection does not count: whoever could
 * not ask has not heard silence.
 */
export function probeCluster(
  parts: AskParts,
  listenMs: number,
  done: (found: ClusterId | undefined) => void,
): Cancel {
  let found: ClusterId | undefined;
  const repeat = askRepeatedly(parts, { kind: "probe" }, listenMs, {
    onlyWhileConnected: true,
    onReply: (reply) => {
      found = reply.clusterId;
      return true;
    },
    onEnd: () => done(found),
  });
  return repeat;
}

export type JoinOutcome =
  | {
      readonly kind: "joined";
      readonly clusterId: ClusterId;
      readonly nodeId: NodeId;
      readonly members: readonly NodeId[];
    }
  | { readonly kind: "refused"; readonly detail: string }
  /** Nobody let it in within the time. `heard`: there is a cluster, its placement has no leader to ask. */
  | { readonly kind: "no_answer"; readonly heard: boolean };

/** Asks to be let in until placement's leader answers, or for `timeoutMs`. The nonce must outlive a crash. */
export function askToJoin(
  parts: AskParts,
  request: Omit<NodeRequest, "kind">,
  timeoutMs: number,
  done: (outcome: JoinOutcome) => void,
): Cancel {
  let outcome: JoinOutcome = { kind: "no_answer", heard: false };
  return askRepeatedly(parts, { kind: "node", ...request }, timeoutMs, {
    onReply: (reply) => {
      if (reply.kind === "joined") outcome = reply;
      else if (reply.kind === "refused") outcome = { kind: "refused", detail: reply.detail };
      else outcome = { kind: "no_answer", heard: true };
      return reply.kind === "joined" || reply.kind === "refused";
    },
    onEnd: () => done(outcome),
  });
}

export type RouterWelcome = Extract<JoinReply, { readonly kind: "router" }>;

/** A stateless router's way in: any member will do. Undefined when none answered within the time. */
export function askAsRouter(
  parts: AskParts,
  timeoutMs: number,
  done: (welcome: RouterWelcome | undefined) => void,
): Cancel {
  let welcome: RouterWelcome | undefined;
  return askRepeatedly(parts, { kind: "router" }, timeoutMs, {
    onReply: (reply) => {
      // A node that has only just begun knows no members yet; a router without any would have nobody to ask.
      if (reply.kind !== "router" || reply.members.length === 0) return false;
      welcome = reply;
      return true;
    },
    onEnd: () => done(welcome),
  });
}

/** Asks every half second until `onReply` is content or the time is over; then `onEnd`, once. */
function askRepeatedly(
  { joins, clock }: AskParts,
  request: JoinRequest,
  timeoutMs: number,
  on: {
    readonly onReply: (reply: JoinReply) => boolean;
    readonly onEnd: () => void;
    /** The time stands still while nothing can be asked. */
    readonly onlyWhileConnected?: boolean;
  },
): Cancel {
  const body = encodeJoinRequest(request);
  let untilMs = clock.nowMs() + timeoutMs;
  let over = false;
  let cancelTimer: Cancel = () => {};
  let stopListening: (() => void) | undefined;
  const end = (): void => {
    over = true;
    cancelTimer();
    stopListening?.();
  };
  const onAnswer = (answer: JoinAnswer): void => {
    if (over || answer.kind !== "answer") return;
    const reply = readReply(answer.body);
    if (reply === undefined || !on.onReply(reply)) return;
    end();
    on.onEnd();
  };
  const ask = (): void => {
    if (clock.nowMs() >= untilMs) {
      end();
      on.onEnd();
      return;
    }
    // Answers to the question before may still come: they are listened to until the next is sent.
    stopListening?.();
    stopListening = joins.ask(body, onAnswer);
    const waitMs = Math.min(askAgainMs, Math.max(1, untilMs - clock.nowMs()));
    if (stopListening === undefined && on.onlyWhileConnected === true) untilMs += waitMs;
    cancelTimer = clock.after(waitMs, ask);
  };
  ask();
  return end;
}

function readReply(body: Uint8Array): JoinReply | undefined {
  try {
    return decodeJoinReply(body);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return undefined;
  }
}

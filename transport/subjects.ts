import { type Address, isName } from "#proto";
import { invariant } from "#runtime";

/** `bulk` has subjects of its own, so that its traffic can use a connection of its own. */
export type LaneName = "main" | "bulk";

const prefixes: Readonly<Record<LaneName, string>> = { main: "kvorum", bulk: "kvorum-bulk" };

/** One token of a subject: no dots, wildcards or white space, and short enough for a one-byte length. */
export function isAddress(text: string): boolean {
  return /^[A-Za-z0-9_-]{1,64}$/.test(text);
}

/**
 * `kvorum.<cluster>.<destination>.<source>`: the source comes last, so that a NATS server can hold each
 * user to publishing `kvorum.<cluster>.*.<self>` and subscribing `kvorum.<cluster>.<self>.*` (R1).
 */
export function packetSubject(
  lane: LaneName,
  cluster: string,
  destination: Address,
  source: Address,
): string {
  invariant(isName(cluster), "a cluster name is one token of a subject");
  invariant(isAddress(destination) && isAddress(source), "an address is one token of a subject");
  return `${prefixes[lane]}.${cluster}.${destination}.${source}`;
}

/** What a node listens to on a lane. */
export function inboxSubject(lane: LaneName, cluster: string, self: Address): string {
  return `${packetSubject(lane, cluster, self, "all").slice(0, -"all".length)}*`;
}

/** The destination that stands for "any member" in join traffic. No node has it: ids are digits or `x…`. */
export const joinAddress: Address = "join";

/** The source of a packet: the last token of the subject it came on. */
export function sourceOf(subject: string): Address {
  return subject.slice(subject.lastIndexOf(".") + 1);
}

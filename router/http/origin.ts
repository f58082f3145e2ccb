import { isIP } from "node:net";
import { Problem } from "./problem.ts";

export interface OriginRules {
  /** Names or addresses, with or without a port, under which this listener is asked for besides loopback. */
  readonly hosts: readonly string[];
  /** Allowed values of `Origin`; `*` allows all. */
  readonly corsOrigins: readonly string[];
}

/** Remembered verdicts: clients send few different ones. */
const rememberedMax = 256;

/**
 * Keeps web pages of others away from a server on loopback: a `Host` that is no name of ours means that a
 * name was re-bound to our address, a foreign `Origin` that another site's page is asking.
 */
export class OriginGuard {
  readonly #hosts: Set<string>;
  readonly #origins: ReadonlySet<string>;
  readonly #remembered = new Map<string, boolean>();

  constructor(rules: OriginRules) {
    this.#hosts = new Set(rules.hosts.map((host) => host.toLowerCase()));
    this.#origins = new Set(rules.corsOrigins.map((origin) => origin.toLowerCase().replace(/\/$/, "")));
  }

  /** One more name of this server. */
  allow(host: string): void {
    this.#hosts.add(host.toLowerCase());
    this.#remembered.clear();
  }

  /**
   * @param localAddress - where the connection came in: asking for that very address is no re-binding
   * @throws Problem forbidden
   */
  checkHost(host: string, localAddress: string | undefined): void {
    let ours = this.#remembered.get(host);
    if (ours === undefined) {
      ours = this.#isOurs(host.toLowerCase());
      if (this.#remembered.size >= rememberedMax) this.#remembered.clear();
      this.#remembered.set(host, ours);
    }
    if (ours || isLocalAddress(nameOf(host), localAddress)) return;
    throw new Problem(
      "forbidden",
      `the Host ${JSON.stringify(host)} is none of this server's; --host allows it`,
    );
  }

  /** @returns the origin to allow in the answer @throws Problem forbidden */
  checkOrigin(origin: string, host: string): string {
    const lower = origin.toLowerCase();
    if (this.#origins.has(lower) || this.#origins.has("*")) return origin;
    if (lower === `http://${host.toLowerCase()}` || lower === `https://${host.toLowerCase()}`) return origin;
    throw new Problem(
      "forbidden",
      `pages of the origin ${JSON.stringify(origin)} may not ask; --cors-origin allows it`,
    );
  }

  #isOurs(host: string): boolean {
    const name = nameOf(host);
    return isLoopback(name) || this.#hosts.has(host) || this.#hosts.has(name);
  }
}

/** Without port and brackets. */
function nameOf(host: string): string {
  const match = /^\[([^\]]*)\](?::\d*)?$/.exec(host) ?? /^([^:]*)(?::\d*)?$/.exec(host);
  return match?.[1] ?? host;
}

function isLoopback(name: string): boolean {
  return (
    name === "localhost" ||
    name.endsWith(".localhost") ||
    name === "::1" ||
    (isIP(name) === 4 && name.startsWith("127."))
  );
}

function isLocalAddress(name: string, localAddress: string | undefined): boolean {
  if (localAddress === undefined || isIP(name) === 0) return false;
  return name === localAddress || `::ffff:${name}` === localAddress;
}

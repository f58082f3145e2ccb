import {
  type Address,
  addressOf,
  decodeRegisterReply,
  encodeRegisterRequest,
  ProtocolError,
  placementMethods,
  type VersionedSettings,
} from "#proto";
import type { Cancel, Clock, Logger, Random } from "#runtime";
import type { Rpc } from "#transport";
import type { RouteCache } from "./route-cache.ts";

/** Repeated this often: placement forgets a router that it has not heard for a few of these, ms. */
const everyMs = 2_000;
const timeoutMs = 1_000;

export interface RegistrationOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly rpc: Pick<Rpc, "call">;
  readonly cache: RouteCache;
  /** Called when the cluster's settings are other than before. */
  readonly onSettings: (settings: VersionedSettings) => void;
  readonly settingsVersion?: number;
}

/**
 * A stateless router's standing word to placement's leader that it is there, so that it is sent route changes
 * and settings. Nodes need none: their reports say the same.
 */
export class Registration {
  readonly #options: RegistrationOptions;
  #settingsVersion: number;
  #rotation = 0;
  #closed = false;
  #cancel: Cancel = () => {};

  constructor(options: RegistrationOptions) {
    this.#options = options;
    this.#settingsVersion = options.settingsVersion ?? 0;
  }

  start(): void {
    if (this.#closed) return;
    const { cache, rpc } = this.#options;
    const to = this.#target();
    if (to === undefined) {
      this.#later(this.#passOver());
      return;
    }
    const request = encodeRegisterRequest({ routes: cache.version, settingsVersion: this.#settingsVersion });
    rpc.call(to, placementMethods.register, request, timeoutMs, (result) => {
      if (!this.#closed) this.#later(result.ok && this.#take(result.body) ? everyMs : this.#passOver());
    });
  }

  close(): void {
    this.#closed = true;
    this.#cancel();
  }

  /** @returns whether placement's leader has taken the word */
  #take(body: Uint8Array): boolean {
    const { cache, logger, onSettings } = this.#options;
    try {
      const reply = decodeRegisterReply(body);
      if (reply.kind === "not_leader") {
        if (reply.leader !== undefined) {
          cache.setPlacementLeader(reply.leader);
          this.#rotation |= 1;
        }
        return false;
      }
      if (reply.settings !== undefined && reply.settings.version > this.#settingsVersion) {
        this.#settingsVersion = reply.settings.version;
        onSettings(reply.settings);
      }
      return true;
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      logger.warn({ err: error }, "malformed answer to a registration");
      return false;
    }
  }

  /** Who leads placement, or who its members are, may be old news: other nodes know newer. */
  #passOver(): number {
    this.#rotation += 1;
    this.#options.cache.refresh();
    return everyMs / 10;
  }

  #target(): Address | undefined {
    const { cache } = this.#options;
    // Every second try goes to a member, in case what is believed to be the leader is gone.
    if (cache.placementLeader !== undefined && this.#rotation % 2 === 0) {
      return addressOf(cache.placementLeader);
    }
    const members = cache.placementMembers;
    const node = members[Math.floor(this.#rotation / 2) % Math.max(1, members.length)];
    return node === undefined ? undefined : addressOf(node);
  }

  #later(delayMs: number): void {
    const { clock, random } = this.#options;
    this.#cancel = clock.after(delayMs / 2 + random.below(delayMs), () => this.start());
  }
}

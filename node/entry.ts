import { askToJoin, probeCluster } from "#placement";
import { isName, type NodeId } from "#proto";
import type { Cancel } from "#runtime";
import { JoinExchange } from "#transport";
import { AssembledNode, type Member } from "./assembled-node.ts";
import type { AssembleOptions } from "./assembly-options.ts";
import { readIdentity, type Wish, writeIdentity } from "./identity.ts";

export type AssembleResult =
  | { readonly ok: true; readonly node: AssembledNode }
  /** One line for people: why this node may not come in. */
  | { readonly ok: false; readonly refusal: string };

/**
 * Starts a node: as whom its data directory says, else as a new member (by the cluster's name alone), else, with
 * `bootstrap`, as the first node of a new cluster. `done` runs once.
 * @returns gives up while `done` has not run
 */
export function assembleNode(options: AssembleOptions, done: (result: AssembleResult) => void): () => void {
  if (!isName(options.name)) return refuseNow(done, `bad node name: ${options.name}`);
  if (!isName(options.cluster)) return refuseNow(done, `bad cluster name: ${options.cluster}`);
  const identity = readIdentity(options.engine);
  if (identity !== undefined && identity.cluster !== options.cluster) {
    return refuseNow(done, `the data directory is of cluster ${identity.cluster}, not ${options.cluster}`);
  }
  if (identity !== undefined && identity.name !== options.name) {
    return refuseNow(done, `the data directory is of node ${identity.name}, not ${options.name}`);
  }
  // R30: --bootstrap on a directory that holds a node does nothing.
  if (identity?.kind === "member") {
    done({ ok: true, node: new AssembledNode(options, identity, []) });
    return () => {};
  }
  return new Entry(options, identity?.nonce, done).begin();
}

function refuseNow(done: (result: AssembleResult) => void, refusal: string): () => void {
  done({ ok: false, refusal });
  return () => {};
}

/** A bootstrapping node listens this long for a cluster of its name before it makes one (R30), ms. */
const probeMs = 1_000;
/** A joiner says that it still waits this often, ms. */
const askMs = 10_000;

/** The way in for an empty directory. */
class Entry {
  readonly #options: AssembleOptions;
  readonly #nonce: string;
  readonly #isNew: boolean;
  readonly #joins: JoinExchange;
  #cancel: Cancel = () => {};
  readonly #done: (result: AssembleResult) => void;

  constructor(options: AssembleOptions, nonce: string | undefined, done: (result: AssembleResult) => void) {
    const { logger, cluster, wire, random } = options;
    this.#options = options;
    this.#nonce = nonce ?? random.hex(16);
    this.#isNew = nonce === undefined;
    this.#joins = new JoinExchange({ clusterName: cluster, self: `x${random.hex(8)}`, wire, logger });
    this.#done = done;
  }

  begin(): () => void {
    if (this.#options.bootstrap === undefined) this.#join();
    else this.#bootstrap(this.#options.bootstrap);
    return () => this.#close();
  }

  #close(): void {
    this.#cancel();
    this.#joins.close();
  }

  #refuse(refusal: string): void {
    this.#close();
    this.#done({ ok: false, refusal });
  }

  #bootstrap(wish: Wish): void {
    const { cluster, name, random, clock } = this.#options;
    this.#cancel = probeCluster({ joins: this.#joins, clock }, probeMs, (clusterId) => {
      if (clusterId !== undefined) {
        return this.#refuse(
          `cluster ${cluster} exists already (${clusterId}): start this node without --bootstrap to join it`,
        );
      }
      const id = { cluster, name, nonce: this.#nonce, clusterId: random.hex(16), nodeId: 1 };
      this.#become({ kind: "member", ...id, wish }, []);
    });
  }

  #join(): void {
    const { engine, name, cluster } = this.#options;
    if (!this.#isNew) return this.#ask();
    // Durable before it is said: a node that crashes while joining must ask as the same one again.
    writeIdentity(engine, { kind: "joining", cluster, name, nonce: this.#nonce }, (error) => {
      if (error !== undefined) this.#refuse(`the data directory cannot be written: ${error.message}`);
      else this.#ask();
    });
  }

  #ask(): void {
    const { name, cluster, http, labels, version, clock, logger } = this.#options;
    const request = { nonce: this.#nonce, name, http, labels, version };
    this.#cancel = askToJoin({ joins: this.#joins, clock }, request, askMs, (outcome) => {
      if (outcome.kind === "refused") return this.#refuse(outcome.detail);
      if (outcome.kind === "joined") {
        const { clusterId, nodeId, members } = outcome;
        return this.#become(
          { kind: "member", cluster, name, nonce: this.#nonce, clusterId, nodeId },
          members,
        );
      }
      const why = outcome.heard ? "its placement has no leader" : "nobody of it answers";
      logger.info({ cluster, why }, "still waiting to be let into the cluster");
      this.#ask();
    });
  }

  #become(identity: Member, members: readonly NodeId[]): void {
    writeIdentity(this.#options.engine, identity, (error) => {
      if (error !== undefined) return this.#refuse(`the data directory cannot be written: ${error.message}`);
      this.#close();
      this.#done({ ok: true, node: new AssembledNode(this.#options, identity, members) });
    });
  }
}

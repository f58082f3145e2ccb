import { askAsRouter } from "#placement";
import { type Address, addressOf, type ClusterId, defaultSettings, type NodeId, type Settings } from "#proto";
import { Registration, RouteCache, Router } from "#router/routing";
import type { Clock, Logger, Random } from "#runtime";
import { JoinExchange, Mesh, Rpc, type TransportLimits, type Wire } from "#transport";

import { routesWaitFor } from "./readiness.ts";

export interface AssembleRouterOptions {
  readonly cluster: string;
  readonly wire: Wire;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly transportLimits?: Partial<TransportLimits>;
}

/** A stateless router: the same routing, no data. `done` runs once it has been let in. */
export function assembleRouter(
  options: AssembleRouterOptions,
  done: (router: AssembledRouter) => void,
): () => void {
  const { cluster, wire, clock, random, logger } = options;
  const self = `x${random.hex(8)}`;
  const joins = new JoinExchange({ clusterName: cluster, self, wire, logger });
  const cancel = askAsRouter({ joins, clock }, Number.POSITIVE_INFINITY, (welcome) => {
    joins.close();
    if (welcome !== undefined) {
      done(new AssembledRouter(options, self, welcome.clusterId, welcome.members));
    }
  });
  return () => {
    cancel();
    joins.close();
  };
}

export class AssembledRouter {
  readonly mesh: Mesh;
  readonly rpc: Rpc;
  readonly routes: RouteCache;
  readonly router: Router;
  readonly #registration: Registration;
  #settings: Settings = defaultSettings;
  #stopped = false;

  constructor(
    options: AssembleRouterOptions,
    self: Address,
    clusterId: ClusterId,
    members: readonly NodeId[],
  ) {
    const { cluster, wire, clock, random, logger, transportLimits: limits } = options;
    const boot = random.hex(6);
    this.mesh = new Mesh({
      clusterName: cluster,
      clusterId,
      self,
      boot,
      wire,
      clock,
      logger,
      ...(limits === undefined ? {} : { limits }),
    });
    this.rpc = new Rpc({ transport: this.mesh, boot, clock, logger });
    const seeds = (): readonly Address[] =>
      [...members, ...this.routes.nodes.map((node) => node.id)].map(addressOf);
    this.routes = new RouteCache({ clock, random, rpc: this.rpc, logger, self, seeds });
    this.router = new Router({ clock, random, logger, rpc: this.rpc, cache: this.routes });
    this.#registration = new Registration({
      clock,
      random,
      logger,
      rpc: this.rpc,
      cache: this.routes,
      onSettings: ({ values }) => this.#configure(values),
    });
    this.mesh.handle("event", (from, body) => this.routes.onEvent(from, body));
    this.routes.start();
    this.#registration.start();
  }

  #configure(settings: Settings): void {
    this.#settings = settings;
    this.router.setLimits({ ...this.router.limits, bytes: settings.max_inflight_bytes });
  }

  ready(): boolean {
    return this.waitsFor().length === 0;
  }

  waitsFor(): readonly string[] {
    return this.#stopped ? ["the router has stopped"] : routesWaitFor(this.routes);
  }

  get settings(): Settings {
    return this.#settings;
  }

  kill(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#registration.close();
    this.routes.close();
    this.router.close();
    this.rpc.close();
    void this.mesh.close();
  }
}

import { type AssembledNode, assembleNode, assembleRouter } from "#node";
import type { Assembly, NodeParts, PlacementView, ProcessParts } from "./assembly.ts";

/** Nodes and routers put together as in production, over simulated seams. */
export const productAssembly: Assembly = {
  node(parts: NodeParts, done) {
    const {
      name,
      cluster,
      bootstrap,
      engine,
      wire,
      bulkWire,
      clock,
      random,
      logger,
      timing,
      limits,
      seams,
      onFatal,
    } = parts;
    assembleNode(
      {
        name,
        cluster,
        http: `${name}:80`,
        labels: { host: name },
        ...(bootstrap === undefined ? {} : { bootstrap }),
        engine,
        wire,
        bulkWire,
        clock,
        random,
        logger,
        timing,
        limits,
        transportLimits: {
          windowBytes: limits.windowBytes,
          minWindowBytes: Math.min(limits.windowBytes, 256 * 1024),
        },
        pid: 1,
        version: "0.0.0",
        onFatal,
        seams,
      },
      (result) => {
        if (!result.ok) {
          done(result);
          return;
        }
        const { node } = result;
        const { nodeId, host, router, routes } = node;
        done({
          ok: true,
          made: {
            nodeId,
            host,
            router,
            routes,
            placement: () => viewOf(node.placement.model),
            ready: () => node.ready(),
            stop: (stopped) => node.stop({ handOver: false }, stopped),
            kill: () => node.kill(),
          },
        });
      },
    );
  },

  router(parts: ProcessParts, done) {
    const { cluster, wire, clock, random, logger } = parts;
    assembleRouter({ cluster, wire, clock, random, logger }, (assembled) => {
      const { router, routes } = assembled;
      done({
        ok: true,
        made: {
          router,
          routes,
          ready: () => assembled.ready(),
          stop: (stopped) => {
            assembled.kill();
            stopped();
          },
          kill: () => assembled.kill(),
        },
      });
    });
  },
};

function viewOf(model: AssembledNode["placement"]["model"]): PlacementView | undefined {
  if (model === undefined) return undefined;
  const { nodes, operations, jobs } = model.state;
  return {
    shards: [...model.shards.values()].map((shard) => shard.descriptor),
    nodes: [...nodes.values()].map(({ name, membership }) => ({ name, membership })),
    running: [...operations.values(), ...jobs.values()].filter(({ state }) => state === "running").length,
  };
}

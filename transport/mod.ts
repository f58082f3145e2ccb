/**
 * Messages between nodes: the `Transport` port, its packet layer `Mesh` over a `Wire`, and the two wires:
 * NATS and the simulated network. Imports `#proto` and `#runtime` alone.
 * @module
 */
export { type JoinAnswer, JoinExchange, type JoinOptions } from "./join.ts";
export type { TransportLimits } from "./link.ts";
export {
  calmLink,
  type SimLink,
  SimNetwork,
  type SimNetworkOptions,
  type SimNetworkStats,
} from "./memory.ts";
export { defaultLimits, Mesh, type MeshOptions } from "./mesh.ts";
export { connectNats, type NatsOptions } from "./nats.ts";
export {
  findNatsServer,
  freePort,
  type NatsServer,
  type NatsServerOptions,
  startNatsServer,
} from "./nats-server.ts";
export type { AbsenceRule } from "./peers.ts";
export {
  type Method,
  Rpc,
  type RpcFailure,
  type RpcHandler,
  type RpcOptions,
  type RpcResult,
  type RpcStats,
} from "./rpc.ts";
export type { DropReason, TransportStats } from "./stats.ts";
export type {
  Channel,
  Priority,
  Sender,
  SendResult,
  Transport,
  TransportEvent,
} from "./transport.ts";
export type { Wire, WireHandler } from "./wire.ts";

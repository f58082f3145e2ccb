import { type Clock, silentLogger } from "#runtime";
import { Mesh, type MeshOptions } from "../mesh.ts";
import { Rpc } from "../rpc.ts";
import type { Channel, Sender, TransportEvent } from "../transport.ts";
import type { Wire } from "../wire.ts";

/** A network that wires can be made of: real, or simulated with its own time. */
export interface WireWorld {
  readonly clock: Clock;
  /** A connected wire of a host. */
  wire(host: string): Promise<Wire>;
  /** Lets the world go on until the condition holds; throws after a generous while. */
  until(holds: () => boolean, what: string): Promise<void>;
  /** The network's server dies without a word. */
  kill(): Promise<void>;
  restart(): Promise<void>;
  close(): Promise<void>;
}

/** By title. */
export type Cases = Readonly<Record<string, (at: Bench) => Promise<void>>>;

export const cluster = "c0ffee00c0ffee00c0ffee00c0ffee00";

export interface BenchNode {
  readonly mesh: Mesh;
  readonly wire: Wire;
  /** All messages, in the order they came. */
  readonly got: { readonly from: Sender; readonly channel: Channel; readonly body: Uint8Array }[];
  readonly events: TransportEvent[];
  bursts: number;
}

type NodeOptions = Partial<MeshOptions> & { readonly self: string };

/** Nodes over a world, closed at the end of a case. */
export class Bench {
  readonly clock: Clock;
  readonly meshes: Mesh[] = [];
  readonly #world: WireWorld;

  constructor(world: WireWorld) {
    this.#world = world;
    this.clock = world.clock;
  }

  wire(host: string): Promise<Wire> {
    return this.#world.wire(host);
  }

  until(holds: () => boolean, what: string): Promise<void> {
    return this.#world.until(holds, what);
  }

  kill(): Promise<void> {
    return this.#world.kill();
  }

  restart(): Promise<void> {
    return this.#world.restart();
  }

  /** Closes a mesh made elsewhere at the end. */
  own(mesh: Mesh): void {
    this.meshes.push(mesh);
  }

  async close(): Promise<void> {
    await Promise.all(this.meshes.map((mesh) => mesh.close()));
    await this.#world.close();
  }

  /** @param prepare - registers handlers before anything can arrive */
  async mesh(
    options: NodeOptions,
    prepare: (mesh: Mesh) => void = () => {},
  ): Promise<{ mesh: Mesh; wire: Wire }> {
    const wire = options.wire ?? (await this.wire(options.self));
    const mesh = new Mesh({
      clusterName: "test",
      clusterId: cluster,
      boot: `b${options.self}`,
      clock: this.clock,
      logger: silentLogger,
      ...options,
      wire,
    });
    this.own(mesh);
    prepare(mesh);
    await this.settled(wire);
    return { mesh, wire };
  }

  /** A mesh whose messages and events are kept. */
  async node(options: NodeOptions): Promise<BenchNode> {
    const heard: Omit<BenchNode, "mesh" | "wire"> = { got: [], events: [], bursts: 0 };
    const made = await this.mesh(options, (mesh) => {
      for (const channel of ["raft", "request", "response", "bulk", "event"] as const) {
        mesh.handle(channel, (from, body) => heard.got.push({ from, channel, body: new Uint8Array(body) }));
      }
      mesh.onEvent((event) => heard.events.push(event));
      mesh.onBurstEnd(() => {
        heard.bursts++;
      });
    });
    return Object.assign(heard, made);
  }

  async rpcNode(options: NodeOptions): Promise<{ mesh: Mesh; rpc: Rpc }> {
    const { mesh } = await this.mesh(options);
    const boot = options.boot ?? `b${options.self}`;
    return { mesh, rpc: new Rpc({ transport: mesh, boot, clock: this.clock, logger: silentLogger }) };
  }

  /** Subscriptions made so far are known to the server: a message to oneself has come round. */
  async settled(wire: Wire): Promise<void> {
    let round = false;
    const subject = `settle.${++this.#rounds}.x`;
    const stop = wire.subscribe(subject, () => {
      round = true;
    });
    wire.publish(subject, new Uint8Array(0));
    await this.until(() => round, "the subscriptions");
    stop();
  }

  #rounds = 0;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function bytes(of: string): Uint8Array {
  return encoder.encode(of);
}

export function text(of: Uint8Array): string {
  return decoder.decode(of);
}

/** The bodies of all messages so far. */
export function texts(of: BenchNode): string[] {
  return of.got.map(({ body }) => text(body));
}

export function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

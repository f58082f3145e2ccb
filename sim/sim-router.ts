import { invariant } from "#runtime";
import type { Wire } from "#transport";
import type { RouterProcess } from "./assembly.ts";
import type { Answer, Call } from "./history.ts";
import { NodeClock } from "./node-clock.ts";
import { submitTo } from "./router-port.ts";
import { SimLogger } from "./sim-logger.ts";
import { stopGraceMs } from "./sim-node.ts";
import { tracedWire } from "./traced-wire.ts";
import type { Port } from "./workload.ts";
import { clusterName, type World } from "./world.ts";

/** A stateless router's process. */
export class SimRouter implements Port {
  readonly name: string;
  readonly #world: World;
  #starts = 0;
  #boot:
    | { readonly clock: NodeClock; readonly wires: readonly Wire[]; process: RouterProcess | undefined }
    | undefined;
  disturbances = 0;

  constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
  }

  get alive(): boolean {
    return this.#boot?.process !== undefined;
  }

  readonly paused = false;

  get process(): RouterProcess | undefined {
    return this.#boot?.process;
  }

  submit(key: string, call: Call, timeoutMs: number, done: (answer: Answer | undefined) => void): void {
    const router = this.#boot?.process?.router;
    invariant(router !== undefined, "calls go to routers that are up");
    submitTo(router, key, call, timeoutMs, done);
  }

  start(): void {
    const { plan, network, trace, assembly, monitor, clock: worldClock } = this.#world;
    this.#starts += 1;
    const random = this.#world.random.fork(`router ${this.name} ${this.#starts}`);
    const clock = new NodeClock(worldClock, random.fork("clock"), {
      driftPpm: 0,
      wallOffsetMicros: 0,
      pollMicrosMax: plan.pollMicrosMax,
    });
    const nowMs = (): number => worldClock.nowMs();
    const wires = [0, 1].map(() => tracedWire(network.wire(this.name), this.name, trace, nowMs));
    const [wire, bulkWire] = wires;
    invariant(wire !== undefined && bulkWire !== undefined, "two wires were made");
    const boot = { clock, wires, process: undefined as RouterProcess | undefined };
    this.#boot = boot;
    const logger = new SimLogger({
      name: this.name,
      trace,
      nowMs,
      onBug: (violation) => monitor.report(violation),
    });
    assembly.router(
      { name: this.name, cluster: clusterName, wire, bulkWire, clock, random, logger },
      (result) => {
        if (this.#boot !== boot) return;
        if (result.ok) boot.process = result.made;
        else this.kill();
      },
    );
  }

  kill(): void {
    const boot = this.#boot;
    if (boot === undefined) return;
    this.#boot = undefined;
    this.disturbances += 1;
    boot.process?.kill();
    boot.clock.kill();
    for (const wire of boot.wires) void wire.close();
  }

  /** Ends in order; `done` hears how many callbacks were left behind. */
  stop(done: (left: number) => void): void {
    const boot = this.#boot;
    if (boot?.process === undefined) {
      this.kill();
      done(0);
      return;
    }
    boot.process.stop(() => {
      this.#world.clock.after(stopGraceMs, () => {
        const left = boot.clock.pending;
        this.kill();
        done(left);
      });
    });
  }
}

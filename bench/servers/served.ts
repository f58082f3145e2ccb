import type { HostPort, System } from "../load/requests.ts";
import type { Child } from "./child.ts";

/** Told of every process right when it is started, so that an interrupted start leaves none behind. */
export type Keep = (child: Child) => void;

/** A cluster of three that runs. */
export interface Served {
  readonly system: System;
  readonly version: string;
  readonly hosts: readonly HostPort[];
  /** All its processes as of now. */
  pids(): readonly number[];
  /** @throws Error, with what it said last, when a process that the benchmark started has ended */
  demandAlive(): void;
  /** What its processes printed last. */
  lastWords(): string;
}

export function urlOf({ host, port }: HostPort): string {
  return `http://${host}:${port}`;
}

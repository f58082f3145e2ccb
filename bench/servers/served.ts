import type { HostPort, System } from "../load/requests.ts";

/** Something that runs until it is stopped. */
export interface Stoppable {
  stop(): Promise<void>;
}

/** Told of every process right when it is started, so that an interrupted start leaves none behind. */
export type Keep = (server: Stoppable) => void;

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

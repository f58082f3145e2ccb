import type { EventEmitter } from "node:events";
import type { Readable } from "node:stream";
import type { Clock, Logger } from "#runtime";
import type { RunningServer } from "./options.ts";

/** How long a stop may take before the process goes without it; nothing acknowledged is lost by that. */
const stopLimitMs = 9500;
/**
 * Ctrl-C under `npm` arrives twice, from the terminal and from npm: signals this close together are one.
 */
export const sameSignalMs = 500;

export interface Lifecycle {
  readonly start: () => Promise<RunningServer>;
  /** The process, for its signals. */
  readonly signals: Pick<EventEmitter, "on" | "off">;
  /** A pipe from the dev cluster: any word or its end means to stop without hand-over (R35). */
  readonly stopPipe?: Readable;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Ends the process at once. */
  readonly exitNow: (code: number) => void;
  /** One line for people on stderr. */
  readonly complain: (line: string) => void;
}

/**
 * Serves until it is told to stop or cannot go on.
 * @returns the exit code: 0 after a stop, 1 when it could not start or go on
 */
export function serveUntilStopped(life: Lifecycle): Promise<number> {
  return new Promise((resolve) => {
    let server: RunningServer | undefined;
    let stopping: { readonly handOver: boolean; readonly sinceMs: number } | undefined;
    let ended = false;
    const end = (code: number): void => {
      if (ended) return;
      ended = true;
      for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) life.signals.off(signal, onSignal);
      resolve(code);
    };
    const fail = (error: unknown): void => {
      // Errors while leaving are not why it leaves.
      if (ended || stopping !== undefined) return;
      const message = error instanceof Error ? error.message : String(error);
      life.logger.error({ err: error }, "cannot go on");
      life.complain(`kvorum: ${message.replaceAll("\n", " ")}`);
      end(1);
    };
    const stopServer = (running: RunningServer, handOver: boolean): void => {
      life.clock.after(stopLimitMs, () => {
        if (ended) return;
        life.logger.error({}, "the stop did not end in time");
        end(1);
      });
      running.stop({ handOver }).then(
        () => end(0),
        (error: unknown) => {
          life.logger.error({ err: error }, "the stop failed");
          end(1);
        },
      );
    };
    const stop = (handOver: boolean): void => {
      if (stopping !== undefined) return;
      stopping = { handOver, sinceMs: life.clock.nowMs() };
      life.logger.info({ handOver }, "stopping");
      // Still joining: nothing is served yet, and waiting for a cluster may take for ever.
      if (server === undefined) end(0);
      else stopServer(server, handOver);
    };
    const onSignal = (): void => {
      if (stopping === undefined) stop(true);
      else if (life.clock.nowMs() - stopping.sinceMs > sameSignalMs) life.exitNow(1);
    };
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) life.signals.on(signal, onSignal);
    for (const event of ["data", "end", "error", "close"]) life.stopPipe?.on(event, () => stop(false));
    life.start().then((running) => {
      server = running;
      running.onFatal(fail);
    }, fail);
  });
}

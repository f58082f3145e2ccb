import { EventEmitter } from "node:events";
import { PassThrough } from "node:stream";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { silentLogger, VirtualClock } from "#runtime";
import { type Lifecycle, sameSignalMs, serveUntilStopped } from "./lifecycle.ts";
import type { RunningServer } from "./options.ts";

let signals: EventEmitter;
let clock: VirtualClock;
let stopPipe: PassThrough;
let complaints: string[];
let exitNow: ReturnType<typeof vi.fn<(code: number) => void>>;
let stop: ReturnType<typeof vi.fn<RunningServer["stop"]>>;
let fatal: (error: Error) => void;
let server: RunningServer;

beforeEach(() => {
  signals = new EventEmitter();
  clock = new VirtualClock();
  stopPipe = new PassThrough();
  complaints = [];
  exitNow = vi.fn();
  stop = vi.fn(() => Promise.resolve());
  fatal = () => {};
  server = {
    httpUrl: "http://127.0.0.1:1",
    ready: () => true,
    stop,
    onFatal: (handler) => {
      fatal = handler;
    },
  };
});

function serve(start: Lifecycle["start"] = () => Promise.resolve(server)): Promise<number> {
  const complain = (line: string) => complaints.push(line);
  return serveUntilStopped({ start, signals, stopPipe, clock, logger: silentLogger, exitNow, complain });
}

/** Lets what is settled be heard. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe("a server's process", () => {
  it.each(["SIGTERM", "SIGINT", "SIGHUP"])("%s hands leaders over and ends with 0", async (signal) => {
    const code = serve();
    await settle();
    signals.emit(signal);
    expect(await code).toBe(0);
    expect(stop).toHaveBeenCalledWith({ handOver: true });
  });

  it("a word on the pipe stops without hand-over (R35)", async () => {
    const code = serve();
    await settle();
    stopPipe.write("stop\n");
    expect(await code).toBe(0);
    expect(stop).toHaveBeenCalledWith({ handOver: false });
  });

  it("the pipe's end stops without hand-over: the dev cluster is gone (R35)", async () => {
    const code = serve();
    await settle();
    stopPipe.end();
    expect(await code).toBe(0);
    expect(stop).toHaveBeenCalledWith({ handOver: false });
  });

  it("a signal while it still joins ends it: nothing is served yet", async () => {
    const code = serve(() => new Promise(() => {}));
    signals.emit("SIGTERM");
    expect(await code).toBe(0);
  });

  it("a second signal ends it at once, but not the echo of the first", async () => {
    stop.mockReturnValue(new Promise(() => {}));
    void serve();
    await settle();
    signals.emit("SIGINT");
    clock.advance(sameSignalMs / 2);
    signals.emit("SIGINT");
    expect(exitNow).not.toHaveBeenCalled();
    clock.advance(sameSignalMs);
    signals.emit("SIGINT");
    expect(exitNow).toHaveBeenCalledWith(1);
  });

  it("a stop that hangs ends within ten seconds, as failed", async () => {
    stop.mockReturnValue(new Promise(() => {}));
    const code = serve();
    await settle();
    signals.emit("SIGTERM");
    clock.advance(10_000);
    expect(await code).toBe(1);
  });

  it("a refusal at the start is one line and exit code 1", async () => {
    const code = serve(() => Promise.reject(new Error("name n1 is taken\nby node 4")));
    expect(await code).toBe(1);
    expect(complaints).toEqual(["kvorum: name n1 is taken by node 4"]);
  });

  it("a fatal error later is one line and exit code 1 (R8)", async () => {
    const code = serve();
    await settle();
    fatal(new Error("sync failed"));
    expect(await code).toBe(1);
    expect(complaints).toEqual(["kvorum: sync failed"]);
    expect(stop).not.toHaveBeenCalled();
  });
});

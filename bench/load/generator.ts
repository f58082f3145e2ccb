/** Closed-loop load: each connection sends its next request when the last one is answered. @module */
import { type Random, seededRandom } from "#runtime";
import { Histogram } from "../histogram.ts";
import { Connection } from "./connection.ts";
import { Corpus, type HostPort, isAnswer, RequestTemplate, type System, type Workload } from "./requests.ts";

export interface LoadSpec {
  readonly system: System;
  /** "fill" writes every key once. */
  readonly workload: Workload | "fill";
  /** Connections are spread over them evenly. */
  readonly hosts: readonly HostPort[];
  readonly connections: number;
  readonly keys: number;
  readonly valueBytes: number;
  readonly seed: string;
}

/** What happened since the last `reset`. */
export interface LoadCount {
  readonly operations: number;
  /** Requests answered by an error, by a wrong value, or not at all. */
  readonly failures: number;
  readonly lastFailure: string;
  readonly elapsedMs: number;
  readonly latencies: Histogram;
}

const reconnectMs = 50;
/** A server that answers nothing but errors shall end the run, not be hammered. */
const failuresInARowMax = 10_000;

export class Generator {
  readonly spec: LoadSpec;
  readonly corpus: Corpus;
  readonly #workers: readonly Worker[];
  readonly #finished: Promise<void>;
  #finish: () => void = () => {};
  #fail: (error: Error) => void = () => {};
  #open = 0;
  #latencies: Histogram = new Histogram();
  #sinceMs = 0;
  #failures = 0;
  #failuresInARow = 0;
  #lastFailure = "";
  #nextFill = 0;
  #filled = 0;

  constructor(spec: LoadSpec) {
    this.spec = spec;
    const { system, keys, valueBytes, hosts, connections } = spec;
    this.corpus = new Corpus(system, keys, valueBytes, seededRandom("values"));
    this.#finished = new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.#fail = reject;
    });
    const random = seededRandom(spec.seed);
    this.#workers = Array.from({ length: connections }, (_, at) => {
      const host = hosts[at % hosts.length];
      if (host === undefined) throw new RangeError("a load needs hosts");
      return new Worker(this, host, random.fork(`connection ${at}`));
    });
  }

  /** Opens all connections; load starts when all are there. */
  start(): void {
    for (const worker of this.#workers) worker.connect();
  }

  /** Settles when every key is written ("fill" alone) or nothing works any more. */
  get finished(): Promise<void> {
    return this.#finished;
  }

  reset(): void {
    this.#latencies = new Histogram();
    this.#failures = 0;
    this.#sinceMs = performance.now();
  }

  count(): LoadCount {
    return {
      operations: this.#latencies.total,
      failures: this.#failures,
      lastFailure: this.#lastFailure,
      elapsedMs: performance.now() - this.#sinceMs,
      latencies: this.#latencies,
    };
  }

  stop(): void {
    for (const worker of this.#workers) worker.stop();
    this.#finish();
  }

  /** @internal The first time only: a connection that was lost goes on by itself. */
  onOpen(): void {
    if (++this.#open < this.#workers.length) return;
    this.reset();
    for (const worker of this.#workers) worker.next();
  }

  /** @internal @returns the key to write or read next; undefined: there is none left */
  nextKey(random: Random): number | undefined {
    const { workload, keys } = this.spec;
    if (workload !== "fill") return random.below(keys);
    return this.#nextFill < keys ? this.#nextFill++ : undefined;
  }

  /** @internal */
  onDone(us: number): void {
    this.#latencies.record(us);
    this.#failuresInARow = 0;
    if (this.spec.workload === "fill" && ++this.#filled === this.spec.keys) this.stop();
  }

  /** @internal */
  onFailure(reason: string): void {
    this.#failures++;
    this.#lastFailure = reason;
    if (++this.#failuresInARow < failuresInARowMax) return;
    this.#fail(new Error(`${failuresInARowMax} failures in a row, the last: ${reason}`));
    for (const worker of this.#workers) worker.stop();
  }
}

class Worker {
  readonly #generator: Generator;
  readonly #host: HostPort;
  readonly #random: Random;
  readonly #template: RequestTemplate;
  readonly #workload: Workload;
  #connection: Connection | undefined;
  #timer: NodeJS.Timeout | undefined;
  #wasOpen = false;
  #stopped = false;
  #key = 0;
  #sentMs = 0;

  constructor(generator: Generator, host: HostPort, random: Random) {
    const { system, workload } = generator.spec;
    this.#generator = generator;
    this.#host = host;
    this.#random = random;
    this.#workload = workload === "fill" ? "put" : workload;
    this.#template = new RequestTemplate(system, this.#workload, host, generator.corpus);
  }

  connect(): void {
    this.#connection = new Connection(this.#host, {
      onOpen: () => this.#onOpen(),
      onAnswer: (status, body) => this.#onAnswer(status, body),
      onLost: (reason) => this.#onLost(reason),
    });
  }

  next(): void {
    const key = this.#generator.nextKey(this.#random);
    if (key === undefined) return;
    this.#key = key;
    this.#send();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#connection?.close();
  }

  #send(): void {
    if (this.#stopped) return;
    const request = this.#template.fill(this.#key, this.#random.below(this.#generator.corpus.valueCount));
    this.#sentMs = performance.now();
    this.#connection?.send(request);
  }

  #onOpen(): void {
    // What was in flight is sent again: a "fill" must leave no key out.
    if (this.#wasOpen) this.#send();
    else {
      this.#wasOpen = true;
      this.#generator.onOpen();
    }
  }

  #onAnswer(status: number, body: Uint8Array): void {
    const { corpus, spec } = this.#generator;
    if (!isAnswer(spec.system, this.#workload, status, body.length, corpus.valueLength)) {
      this.#generator.onFailure(`status ${status}: ${Buffer.from(body).toString("utf8", 0, 300)}`);
      if (spec.workload === "fill") this.#send();
      else this.next();
      return;
    }
    this.#generator.onDone((performance.now() - this.#sentMs) * 1000);
    this.next();
  }

  #onLost(reason: string): void {
    if (this.#stopped) return;
    this.#generator.onFailure(`${this.#host.host}:${this.#host.port}: ${reason}`);
    this.#timer = setTimeout(() => this.connect(), reconnectMs);
  }
}

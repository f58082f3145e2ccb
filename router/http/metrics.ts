import { type Metric, Registry } from "prom-client";

/** One value for `/metrics`. Names begin with `kvorum_` and end in their unit, or `_total` for counters. */
export interface Sample {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge";
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
}

/** Upper bounds, seconds. */
const buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60];

interface Series {
  readonly resource: string;
  readonly method: string;
  readonly status: number;
  requests: number;
}

interface Durations {
  readonly counts: number[];
  sumSeconds: number;
  count: number;
}

/** Counts requests in plain numbers; the registry's own counters hash their labels at each step. */
export class HttpMetrics {
  readonly #series = new Map<string, Series>();
  readonly #durations = new Map<string, Durations>();

  count(resource: string, method: string, status: number, ms: number): void {
    const key = `${resource} ${method} ${status}`;
    const series = this.#series.get(key);
    if (series === undefined) this.#series.set(key, { resource, method: known(method), status, requests: 1 });
    else series.requests += 1;
    let durations = this.#durations.get(resource);
    if (durations === undefined) {
      durations = { counts: buckets.map(() => 0), sumSeconds: 0, count: 0 };
      this.#durations.set(resource, durations);
    }
    const seconds = ms / 1000;
    durations.sumSeconds += seconds;
    durations.count += 1;
    for (let i = 0; i < buckets.length; i++) {
      if (seconds <= (buckets[i] ?? 0)) {
        durations.counts[i] = (durations.counts[i] ?? 0) + 1;
        break;
      }
    }
  }

  /** The whole page, with `samples` of the other rooms. */
  page(samples: readonly Sample[]): Promise<string> {
    const registry = new Registry();
    for (const family of [
      this.#counted(),
      this.#histogram(),
      ...familiesOf([...samples, ...processSamples()]),
    ]) {
      // All that a registry asks of a metric when it writes the page.
      const metric = { name: family.name, get: () => Promise.resolve(family) };
      registry.registerMetric(metric as unknown as Metric<string>);
    }
    return registry.metrics();
  }

  #counted(): Family {
    return {
      name: "kvorum_http_requests_total",
      help: "Answers by resource, method and status",
      type: "counter",
      values: [...this.#series.values()].map(({ resource, method, status, requests }) => ({
        value: requests,
        labels: { resource, method, status: String(status) },
      })),
    };
  }

  #histogram(): Family {
    const name = "kvorum_http_request_duration_seconds";
    const values: FamilyValue[] = [];
    for (const [resource, { counts, sumSeconds, count }] of this.#durations) {
      const add = (suffix: string, value: number, labels = {}): number =>
        values.push({ metricName: `${name}_${suffix}`, value, labels: { resource, ...labels } });
      let below = 0;
      for (const [i, bound] of buckets.entries()) {
        below += counts[i] ?? 0;
        add("bucket", below, { le: String(bound) });
      }
      add("bucket", count, { le: "+Inf" });
      add("sum", sumSeconds);
      add("count", count);
    }
    return { name, help: "From the request's head to its answer", type: "histogram", values };
  }
}

interface FamilyValue {
  readonly value: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Where it differs from the family's. */
  readonly metricName?: string;
}

/** What prom-client's registry prints of a metric. */
interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly values: FamilyValue[];
}

function familiesOf(samples: readonly Sample[]): Family[] {
  const families = new Map<string, Family>();
  for (const { name, help, type, value, labels = {} } of samples) {
    let family = families.get(name);
    if (family === undefined) {
      family = { name, help, type, values: [] };
      families.set(name, family);
    }
    family.values.push({ value, labels });
  }
  return [...families.values()];
}

/** Labels must stay few whatever clients send. */
function known(method: string): string {
  return ["GET", "HEAD", "PUT", "DELETE", "POST", "PATCH", "OPTIONS"].includes(method) ? method : "other";
}

function processSamples(): Sample[] {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed, external } = process.memoryUsage();
  const gauge = (name: string, help: string, value: number): Sample => ({ name, help, type: "gauge", value });
  return [
    {
      name: "kvorum_process_cpu_seconds_total",
      help: "User and system time of this process",
      type: "counter",
      value: (user + system) / 1e6,
    },
    gauge("kvorum_process_resident_memory_bytes", "Resident memory of this process", rss),
    gauge("kvorum_process_heap_used_bytes", "Used JavaScript heap", heapUsed),
    gauge("kvorum_process_external_memory_bytes", "Memory of buffers outside the heap", external),
    gauge("kvorum_process_uptime_seconds", "Time since the process's start", process.uptime()),
  ];
}

/**
 * Counters of a room as samples: `{ bytesSent: 5 }` with prefix `transport` is
 * `kvorum_transport_bytes_sent_total`; a record inside becomes one counter with the label `kind`.
 */
export function counterSamples(prefix: string, counters: object): Sample[] {
  const samples: Sample[] = [];
  for (const [field, value] of Object.entries(counters)) {
    const name = `kvorum_${prefix}_${snakeCase(field)}_total`;
    const help = `Count of ${snakeCase(field).replaceAll("_", " ")} since the start`;
    if (typeof value === "number") samples.push({ name, help, type: "counter", value });
    else if (typeof value === "object" && value !== null) {
      for (const [kind, count] of Object.entries(value)) {
        if (typeof count === "number")
          samples.push({ name, help, type: "counter", value: count, labels: { kind } });
      }
    }
  }
  return samples;
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

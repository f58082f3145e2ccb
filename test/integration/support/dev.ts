import { join } from "node:path";
import { HttpClient } from "./http.ts";
import { freePorts } from "./ports.ts";
import { OwnProcess, processesNaming } from "./processes.ts";
import { demandBuilt, kvorumMain } from "./root.ts";
import { until } from "./wait.ts";

export interface DevPorts {
  readonly http: number;
  readonly nats: number;
}

export async function devPorts(nodes = 3): Promise<DevPorts> {
  const http = await freePorts(nodes + 1);
  return { http, nats: http + nodes };
}

export interface DevOptions {
  /** The cluster's data lies in `data` of it. */
  readonly folder: string;
  readonly ports: DevPorts;
  readonly flags?: readonly string[];
  /** Behind `--`. */
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

/** `kvorum dev` as a process. */
export class Dev {
  readonly data: string;
  readonly lines: string[] = [];
  readonly process: OwnProcess;
  readonly clients: readonly HttpClient[];

  constructor({ folder, ports, flags = [], command = [], environment = {} }: DevOptions) {
    demandBuilt();
    this.data = join(folder, "data");
    this.process = new OwnProcess({
      command: [
        ...[process.execPath, kvorumMain, "dev", "--data", this.data],
        ...["--http-port", `${ports.http}`, "--nats-port", `${ports.nats}`, ...flags],
        ...(command.length === 0 ? [] : ["--", ...command]),
      ],
      environment,
      logPath: join(folder, "dev.log"),
      onLine: (line) => this.lines.push(line),
    });
    this.clients = [1, 2, 3].map((i) => new HttpClient(`n${i}`, ports.http + i - 1));
  }

  get ready(): boolean {
    return this.lines.some((line) => line.startsWith("ready"));
  }

  async untilReady(): Promise<void> {
    await until(
      "dev says ready",
      () => this.ready || !this.process.running,
      // Its own watch over the nodes tells more than a limit here would.
      { limitMs: 120_000 },
    );
    if (!this.ready) throw new Error(`dev ended before it was ready: ${this.lines.join("\n")}`);
  }

  /** Of everything it runs, itself included. */
  pids(): readonly number[] {
    return processesNaming(this.data).map(({ pid }) => pid);
  }

  close(): void {
    for (const client of this.clients) client.close();
  }
}

import type { Logger } from "#runtime";

/** What a node and a stateless router have in common. */
export interface ServerOptions {
  /** The cluster's name; the NATS subjects carry it. */
  readonly cluster: string;
  readonly natsUrls: readonly string[];
  readonly http: { readonly host: string; readonly port: number };
  /** Foreign origins whose pages may call. */
  readonly corsOrigins: readonly string[];
  /** Names besides loopback and the HTTP address that `Host` may say. */
  readonly hosts: readonly string[];
  /** Absent: no tokens are asked for. */
  readonly tokenFile?: string;
  /** Serve off loopback without tokens. */
  readonly insecure: boolean;
  /** The NATS server's max_pending, in bytes: receivers grant windows below half of it (R28). */
  readonly natsMaxPendingBytes: number;
  readonly logger: Logger;
}

export type Partition = "hash" | "range";

/** How the first node makes a new cluster. */
export interface BootstrapOptions {
  readonly shards: number;
  readonly replicas: number;
  readonly partition: Partition;
}

export interface NodeOptions extends ServerOptions {
  readonly name: string;
  readonly dataDir: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Only on the first node of a new cluster; does nothing on a directory that holds a node (R30). */
  readonly bootstrap?: BootstrapOptions;
}

export type RouterOptions = ServerOptions;

/** A node or router that serves. */
export interface RunningServer {
  /** Where it serves, with the port that it got. */
  readonly httpUrl: string;
  ready(): boolean;
  /**
   * Stops serving, flushes and closes, within nine seconds.
   * @param options.handOver - give leaders to other nodes first; a cluster stopping whole does not (R35)
   */
  stop(options: { readonly handOver: boolean }): Promise<void>;
  /** Called once, when it cannot go on (R8). */
  onFatal(handler: (error: Error) => void): void;
}

export interface RunningNode extends RunningServer {
  readonly nodeId: number;
}

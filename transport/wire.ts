/**
 * Called for each message of a subscription. `data` is a view that may pin a larger buffer.
 * @param noResponders - the network's own answer: nobody listened where a message with this reply subject
 *   went; `data` is empty then
 */
export type WireHandler = (subject: string, data: Uint8Array, noResponders: boolean) => void;

/**
 * What the packet layer needs of a publish/subscribe network: at most once, in order between one publisher
 * and one subscriber while both stay connected, no answer to a publish. Small on purpose, so that the very
 * same `Mesh` runs over NATS and over the simulated network.
 */
export interface Wire {
  readonly connected: boolean;
  /** How often this wire got connected so far: 0 before the first time. */
  readonly epoch: number;
  /** Largest `data` of one publish, in bytes. */
  readonly maxPayloadBytes: number;
  /**
   * Hands one message to the network. `data` belongs to the wire from here on. Does nothing while
   * disconnected: what a NATS client buffers then, it drops without a word at the next dial.
   * @param reply - subject on which the network says that nobody listens
   * @returns false when nothing was sent
   */
  publish(subject: string, data: Uint8Array, reply?: string): boolean;
  /**
   * Subscribes to a subject; its last token may be `*`. Lasts over reconnects. A handler that throws is
   * logged and never stops the reader.
   * @returns ends the subscription
   */
  subscribe(subject: string, handler: WireHandler): () => void;
  /** Told of every change of `connected`, after it changed. Returns the way to stop it. */
  onStatus(handler: (connected: boolean) => void): () => void;
  /** Sends what was published and ends. Later publishes do nothing. */
  close(): Promise<void>;
}

import type { Wire, WireHandler } from "#transport";
import type { Trace } from "./trace.ts";

/** A wire whose deliveries are part of the trace hash. `ran` is called after each, for the checks. */
export function tracedWire(inner: Wire, host: string, trace: Trace, nowMs: () => number): Wire {
  const traced = (handler: WireHandler): WireHandler => {
    return (subject, data, noResponders) => {
      trace.feed(nowMs(), `${host} ${subject}${noResponders ? " nobody" : ""}`, data);
      handler(subject, data, noResponders);
    };
  };
  return {
    get connected() {
      return inner.connected;
    },
    get epoch() {
      return inner.epoch;
    },
    get maxPayloadBytes() {
      return inner.maxPayloadBytes;
    },
    publish: (subject, data, reply) => inner.publish(subject, data, reply),
    subscribe: (subject, handler) => inner.subscribe(subject, traced(handler)),
    onStatus: (handler) => inner.onStatus(handler),
    close: () => inner.close(),
  };
}

import { describe, it } from "vitest";
import { Bench, type WireWorld } from "./conformance/bench.ts";
import { callCases } from "./conformance/calls.conformance.ts";
import { packetCases } from "./conformance/packets.conformance.ts";
import { peerCases } from "./conformance/peers.conformance.ts";
import { windowCases } from "./conformance/windows.conformance.ts";

/** What every pair of `Mesh` and `Wire` must keep to; run over each kind of wire. */
export function transportConformance(name: string, makeWorld: () => Promise<WireWorld>): void {
  const groups = { packets: packetCases, windows: windowCases, peers: peerCases, calls: callCases };
  describe.each(Object.entries(groups))(`${name}: %s`, (_, cases) => {
    it.each(Object.entries(cases))("%s", async (__, run) => {
      const bench = new Bench(await makeWorld());
      try {
        await run(bench);
      } finally {
        await bench.close();
      }
    });
  });
}

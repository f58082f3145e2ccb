import { seededRandom, VirtualClock } from "#runtime";
import { transportConformance } from "./conformance.ts";
import { SimNetwork } from "./memory.ts";

transportConformance("the simulated network", () => {
  const clock = new VirtualClock();
  const network = new SimNetwork({ clock, random: seededRandom(1) });
  const until = (holds: () => boolean, what: string): Promise<void> => {
    const endMs = clock.nowMs() + 120_000;
    while (!holds()) {
      if (clock.nowMs() > endMs) throw new Error(`waited in vain for ${what}`);
      clock.advance(0.25);
    }
    return Promise.resolve();
  };
  return Promise.resolve({
    clock,
    until,
    async wire(host) {
      const wire = network.wire(host);
      await until(() => wire.connected, "the connection");
      return wire;
    },
    kill() {
      network.stopServer();
      return Promise.resolve();
    },
    restart() {
      network.startServer();
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  });
});

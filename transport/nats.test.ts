import { realClock, silentLogger } from "#runtime";
import { transportConformance } from "./conformance.ts";
import { connectNats } from "./nats.ts";
import { startNatsServer } from "./nats-server.ts";
import type { Wire } from "./wire.ts";

transportConformance("NATS", async () => {
  const server = await startNatsServer();
  const wires: Wire[] = [];
  return {
    clock: realClock(),
    async until(holds, what) {
      const giveUpMs = performance.now() + 15_000;
      while (!holds()) {
        if (performance.now() > giveUpMs) throw new Error(`waited in vain for ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    },
    async wire(host) {
      const options = { servers: [server.url], name: host, logger: silentLogger, timeoutMs: 10_000 };
      const wire = await connectNats(options);
      wires.push(wire);
      return wire;
    },
    kill: () => server.kill(),
    restart: () => server.restart(),
    async close() {
      await Promise.all(wires.map((wire) => wire.close()));
      await server.stop();
    },
  };
});

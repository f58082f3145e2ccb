import { createServer } from "node:net";
import type { Random } from "#runtime";

/** @returns the first of `count` ports in a row on which nobody listens on the loopback now */
export async function freePorts(count: number, random: Random): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    // Below what systems hand out for outgoing connections, which come and go.
    const first = 10_000 + random.below(20_000);
    const free = await Promise.all(Array.from({ length: count }, (_, at) => isFree(first + at)));
    if (free.every(Boolean)) return first;
  }
  throw new Error(`found no ${count} free ports in a row`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => resolve(true)));
  });
}

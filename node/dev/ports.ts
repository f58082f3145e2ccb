import { createServer } from "node:net";

/** Those of `ports` on which nobody can listen on the loopback now. */
export async function portsInUse(ports: readonly number[]): Promise<readonly number[]> {
  const used = await Promise.all(ports.map(async (port) => ((await isFree(port)) ? [] : [port])));
  return used.flat();
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => resolve(true)));
  });
}

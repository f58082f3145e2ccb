#!/usr/bin/env node
import { processIo, run } from "./cli/run.ts";
import { letHeapGrow } from "./start/heap.ts";

letHeapGrow();

// A reader that has seen enough (`kvorum shards | head`) is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

const code = await run({ argv: process.argv.slice(2), environment: process.env, io: processIo() });
// A server's last sockets and timers must not hold a stopped process.
process.exit(code);

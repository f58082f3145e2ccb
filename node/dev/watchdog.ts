import { spawn } from "node:child_process";

/** Ends the nats-server when `dev` is killed and cannot do so itself. */
export interface Watchdog {
  /** Watches over this process from now on; undefined: over none. */
  watch(pid: number | undefined): void;
  /** Resolves once it is gone. */
  close(): Promise<void>;
}

/**
 * The kernel closes a dead process's pipes whatever killed it: the shell reads process ids until that
 * end and then ends the last one. Its own process group keeps Ctrl-C from it.
 */
const script =
  'last=0; while read -r pid; do last=$pid; done; [ "$last" -eq 0 ] || kill "$last" 2>/dev/null; :';

export function startWatchdog(): Watchdog {
  const child = spawn("sh", ["-c", script], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
  const gone = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  child.stdin.on("error", () => {});
  return {
    watch: (pid) => void child.stdin.write(`${pid ?? 0}\n`),
    async close() {
      child.stdin.end("0\n");
      await gone;
    },
  };
}

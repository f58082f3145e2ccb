import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { findNatsServer, startNatsServer } from "./nats-server.ts";

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const giveUpMs = performance.now() + 10_000;
  while (!(await holds())) {
    if (performance.now() > giveUpMs) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(socket.destroy() !== undefined));
    socket.once("error", () => resolve(false));
  });
}

it("starts, is killed, comes back on its port, and stops", async () => {
  const storeDir = mkdtempSync(join(tmpdir(), "kvorum-nats-test-"));
  const server = await startNatsServer({ storeDir });
  const first = server.pid ?? 0;
  expect(isAlive(first)).toBe(true);
  expect(existsSync(join(storeDir, "nats-server.conf"))).toBe(true);
  await server.kill();
  expect(server.pid).toBeUndefined();
  expect(isAlive(first)).toBe(false);
  await server.restart();
  expect(server.pid).not.toBe(first);
  await server.stop();
  expect(await listens(server.port)).toBe(false);
  expect(existsSync(storeDir)).toBe(true);
  rmSync(storeDir, { recursive: true });
});

it("refuses a port that is taken", async () => {
  const server = await startNatsServer();
  await expect(startNatsServer({ port: server.port })).rejects.toThrow("already");
  await server.stop();
});

/** The module as a process of its own can load it, without anybody to take its types away. */
function compiled(): string {
  const directory = mkdtempSync(join(tmpdir(), "kvorum-nats-test-"));
  writeFileSync(join(directory, "package.json"), '{ "type": "module" }');
  const source = fileURLToPath(new URL("nats-server.ts", import.meta.url));
  const compiler = fileURLToPath(new URL("../node_modules/.bin/tsc", import.meta.url));
  const flags = [
    "--ignoreConfig",
    "--module",
    "nodenext",
    "--target",
    "es2023",
    "--types",
    "node",
    "--noCheck",
  ];
  execFileSync(compiler, [...flags, "--rewriteRelativeImportExtensions", "--outDir", directory, source]);
  return directory;
}

it("R35: ends when the process that started it is gone, even by kill -9", async () => {
  const script = `
    import("./nats-server.js").then(async ({ startNatsServer }) => {
      const server = await startNatsServer({ storeDir: process.cwd() });
      console.log(server.port);
      setInterval(() => {}, 1000);
    });`;
  expect(findNatsServer()).toBeDefined();
  const directory = compiled();
  const parent = spawn(process.execPath, ["-e", script], {
    cwd: directory,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  parent.stdout.on("data", (data) => {
    output += data;
  });
  await until(() => output.includes("\n"), "the port");
  const port = Number(output);
  expect(await listens(port)).toBe(true);
  parent.kill("SIGKILL");
  await until(async () => !(await listens(port)), "the server's end");
  rmSync(directory, { recursive: true });
});

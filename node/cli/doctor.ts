import { execFileSync } from "node:child_process";
import { statfsSync } from "node:fs";
import { findNatsServer } from "#transport";
import type { Context, Run } from "./command.ts";
import { openApi } from "./http.ts";
import { exitCodes } from "./outcome.ts";
import { json, url } from "./settings.ts";
import { bytesText } from "./table.ts";

interface Finding {
  readonly check: string;
  readonly verdict: "ok" | "warning" | "failed";
  readonly detail: string;
}

/** Below this, a node refuses writes (R36); a warning comes in time. */
const lowDiskBytes = 4 * 2 ** 30;

/** `kvorum doctor`: exit code 1 when something keeps Kvorum from working. */
export const doctor: Run = async (context) => {
  const findings = [nodeVersion(), natsServer(), disk(), ...(await cluster(context))];
  const asJson = context.values.get(json, false);
  for (const finding of findings) {
    const line = `${finding.verdict.padEnd(7)}  ${finding.check}: ${finding.detail}`;
    context.io.out(asJson ? `${JSON.stringify(finding)}\n` : `${line}\n`);
  }
  return findings.some(({ verdict }) => verdict === "failed") ? exitCodes.failed : exitCodes.ok;
};

function nodeVersion(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const enough = major > 20 || (major === 20 && minor >= 19);
  return {
    check: "node",
    verdict: enough ? "ok" : "failed",
    detail: `${process.versions.node} (20.19 or newer is needed)`,
  };
}

function natsServer(): Finding {
  const path = findNatsServer();
  // Only dev and a machine that runs NATS itself need it.
  if (path === undefined)
    return { check: "nats-server", verdict: "warning", detail: "not found: kvorum dev needs it" };
  try {
    const text = execFileSync(path, ["--version"], { encoding: "utf8", timeout: 5000 });
    return { check: "nats-server", verdict: "ok", detail: `${path} ${text.trim()}` };
  } catch (error) {
    return {
      check: "nats-server",
      verdict: "failed",
      detail: `${path}: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
}

function disk(): Finding {
  const { bavail, bsize } = statfsSync(".");
  const free = bavail * bsize;
  return {
    check: "disk",
    verdict: free < lowDiskBytes ? "warning" : "ok",
    detail: `${bytesText(free)} free here`,
  };
}

async function cluster({ values }: Context): Promise<readonly Finding[]> {
  const api = openApi(values);
  const where = values.get(url, ["http://127.0.0.1:7401"]).join(", ");
  try {
    const found = await api.json({ method: "GET", path: "/v1/admin/cluster" });
    return [{ check: "cluster", verdict: "ok", detail: `answers at ${where}` }, shardHealth(found)];
  } catch (error) {
    return [
      { check: "cluster", verdict: "failed", detail: error instanceof Error ? error.message : String(error) },
    ];
  }
}

function shardHealth(found: unknown): Finding {
  const shards = typeof found === "object" && found !== null && "shards" in found ? found.shards : undefined;
  const counts: Readonly<Record<string, unknown>> =
    typeof shards === "object" && shards !== null ? { ...shards } : {};
  const leaderless = Number(counts["leaderless"] ?? 0);
  const behind = Number(counts["under_replicated"] ?? 0);
  const detail = `${counts["total"] ?? "?"} in all, ${leaderless} without leader, ${behind} under-replicated`;
  return { check: "shards", verdict: leaderless > 0 ? "failed" : behind > 0 ? "warning" : "ok", detail };
}

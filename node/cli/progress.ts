import type { Context, Io } from "./command.ts";
import { asDocument, type Document, print } from "./documents.ts";
import { openApi } from "./http.ts";
import { CommandError, exitCodes } from "./outcome.ts";
import { durationText } from "./plan-text.ts";
import { json } from "./settings.ts";
import { show } from "./table.ts";

const drawMs = 250;
const lookMs = 1_000;
/** So many looks in a row may find nobody: placement may be choosing a new leader. */
const missesMax = 30;
const barColumns = 24;

/**
 * Watches an operation until it is over, with a bar on a terminal and lines elsewhere, both on stderr. The
 * operation goes on when the command is ended.
 * @returns 0 when it is done, 1 when it failed or was cancelled
 */
export async function follow(context: Context, id: string, done: string): Promise<number> {
  const { io } = context;
  const drawn = io.errIsTerminal ? bar(io) : lines(io);
  let misses = 0;
  for (;;) {
    const found = await look(context, id);
    if (found instanceof CommandError) {
      misses += 1;
      if (misses > missesMax) throw found;
      drawn.show({ state: "running", blocked_by: found.message });
    } else {
      misses = 0;
      drawn.show(found);
      if (found["state"] !== "running") {
        drawn.end();
        return ended(context, found, done);
      }
    }
    await io.sleep(io.errIsTerminal ? drawMs : lookMs);
  }
}

async function look({ values }: Context, id: string): Promise<Document | CommandError> {
  try {
    const path = `/v1/admin/operations/${encodeURIComponent(id)}`;
    return asDocument(await openApi(values).json({ method: "GET", path }));
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === exitCodes.unavailable) return error;
    throw error;
  }
}

function ended(context: Context, operation: Document, done: string): number {
  const { id, state, detail, reason } = operation;
  if (state === "done") return print(context, operation, () => `${done}\n`);
  if (context.values.get(json, false)) context.io.out(`${JSON.stringify(operation)}\n`);
  const why = show(detail ?? reason);
  throw new CommandError(
    exitCodes.failed,
    `operation ${id} ${state === "failed" ? "failed" : `was ${state}`}: ${why}`,
  );
}

interface Drawn {
  show(operation: Document): void;
  end(): void;
}

/** One line that is drawn over and over. */
function bar(io: Io): Drawn {
  const erase = "\r\u001b[K";
  return {
    show(operation) {
      const share = Math.min(1, Math.max(0, Number(operation["progress"] ?? 0)));
      const full = Math.round(share * barColumns);
      const text = `[${"#".repeat(full)}${"-".repeat(barColumns - full)}] ${statusText(operation)}`;
      // A line that wraps could not be erased.
      io.err(erase + text.slice(0, Math.max(20, io.errColumns - 1)));
    },
    end() {
      io.err(erase);
    },
  };
}

/** A line whenever something has changed. */
function lines(io: Io): Drawn {
  let last = "";
  return {
    show(operation) {
      const { steps_done: steps, blocked_by: blocked, state } = operation;
      const now = JSON.stringify([steps, blocked, state]);
      if (now === last || state !== "running") return;
      last = now;
      io.err(`${statusText(operation)}\n`);
    },
    end() {},
  };
}

function statusText(operation: Document): string {
  const { progress, steps_done: steps, steps_total: total, eta_ms: eta, blocked_by: blocked } = operation;
  return [
    ...(typeof progress === "number" ? [`${Math.floor(progress * 100)} %`] : []),
    ...(typeof steps === "number" ? [`${steps}/${total} steps`] : []),
    ...(typeof eta === "number" && eta > 0 ? [`about ${durationText(eta)} left`] : []),
    ...(typeof blocked === "string" ? [waitingText(blocked)] : []),
  ].join(", ");
}

export function waitingText(blocked: string): string {
  return blocked.startsWith("waits") ? blocked : `waits: ${blocked}`;
}

import { changeSettings } from "#proto";
import { type AdminContext, type Answer, carryOut } from "./context.ts";
import { type Parameters, Refusal } from "./parameters.ts";

/** `{changes}`: all of them or none. */
export function setConfig(context: AdminContext, parameters: Parameters, answer: Answer): void {
  const changes = parameters.take("changes");
  parameters.end();
  if (typeof changes !== "object" || changes === null || Array.isArray(changes)) {
    throw new Refusal("bad_request", "the settings to change must be an object");
  }
  const wanted = changes as Readonly<Record<string, unknown>>;
  const settings = changeSettings(context.model.settings, wanted);
  if (typeof settings === "string") throw new Refusal("bad_parameter", settings);
  if (Object.keys(wanted).length === 0) return answer({ kind: "ok", status: 200, body: settings });
  const command = { name: "config.set", changes: wanted } as const;
  carryOut(context, { command, status: 200, body: { ...settings }, isOperation: false }, answer);
}

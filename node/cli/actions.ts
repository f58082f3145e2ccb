import type { Setting } from "../config.ts";
import { UsageError } from "../config.ts";
import type { Context, Run } from "./command.ts";

/** What stands behind a command's name: `kvorum nodes drain n1`. */
export interface Action {
  /** What its second argument names; absent: it takes none. */
  readonly names?: string;
  /** More arguments may follow. */
  readonly many?: boolean;
  /** Flags of the command that mean something here, beside those of all. */
  readonly flags: readonly Setting<unknown>[];
  readonly run: (context: Context, which: string) => Promise<number>;
}

/**
 * One command of several actions. A flag that an action has no use for is refused, as somebody counts on it.
 * @param bare - without an action
 */
export function withActions(
  name: string,
  own: readonly Setting<unknown>[],
  bare: Action,
  actions: Readonly<Record<string, Action>>,
): Run {
  return (context) => {
    const { args, values } = context;
    const [action, which = "", ...more] = args;
    const found = action === undefined ? bare : actions[action];
    if (found === undefined) {
      const known = Object.keys(actions).join(", ");
      throw new UsageError(`${name}: unknown action ${JSON.stringify(action)}: expected one of ${known}`);
    }
    const full = action === undefined ? name : `${name} ${action}`;
    if (found.names === undefined ? which !== "" : which === "") {
      throw new UsageError(
        found.names === undefined ? `${full}: too many arguments` : `${full}: say which ${found.names}`,
      );
    }
    if (more.length > 0 && found.many !== true) throw new UsageError(`${full}: too many arguments`);
    for (const setting of own) {
      if (found.flags.includes(setting) || values.source(setting) !== "flag") continue;
      throw new UsageError(`${full}: has no use for --${setting.flag}`);
    }
    return found.run(context, which);
  };
}

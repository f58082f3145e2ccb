import type { Command } from "../commands.ts";
import type { Model } from "../model.ts";

/**
 * Looks at the cluster and says what to write into placement's log now; reads no clock, sends nothing. An
 * empty answer means that all is well, or that the time has not come.
 */
export type Checker = (model: Model) => readonly Command[];

export type Liveness = "up" | "suspect" | "down";

export interface LivenessFacts {
  /** Since its last report, or since the placement term began. */
  readonly ageMs: number;
  /** Placement's own link to it is gone (R21). */
  readonly linkLost: boolean;
  /** It is down by the log, and has not reported since. */
  readonly loggedDown: boolean;
  /** Live nodes that share a group with it, placement's included, and how many of them miss it too. */
  readonly witnesses: number;
  readonly missedBy: number;
  readonly suspectAfterMs: number;
  readonly downAfterMs: number;
}

/**
 * `suspect` at once when its link is lost, or when it is silent for a while: nothing new is put there.
 * `down`, which starts repair, takes long silence and the word of most who would notice (R32): otherwise a
 * broken link of placement alone would move every replica of a healthy node.
 */
export function livenessOf(f: LivenessFacts): Liveness {
  if (f.loggedDown) return "down";
  if (f.ageMs < f.suspectAfterMs && !f.linkLost) return "up";
  const confirmed = f.witnesses === 0 || f.missedBy * 2 > f.witnesses;
  return f.ageMs >= f.downAfterMs && confirmed ? "down" : "suspect";
}

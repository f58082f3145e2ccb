/**
 * Which of `offered` (best first) an Accept header allows (RFC 9110, 12.5.1): the one it weighs highest, of
 * equals the first. Parameters other than `q` are ignored.
 * @returns undefined when it allows none
 */
export function negotiate(accept: string | undefined, offered: readonly string[]): string | undefined {
  if (accept === undefined || accept === "*/*") return offered[0];
  const ranges = accept.split(",").map(readRange);
  let best: string | undefined;
  let bestWeight = 0;
  for (const type of offered) {
    const weight = weightOf(type, ranges);
    if (weight > bestWeight) {
      best = type;
      bestWeight = weight;
    }
  }
  return best;
}

interface Range {
  readonly type: string;
  readonly weight: number;
}

function readRange(text: string): Range {
  const [type = "", ...parameters] = text.split(";").map((part) => part.trim().toLowerCase());
  const q = parameters.find((parameter) => parameter.startsWith("q="));
  const weight = q === undefined ? 1 : Number(q.slice(2));
  return { type, weight: weight >= 0 && weight <= 1 ? weight : 0 };
}

/** By the most specific range that covers the type. */
function weightOf(type: string, ranges: readonly Range[]): number {
  const wider = `${type.slice(0, type.indexOf("/"))}/*`;
  for (const name of [type, wider, "*/*"]) {
    const range = ranges.find((candidate) => candidate.type === name);
    if (range !== undefined) return range.weight;
  }
  return 0;
}

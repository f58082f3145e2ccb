/** Live settings of a cluster, held by placement and handed to every node and router. */
export interface Settings {
  /** Voters of each shard, where its keyspace was not made with a number of its own. */
  readonly replicas: number;
  readonly placement_replicas: number;
  readonly split_bytes: number;
  readonly split_qps: number;
  readonly merge_bytes: number;
  readonly merge_enabled: boolean;
  /** Background moves; what an operator asks for happens nevertheless. */
  readonly rebalance_enabled: boolean;
  /** Per node, as source or target. */
  readonly max_concurrent_moves: number;
  readonly move_bytes_per_s: number;
  readonly suspect_after_ms: number;
  readonly down_after_ms: number;
  readonly watch_keep_ms: number;
  readonly watch_keep_bytes: number;
  readonly idempotency_keep_ms: number;
  readonly idempotency_keep_per_shard: number;
  readonly max_value_bytes: number;
  readonly max_inflight_bytes: number;
  readonly max_clock_skew_ms: number;
}

export type SettingName = keyof Settings;

interface Rule {
  readonly byDefault: number | boolean;
  /** Undefined when `value` will do, else what it must be. */
  readonly wants: (value: unknown) => string | undefined;
}

const kib = 1024;
const mib = 1024 * kib;

function whole(byDefault: number, min: number, max: number): Rule {
  return {
    byDefault,
    wants: (value) =>
      typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max
        ? undefined
        : `a whole number from ${min} to ${max}`,
  };
}

function oneOf(byDefault: number, choices: readonly number[]): Rule {
  return {
    byDefault,
    wants: (value) => (choices.some((c) => c === value) ? undefined : `one of ${choices.join(", ")}`),
  };
}

function truth(byDefault: boolean): Rule {
  return { byDefault, wants: (value) => (typeof value === "boolean" ? undefined : "true or false") };
}

const rules: Readonly<Record<SettingName, Rule>> = {
  // Odd sizes only: an even group survives no more deaths than the odd one below it (R10).
  replicas: oneOf(3, [1, 3, 5]),
  placement_replicas: oneOf(3, [1, 3, 5]),
  split_bytes: whole(256 * mib, 64 * kib, 2 ** 40),
  split_qps: whole(3_000, 1, 10_000_000),
  merge_bytes: whole(16 * mib, 0, 2 ** 40),
  merge_enabled: truth(false),
  rebalance_enabled: truth(true),
  max_concurrent_moves: whole(2, 1, 1_000),
  move_bytes_per_s: whole(32 * mib, 64 * kib, 2 ** 40),
  suspect_after_ms: whole(2_000, 500, 600_000),
  down_after_ms: whole(300_000, 1_000, 30 * 86_400_000),
  watch_keep_ms: whole(3_600_000, 1_000, 30 * 86_400_000),
  watch_keep_bytes: whole(64 * mib, 64 * kib, 2 ** 40),
  idempotency_keep_ms: whole(86_400_000, 1_000, 30 * 86_400_000),
  idempotency_keep_per_shard: whole(100_000, 1, 10_000_000),
  max_value_bytes: whole(mib, 1, 8 * mib),
  max_inflight_bytes: whole(64 * mib, mib, 2 ** 40),
  max_clock_skew_ms: whole(500, 10, 60_000),
};

export const settingNames: readonly SettingName[] = Object.keys(rules) as SettingName[];

export const defaultSettings: Settings = Object.fromEntries(
  settingNames.map((name) => [name, rules[name].byDefault]),
) as unknown as Settings;

export function isSettingName(name: string): name is SettingName {
  return Object.hasOwn(rules, name);
}

/**
 * `settings` with `changes` made.
 * @returns text that names the bad one when a name is unknown, a value will not do, or two contradict
 */
export function changeSettings(
  settings: Settings,
  changes: Readonly<Record<string, unknown>>,
): Settings | string {
  const changed: Record<string, unknown> = { ...settings };
  for (const [name, value] of Object.entries(changes)) {
    if (!isSettingName(name)) return `${name}: there is no such setting`;
    const wanted = rules[name].wants(value);
    if (wanted !== undefined) return `${name}: must be ${wanted}`;
    changed[name] = value;
  }
  const result = changed as unknown as Settings;
  if (result.down_after_ms < result.suspect_after_ms) {
    return "down_after_ms: must not be below suspect_after_ms";
  }
  return result;
}

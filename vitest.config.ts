import type { ViteUserConfig } from "vitest/config";

/** Many tests start processes or search; a slow machine is no reason to fail. */
const timeouts = { testTimeout: 60_000, hookTimeout: 60_000 };
const everywhere: { exclude: string[]; pool: "forks" } = {
  exclude: ["dist/**", "node_modules/**"],
  pool: "forks",
};
/** The rooms' sources, not what was built from them. */
const ssr = { resolve: { conditions: ["source"] } };

const config: ViteUserConfig = {
  test: {
    projects: [
      {
        ssr,
        test: {
          ...everywhere,
          ...timeouts,
          name: "unit",
          include: ["**/*.test.ts", "scripts/**/*.test.mjs"],
          exclude: [...everywhere.exclude, "test/**"],
        },
      },
      { ssr, test: { ...everywhere, ...timeouts, name: "direction", include: ["test/*.test.ts"] } },
      { ssr, test: { ...everywhere, ...timeouts, name: "golden", include: ["test/golden/**/*.test.ts"] } },
      {
        ssr,
        test: { ...everywhere, ...timeouts, name: "scenarios", include: ["test/scenarios/**/*.test.ts"] },
      },
      {
        // Real processes on real ports: one file at a time, or they starve each other.
        ssr,
        test: {
          ...everywhere,
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
    ],
  },
};

export default config;

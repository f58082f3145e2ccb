/** `run.js DIR`: replays every `*.jsonl` of a folder on the core. Exit 0 only when every script matches. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Difference, runScript } from "./runner.ts";

function main(folder: string | undefined, print: (line: string) => void): number {
  if (folder === undefined) {
    print("usage: npm run test:raft-gold -- DIR");
    return 2;
  }
  const names = readdirSync(folder)
    .filter((name) => name.endsWith(".jsonl"))
    .sort();
  let matchedSteps = 0;
  let strict = 0;
  let failed = 0;
  for (const name of names) {
    try {
      const result = runScript(readFileSync(join(folder, name), "utf8"));
      if (result.strictDifferences.length === 0) strict++;
      if (result.differences.length === 0) {
        matchedSteps += result.steps;
        continue;
      }
      for (const difference of result.differences.slice(0, 5)) print(describe(name, difference));
    } catch (error) {
      print(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
    failed++;
  }
  if (names.length === 0) print(`no scripts (*.jsonl) in ${folder}`);
  print(`${names.length - failed} of ${names.length} scripts match, ${strict} of them at every step`);
  print(`${matchedSteps} steps matched`);
  return names.length > 0 && failed === 0 ? 0 : 1;
}

function describe(name: string, { step, command, node, field, want, got }: Difference): string {
  const where = node === 0 ? field : `node ${node} ${field}`;
  return `${name}: step ${step} (${command}): ${where}: want ${want}, got ${got}`;
}

process.exitCode = main(process.argv[2], (line) => process.stdout.write(`${line}\n`));

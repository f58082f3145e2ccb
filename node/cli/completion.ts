import { UsageError } from "../config.ts";
import type { Command, Run } from "./command.ts";
import { exitCodes } from "./outcome.ts";

type Commands = readonly Command[];

const writers: Readonly<Record<string, (commands: Commands) => string>> = { bash, zsh, fish };

/** `kvorum completion bash|zsh|fish`; for example `source <(kvorum completion bash)`. */
export const completion: Run = ({ args, io, commands }) => {
  const write = writers[args[0] ?? ""];
  if (write === undefined)
    throw new UsageError(`completion: expected bash, zsh or fish, got ${JSON.stringify(args[0])}`);
  io.out(write(commands));
  return Promise.resolve(exitCodes.ok);
};

/** Flags, and actions where there are any. */
function wordsOf(command: Command): readonly string[] {
  return [...(command.actions ?? []), ...command.settings.map(({ flag }) => `--${flag}`)];
}

function bash(commands: Commands): string {
  const cases = commands.map((command) => `    ${command.name}) words="${wordsOf(command).join(" ")}" ;;`);
  const names = commands.map(({ name }) => name).join(" ");
  return `_kvorum() {
  local words
  if [ "$COMP_CWORD" -eq 1 ]; then words="${names}"
  else case "\${COMP_WORDS[1]}" in
${cases.join("\n")}
    *) words="" ;;
  esac fi
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _kvorum kvorum
`;
}

function zsh(commands: Commands): string {
  const cases = commands.map((command) => `    ${command.name}) compadd -- ${wordsOf(command).join(" ")} ;;`);
  const names = commands.map(
    ({ name, summary }) => `'${name}:${summary.replaceAll("'", "").replaceAll(":", "\\:")}'`,
  );
  return `#compdef kvorum
_kvorum() {
  local -a names=(${names.join(" ")})
  if (( CURRENT == 2 )); then _describe command names; return; fi
  case "$words[2]" in
${cases.join("\n")}
  esac
}
compdef _kvorum kvorum
`;
}

function fish(commands: Commands): string {
  const quoted = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = commands.flatMap((command) => [
    `complete -c kvorum -f -n __fish_use_subcommand -a ${command.name} -d ${quoted(command.summary)}`,
    ...(command.actions ?? []).map(
      (action) => `complete -c kvorum -f -n '__fish_seen_subcommand_from ${command.name}' -a ${action}`,
    ),
    ...command.settings.map((setting) => {
      const choices = setting.choices === undefined ? "" : ` -x -a ${quoted(setting.choices.join(" "))}`;
      const takes = setting.value !== undefined && setting.choices === undefined ? " -r" : "";
      const when = quoted(`__fish_seen_subcommand_from ${command.name}`);
      return `complete -c kvorum -n ${when} -l ${setting.flag}${takes}${choices} -d ${quoted(setting.help)}`;
    }),
  ]);
  return `${lines.join("\n")}\n`;
}

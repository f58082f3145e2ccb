import { Core, defaultConfig, MemoryLog, type Message } from "./mod.ts";

/** Three replicas agree on an order of `texts`. @returns what each has applied */
export function agree(texts: readonly string[], below: (bound: number) => number): string[][] {
  const conf = { voters: [1, 2, 3], outgoing: [], learners: [], learnersNext: [], autoLeave: false };
  const replicas = conf.voters.map((id) => {
    const log = new MemoryLog({ conf });
    return { id, log, core: new Core(defaultConfig({ id, storage: log, below })), applied: [] as string[] };
  });
  let network: Message[] = [];
  const turn = () => {
    for (const { id, log, core, applied } of replicas) {
      for (const message of network.filter(({ to }) => to === id))
        core.step({ kind: "message", message, nowMs: 0 });
      network = network.filter(({ to }) => to !== id);
      if (!core.hasReady()) continue;
      const ready = core.takeReady();
      network.push(...ready.sendNow); // may leave before the write
      log.save(ready); // a real log is synced here, when `ready.mustSync`
      network.push(...ready.sendAfterSync); // promises: only what is durable is promised
      for (const { data } of ready.committed)
        if (data.length > 0) applied.push(new TextDecoder().decode(data));
      core.advance(ready);
    }
  };
  const leader = () => replicas.find(({ core }) => core.role === "leader")?.core;
  for (; leader() === undefined; turn())
    for (const { core } of replicas) core.step({ kind: "tick", nowMs: 0 });
  leader()?.step({ kind: "propose", data: texts.map((text) => new TextEncoder().encode(text)) });
  while (replicas.some(({ applied }) => applied.length < texts.length)) turn();
  return replicas.map(({ applied }) => applied);
}

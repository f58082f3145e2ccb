import { describe, expect, it } from "vitest";
import { History } from "../history.ts";
import { ApplyAgreement } from "./apply-agreement.ts";
import { CommittedEntries } from "./committed-entries.ts";
import { Durability } from "./durability.ts";
import { IndexOrder } from "./index-order.ts";
import { checkRevisionOrder } from "./linearizable-history.ts";
import { LogMatching } from "./log-matching.ts";
import { checkConfChange } from "./membership.ts";
import { OneLeaderPerTerm } from "./one-leader-per-term.ts";
import { checkStamp } from "./own-stamps.ts";

const entry = (index: number, term: number, text: string) => ({
  index,
  term,
  kind: "normal" as const,
  data: new Uint8Array(Buffer.from(text)),
});
const conf = { voters: [1, 2, 3], outgoing: [], learners: [], learnersNext: [], autoLeave: false };

describe("every check has a canary that it must see", () => {
  it("one leader per term", () => {
    const check = new OneLeaderPerTerm();
    check.leads(1, 5, 1);
    check.leads(1, 5, 1);
    check.leads(1, 6, 2);
    check.leads(2, 5, 2);
    expect(() => check.leads(1, 5, 2)).toThrow("replicas 1 and 2");
  });

  it("log matching", () => {
    const check = new LogMatching();
    check.appended(1, [entry(1, 1, "a"), entry(2, 1, "b")], 0);
    check.appended(1, [entry(2, 1, "b")], 1);
    check.appended(1, [entry(2, 2, "c")], 1);
    expect(() => check.appended(1, [entry(2, 2, "d")], 1)).toThrow("two different entries 2 of term 2");
    expect(() => check.appended(1, [entry(2, 2, "c")], 2)).toThrow("two different entries");
  });

  it("committed entries and leader completeness", () => {
    const check = new CommittedEntries();
    check.committed(1, [entry(1, 1, "a"), entry(2, 2, "b")]);
    expect(() => check.committed(1, [entry(2, 3, "b")])).toThrow("committed in term 2");
    check.elected(1, 3, 1, 2, () => 2);
    expect(() => check.elected(1, 3, 1, 1, () => 1)).toThrow("lacks committed entry 2");
    expect(() => check.elected(1, 3, 1, 2, () => 1)).toThrow("lacks committed entry 2");
  });

  it("index order", () => {
    const check = new IndexOrder();
    check.saw(1, { term: 1, applied: 1, commit: 2, lastIndex: 3 });
    expect(() => check.saw(1, { term: 1, applied: 3, commit: 2, lastIndex: 3 })).toThrow("index order");
    expect(() => check.saw(1, { term: 1, applied: 1, commit: 1, lastIndex: 3 })).toThrow("went from");
  });

  it("membership changes in steps that it can bear, to odd sizes, with voters that have something (R10)", () => {
    const all = (): boolean => true;
    const joint = { ...conf, voters: [1, 2, 4], outgoing: [1, 2, 3] };
    const after = { ...conf, voters: [1, 2, 4] };
    checkConfChange(1, conf, joint, all);
    checkConfChange(1, joint, after, all);
    expect(() => checkConfChange(1, conf, after, all)).toThrow("two changes in one step");
    expect(() => checkConfChange(1, conf, { ...conf, voters: [1, 2] }, all)).toThrow("even number");
    expect(() => checkConfChange(1, conf, joint, (id) => id !== 4)).toThrow("replica 4 has nothing yet");
  });

  it("stamps are of the leader's own clock (R25)", () => {
    checkStamp(1, "n1", 5, 5);
    expect(() => checkStamp(1, "n1", 2_000_005, 5)).toThrow("2000 ms off its own clock");
  });

  it("durable before acknowledged, voted and committed (R2)", () => {
    const check = new Durability();
    for (const replica of [1, 2, 3]) check.opened(1, replica, `n${replica}`);
    check.entrySynced(1, 1, 7, 3);
    expect(() => check.acknowledged(1, 2, 7, undefined)).toThrow("replica 2: entry 7");
    expect(() => check.commitMoved(1, 7, 3, conf)).toThrow("1 of 3");
    check.entrySynced(1, 2, 7, 3);
    check.acknowledged(1, 2, 7, undefined);
    check.commitMoved(1, 7, 3, conf);
    expect(() => check.commitMoved(1, 7, 4, conf)).toThrow("0 of 3");
    expect(() => check.voted(1, 3, 4, 1)).toThrow("vote of term 4");
    check.hardStateSynced(1, 3, { term: 4, vote: 1, commit: 0 });
    check.voted(1, 3, 4, 1);
  });

  it("term and vote over restarts; ids on one disk only (R1)", () => {
    const check = new Durability();
    check.opened(1, 3, "n3");
    check.hardStateSynced(1, 3, { term: 4, vote: 1, commit: 0 });
    check.recovered(1, 3, { term: 4, vote: 1, commit: 3 }, 3);
    expect(() => check.recovered(1, 3, { term: 4, vote: 0, commit: 3 }, 3)).toThrow(
      "came back with term 4 vote 0",
    );
    expect(() => check.recovered(1, 3, { term: 4, vote: 1, commit: 2 }, 3)).toThrow("below applied");
    expect(() => check.opened(1, 3, "n3/wiped1")).toThrow("was on n3");
  });

  it("same state (R38)", () => {
    const check = new ApplyAgreement();
    check.changed(1, 5, 99, "n1");
    check.changed(1, 5, 99, "n2");
    expect(() => check.changed(1, 5, 98, "n3")).toThrow("entry 5 changed other rows on n3");
    check.state(1, 5, "x", "n1");
    expect(() => check.state(1, 5, "y", "n2")).toThrow("n2 has y, n1 has x");
  });

  it("revisions of a shard grow, on whatever keys (R25)", () => {
    const history = new History();
    const write = (key: string, revision: number): void => {
      const operation = history.begin("c", key, { kind: "put", value: `v${revision}` }, 0);
      history.end(operation, { kind: "put", revision }, 1);
    };
    write("a", 5);
    write("b", 4);
    checkRevisionOrder(history, (key) => key.charCodeAt(0));
    expect(() => checkRevisionOrder(history, () => 1)).toThrow("smaller revision");
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  addressSetting,
  bytesSetting,
  choiceSetting,
  durationSetting,
  environmentName,
  type FlagTexts,
  fileKey,
  integerSetting,
  labelsSetting,
  listSetting,
  numberChoiceSetting,
  parseConfigFile,
  resolve,
  type Setting,
  type Sources,
  switchSetting,
  textSetting,
} from "./config.ts";

const nodes = integerSetting({ flag: "nodes", value: "N", help: "" }, 1, 99);
const httpPort = integerSetting({ flag: "http-port", value: "PORT", help: "" }, 1, 65_535);
const restart = switchSetting({ flag: "restart", help: "" });
const hosts = listSetting({ flag: "host", value: "NAME", help: "" });
const labels = labelsSetting({ flag: "labels", value: "K=V", help: "" });
const settings: readonly Setting<unknown>[] = [nodes, httpPort, restart, hosts, labels];
const known = [...settings.map(({ flag }) => fileKey(flag)), "other"];

interface Given {
  readonly flags?: Readonly<Record<string, readonly string[]>>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly file?: Readonly<Record<string, unknown>>;
}

function sources({ flags = {}, environment = {}, file }: Given): Sources {
  const texts: FlagTexts = new Map(Object.entries(flags));
  return {
    flags: texts,
    environment,
    ...(file === undefined ? {} : { file: { path: "k.json", keys: file } }),
  };
}

const values = (given: Given) => resolve(settings, sources(given), known);

describe("precedence: flag > environment > file > default", () => {
  it("holds for every subset of the sources", () => {
    const all = { flags: { nodes: ["4"] }, environment: { KVORUM_NODES: "5" }, file: { nodes: 6 } };
    const order = [
      { kind: "flags", want: 4, source: "flag" },
      { kind: "environment", want: 5, source: "environment" },
      { kind: "file", want: 6, source: "file" },
    ] as const;
    fc.assert(
      fc.property(fc.subarray([...order]), (present) => {
        const given: Given = Object.fromEntries(present.map(({ kind }) => [kind, all[kind]]));
        const first = order.find((each) => present.includes(each));
        expect(values(given).get(nodes, 3)).toBe(first?.want ?? 3);
        expect(values(given).source(nodes)).toBe(first?.source ?? "default");
      }),
    );
  });

  it("a switch given as false wins over a true of less weight", () => {
    expect(
      values({ flags: { restart: ["false"] }, environment: { KVORUM_RESTART: "1" } }).get(restart, true),
    ).toBe(false);
  });

  it("an empty variable counts as absent", () => {
    expect(values({ environment: { KVORUM_NODES: "" }, file: { nodes: 6 } }).get(nodes, 3)).toBe(6);
  });

  it("without any value there is none", () => {
    expect(values({}).get(nodes)).toBeUndefined();
  });
});

describe("names", () => {
  it("of a flag with a dash", () => {
    expect(environmentName("http-port")).toBe("KVORUM_HTTP_PORT");
    expect(fileKey("http-port")).toBe("http_port");
    expect(values({ file: { http_port: 7501 } }).get(httpPort, 1)).toBe(7501);
  });
});

describe("lists", () => {
  it("take several flags, comma lists and arrays", () => {
    expect(values({ flags: { host: ["a", "b,c"] } }).get(hosts, [])).toEqual(["a", "b", "c"]);
    expect(values({ environment: { KVORUM_HOST: "a, b" } }).get(hosts, [])).toEqual(["a", "b"]);
    expect(values({ file: { host: ["a", "b"] } }).get(hosts, [])).toEqual(["a", "b"]);
  });

  it("labels may stand as an object in the file", () => {
    expect(values({ file: { labels: { zone: "a", host: "h1" } } }).get(labels, {})).toEqual({
      zone: "a",
      host: "h1",
    });
    expect(values({ flags: { labels: ["zone=a,host=h1"] } }).get(labels, {})).toEqual({
      zone: "a",
      host: "h1",
    });
  });
});

describe("errors name what is wrong", () => {
  it.each([
    { name: "a bad flag", given: { flags: { nodes: ["many"] } }, want: /^--nodes: .*"many"/ },
    {
      name: "a bad variable",
      given: { environment: { KVORUM_NODES: "0" } },
      want: /^KVORUM_NODES: .*1 to 99/,
    },
    { name: "a bad value in the file", given: { file: { nodes: "x" } }, want: /^nodes in k\.json: / },
    { name: "an object where a number belongs", given: { file: { nodes: {} } }, want: /^nodes in k\.json: / },
    { name: "an unknown key", given: { file: { nodez: 3 } }, want: /k\.json: unknown key nodez/ },
    { name: "a key with a dash", given: { file: { "http-port": 3 } }, want: /unknown key http-port/ },
    { name: "a label twice", given: { flags: { labels: ["a=1", "a=2"] } }, want: /--labels: a stands twice/ },
  ])("$name", ({ given, want }) => {
    expect(() => values(given)).toThrow(want);
  });

  it("a key of another command is left alone", () => {
    expect(values({ file: { other: 1 } }).get(nodes, 3)).toBe(3);
  });

  it.each(["", "[]", "null", "{", '"text"'])("a file holding %j is refused with its path", (text) => {
    expect(() => parseConfigFile("k.json", text)).toThrow(/^k\.json: /);
  });
});

describe("kinds of values", () => {
  const named = { flag: "x", value: "X", help: "" };
  const parse = <T>(setting: Setting<T>, text: string): T | "refused" => {
    try {
      return setting.parse([text]);
    } catch {
      return "refused";
    }
  };

  it.each([
    ["127.0.0.1:7401", { host: "127.0.0.1", port: 7401 }],
    ["[::1]:7401", { host: "::1", port: 7401 }],
    ["localhost:0", { host: "localhost", port: 0 }],
    ["7401", "refused"],
    ["::1:7401", "refused"],
    ["h:70000", "refused"],
    ["http://h:1", "refused"],
    ["", "refused"],
  ])("address %j", (text, want) => {
    expect(parse(addressSetting(named), text)).toEqual(want);
  });

  it.each([
    ["500ms", 500],
    ["30s", 30_000],
    ["1d", 86_400_000],
    ["30", "refused"],
    ["0s", "refused"],
    ["-1s", "refused"],
    ["1.5s", "refused"],
    ["s", "refused"],
  ])("duration %j", (text, want) => {
    expect(parse(durationSetting(named), text)).toBe(want);
  });

  it.each([
    ["64MiB", 67_108_864],
    ["1024", 1024],
    ["1023", "refused"],
    ["1GB", "refused"],
  ])("size %j", (text, want) => {
    expect(parse(bytesSetting(named, 1024), text)).toBe(want);
  });

  it.each(["1e3", "0x10", " 1", "1 ", "", "9999999999999999999"])("integer %j is refused", (text) => {
    expect(parse(integerSetting(named, 0, Number.MAX_SAFE_INTEGER), text)).toBe("refused");
  });

  it("choices and checks", () => {
    expect(parse(choiceSetting(named, ["hash", "range"]), "range")).toBe("range");
    expect(parse(choiceSetting(named, ["hash", "range"]), "Hash")).toBe("refused");
    expect(parse(numberChoiceSetting(named, [1, 3, 5]), "5")).toBe(5);
    expect(parse(numberChoiceSetting(named, [1, 3, 5]), "2")).toBe("refused");
    expect(
      parse(
        textSetting(named, (text) => (text === "ok" ? undefined : "no")),
        "ko",
      ),
    ).toBe("refused");
    expect(parse(switchSetting(named), "perhaps")).toBe("refused");
  });
});

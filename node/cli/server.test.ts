import { describe, expect, it } from "vitest";
import { type FlagTexts, resolve, type Values } from "../config.ts";
import { commands } from "./commands.ts";
import { isLoopback, nodeOptions, routerOptions } from "./server.ts";

const least = {
  name: "n1",
  cluster: "demo",
  nats: "nats://127.0.0.1:4222",
  data: "d",
  http: "127.0.0.1:7401",
};

function valuesOf(command: string, flags: Readonly<Record<string, string>>): Values {
  const settings = commands.find(({ name }) => name === command)?.settings ?? [];
  const texts: FlagTexts = new Map(Object.entries(flags).map(([flag, text]) => [flag, [text]]));
  return resolve(settings, { flags: texts, environment: {} }, []);
}

const node = (flags: Readonly<Record<string, string>>) =>
  nodeOptions(valuesOf("node", { ...least, ...flags }));

describe("a node's options", () => {
  it("need no more than a name, a cluster, NATS, a directory and an address", () => {
    expect(node({})).toMatchObject({
      name: "n1",
      cluster: "demo",
      natsUrls: ["nats://127.0.0.1:4222"],
      insecure: false,
    });
    expect(node({}).bootstrap).toBeUndefined();
  });

  it("a bootstrap has 16 shards of three replicas by default", () => {
    expect(node({ bootstrap: "true" }).bootstrap).toEqual({ shards: 16, replicas: 3, partition: "hash" });
  });

  it.each(["shards", "replicas", "partition"])(
    "--%s without --bootstrap would be ignored, so it is refused",
    (flag) => {
      const value = flag === "partition" ? "range" : "3";
      expect(() => node({ [flag]: value })).toThrow(`--${flag} needs --bootstrap`);
    },
  );

  it.each(Object.keys(least))("--%s is needed", (flag) => {
    const { [flag as keyof typeof least]: _, ...others } = least;
    expect(() => nodeOptions(valuesOf("node", others))).toThrow(`--${flag} is needed`);
  });
});

describe("off loopback", () => {
  const router = { cluster: "demo", nats: "nats://h", http: "0.0.0.0:7401" };

  it("is refused without tokens", () => {
    expect(() => node({ http: "192.168.1.1:7401" })).toThrow(/--token-file or --insecure/);
    expect(() => routerOptions(valuesOf("router", router))).toThrow(/--token-file or --insecure/);
  });

  it.each([{ "token-file": "tokens" }, { insecure: "true" }])("will do with %j", (flags) => {
    expect(node({ http: "192.168.1.1:7401", ...flags }).http.host).toBe("192.168.1.1");
  });

  it("knows the loopback's names", () => {
    expect(["127.0.0.1", "127.9.9.9", "localhost", "::1"].every(isLoopback)).toBe(true);
    expect(["0.0.0.0", "::", "127.0.0.1.evil.example", "10.0.0.1"].some(isLoopback)).toBe(false);
  });
});

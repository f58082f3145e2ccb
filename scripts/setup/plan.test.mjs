import { describe, expect, it } from "vitest";
import { isYes, nodeProblem, packagesAreStale, planBuild, planServer, serverCandidates } from "./plan.mjs";

/** @param {...string} programs */
const having =
  (...programs) =>
  /** @param {string} program */
  (program) =>
    programs.includes(program);

describe("the version of Node", () => {
  it.each(["20.19.0", "20.20.2", "22.0.0", "24.1.0"])("%s will do", (version) => {
    expect(nodeProblem(version)).toBeUndefined();
  });
  it.each(["20.18.3", "18.20.0", "4.0.0"])("%s is refused in one line", (version) => {
    expect(nodeProblem(version)).toContain(version);
    expect(nodeProblem(version)).not.toContain("\n");
  });
});

it("packages are installed when missing or older than the lock file", () => {
  expect(packagesAreStale(undefined, 5)).toBe(true);
  expect(packagesAreStale(4, 5)).toBe(true);
  expect(packagesAreStale(5, 5)).toBe(false);
});

describe("finding a nats-server", () => {
  it("looks on the PATH first", () => {
    expect(serverCandidates("/opt/a:/opt/b").slice(0, 2)).toEqual([
      "/opt/a/nats-server",
      "/opt/b/nats-server",
    ]);
  });
  it("looks where an ordinary user's PATH does not lead", () => {
    expect(serverCandidates("/bin")).toContain("/usr/sbin/nats-server");
    expect(serverCandidates(undefined)).toContain("/usr/local/bin/nats-server");
  });
  it("looks nowhere twice", () => {
    const candidates = serverCandidates("/usr/sbin:/bin");
    expect(new Set(candidates).size).toBe(candidates.length);
  });
});

describe("getting a nats-server", () => {
  const apt = having("apt-get", "sudo");

  it("root off a terminal is not asked", () => {
    const plan = planServer({ root: true, terminal: false, has: apt });
    expect(plan).toMatchObject({ kind: "run", ask: false });
    expect(plan.kind === "run" && plan.steps.map((step) => step.command[0])).toEqual(["apt-get", "apt-get"]);
  });
  it("root on a terminal is asked", () => {
    expect(planServer({ root: true, terminal: true, has: apt })).toMatchObject({ kind: "run", ask: true });
  });
  it("others get sudo, after a yes", () => {
    const plan = planServer({ root: false, terminal: true, has: apt });
    expect(plan).toMatchObject({ kind: "run", ask: true });
    expect(plan.kind === "run" && plan.steps.every((step) => step.command[0] === "sudo")).toBe(true);
  });
  it("others off a terminal are told what to run", () => {
    expect(planServer({ root: false, terminal: false, has: apt })).toEqual({
      kind: "cannot",
      message: expect.stringContaining("sudo apt-get install -y nats-server"),
    });
  });
  it("without sudo it says what root has to run", () => {
    expect(planServer({ root: false, terminal: true, has: having("dnf") })).toEqual({
      kind: "cannot",
      message: expect.stringContaining("as root: dnf install"),
    });
  });
  it("Homebrew needs no root", () => {
    const plan = planServer({ root: false, terminal: true, has: having("brew", "sudo") });
    expect(plan.kind === "run" && plan.steps[0]?.command).toEqual(["brew", "install", "nats-server"]);
  });
  it("without a package manager it names the binary's place", () => {
    expect(planServer({ root: true, terminal: true, has: having() })).toMatchObject({ kind: "cannot" });
  });
  it("only a plain yes is a yes", () => {
    expect(["y", "Y", "yes\n"].every(isYes)).toBe(true);
    expect(["", "n", "yep", "no"].some(isYes)).toBe(false);
  });
});

describe("what has to be built", () => {
  it.each([
    { name: "never built", built: undefined, sources: { a: "1" }, want: true },
    { name: "as it was", built: { a: "1" }, sources: { a: "1" }, want: false },
    { name: "one changed", built: { a: "1" }, sources: { a: "2" }, want: true },
    { name: "one came", built: { a: "1" }, sources: { a: "1", b: "1" }, want: true },
  ])("$name", ({ built, sources, want }) => {
    expect(planBuild(built, sources)).toEqual({ compile: want, stale: [] });
  });

  it("what a source left behind goes, and nothing else", () => {
    expect(planBuild({ "a.ts": "1", "b/c.ts": "1" }, { "a.ts": "1" })).toEqual({
      compile: true,
      stale: ["dist/b/c.js", "dist/b/c.d.ts"],
    });
  });
});

// Stands in for a node in the tests of the dev cluster: serves what `dev` asks for, and stops by its pipe.
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { Socket } from "node:net";
import { join } from "node:path";

const flag = (/** @type {string} */ name) => process.argv[process.argv.indexOf(`--${name}`) + 1] ?? "";
if (process.env["STUB_REFUSED"] === flag("name")) {
  process.stderr.write('{"level":"info"}\nkvorum: this name is taken\n');
  process.exit(1);
}
mkdirSync(flag("data"), { recursive: true });
writeFileSync(join(flag("data"), "pid"), String(process.pid));
writeFileSync(join(flag("data"), "arguments.json"), JSON.stringify(process.argv.slice(2)));
writeFileSync(join(flag("data"), "environment.json"), JSON.stringify(process.env));

const [host, port] = flag("http").split(":");
const shards = [1, 2].map((id) => ({ id, health: "healthy", leader: "n1" }));
createServer((request, response) => {
  const body = request.url === "/readyz" ? {} : { items: shards, cursor: null };
  response.end(JSON.stringify(body));
}).listen(Number(port), host);

const stop = () => {
  writeFileSync(join(flag("data"), "stopped"), "");
  process.exit(0);
};
new Socket({ fd: Number(process.env["KVORUM_STOP_FD"]) }).on("data", stop).on("end", stop);

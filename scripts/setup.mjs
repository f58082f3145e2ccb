// Makes a fresh machine ready: the npm packages, a nats-server, the build. Plain Node, nothing imported
// that is not there yet. Does nothing, quickly, when all is in place.
//   node scripts/setup.mjs          all steps
//   node scripts/setup.mjs build    only the packages and the build (the simulator needs no server)
import { fileURLToPath } from "node:url";
import { build } from "./setup/build.mjs";
import { checkNode, installPackages, installServer, SetupError } from "./setup/machine.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));

try {
  checkNode();
  installPackages(root);
  if (process.argv[2] !== "build") await installServer();
  if (!build(root)) throw new SetupError("the build failed: the compiler's messages stand above");
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`kvorum: ${error.message}\n`);
  process.exitCode = 1;
}

import { createServer, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { answerWhileBodyComes, bodyIsComing } from "./linger.ts";

let server: Server;
let wasComing: boolean[];

beforeEach(async () => {
  wasComing = [];
  server = createServer((request, response) => {
    wasComing.push(bodyIsComing(request));
    response.writeHead(413, { "Content-Length": 9, Connection: "close" });
    answerWhileBodyComes(request, response, "too large");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
});

/** Writes all of the body whatever comes back, and only then reads. */
function putAll(bytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    const head = `PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${bytes}\r\nConnection: close\r\n\r\n`;
    socket.once("error", reject);
    socket.pause();
    socket.write(head);
    socket.write(Buffer.alloc(bytes), () => {
      let text = "";
      socket.setEncoding("utf8").on("data", (part) => {
        text += part;
      });
      socket.once("end", () => resolve(text));
      socket.resume();
    });
  });
}

it("a client that sends all of a large body first still reads why it was refused", async () => {
  for (let i = 0; i < 5; i++) expect(await putAll(8 * 1024 * 1024)).toMatch(/^HTTP\/1\.1 413 .*too large$/s);
  expect(wasComing).toEqual([true, true, true, true, true]);
});

it("no body is awaited where none was announced", async () => {
  const { port } = server.address() as AddressInfo;
  const reply = await fetch(`http://127.0.0.1:${port}/`);
  expect(await reply.text()).toBe("too large");
  expect(wasComing).toEqual([false]);
});

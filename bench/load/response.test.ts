import { describe, expect, it } from "vitest";
import { ResponseReader } from "./response.ts";

const sized = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
const chunked =
  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nGrpc: 1\r\n\r\n";
const plainEnd = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";

describe("an answer is read whole", () => {
  it.each([
    { name: "with its length", answer: sized, status: 200, body: "hello" },
    { name: "in chunks, with trailers", answer: chunked, status: 200, body: "hello world" },
    { name: "in chunks, without", answer: plainEnd, status: 200, body: "a" },
    { name: "without a body", answer: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, body: "" },
    { name: "of an error", answer: "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", status: 503, body: "" },
  ])("$name, at once or byte by byte, time and again", ({ answer, status, body }) => {
    const reader = new ResponseReader();
    for (const step of [answer.length, 1, 7]) {
      const states: string[] = [];
      for (let at = 0; at < answer.length; at += step) {
        states.push(reader.feed(Buffer.from(answer.slice(at, at + step))));
      }
      expect(states.pop()).toBe("whole");
      expect(states.every((state) => state === "more")).toBe(true);
      expect([reader.status, Buffer.from(reader.body).toString()]).toEqual([status, body]);
    }
  });

  it("although the connection reads into one buffer again and again", () => {
    const reader = new ResponseReader();
    const shared = Buffer.alloc(40);
    for (let at = 0; at < sized.length; at += 40) {
      const length = shared.write(sized.slice(at, at + 40));
      reader.feed(shared.subarray(0, length));
    }
    expect(Buffer.from(reader.body).toString()).toBe("hello");
  });
});

it.each([
  { name: "no HTTP", answer: "SSH-2.0-x\r\n\r\n" },
  { name: "no end told", answer: "HTTP/1.1 200 OK\r\n\r\n" },
  { name: "more than its length", answer: `${sized}!` },
  { name: "a chunk without a size", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n" },
])("$name is refused", ({ answer }) => {
  expect(new ResponseReader().feed(Buffer.from(answer))).toBe("broken");
});

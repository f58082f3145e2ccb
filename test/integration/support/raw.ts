import { connect } from "node:net";

export interface RawReply {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/**
 * Sends these bytes as they are, as no HTTP library would, and reads one answer until the server closes.
 * @param head - request line and headers, without `Connection` and the blank line
 */
export function raw(
  port: number,
  head: readonly string[],
  body: Uint8Array | string = "",
): Promise<RawReply> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    const socket = connect(port, "127.0.0.1");
    socket.setTimeout(30_000, () => socket.destroy(new Error("no answer in 30 s")));
    socket.once("error", (error) => {
      // A server may refuse and close before it has read all of a large request.
      if (parts.length > 0) resolve(parse(Buffer.concat(parts)));
      else reject(error);
    });
    socket.on("data", (part) => parts.push(part));
    socket.once("end", () => resolve(parse(Buffer.concat(parts))));
    socket.write([...head, "Connection: close", "", ""].join("\r\n"), "latin1");
    if (body.length > 0) socket.write(body);
  });
}

function parse(bytes: Buffer): RawReply {
  const text = bytes.toString("latin1");
  const at = text.indexOf("\r\n\r\n");
  const [line = "", ...fields] = text.slice(0, at).split("\r\n");
  const headers = new Map(
    fields.map((field) => {
      const colon = field.indexOf(":");
      return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()];
    }),
  );
  return { status: Number(line.split(" ")[1]), headers, body: bytes.subarray(at + 4).toString() };
}

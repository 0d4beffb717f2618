// The wire, bare: requests and frames as the protocol documents have them, without any client. In: the base address of an
// Engine.IO server. Out: packets. Must stay true: nothing here is shared with a client under test. Sources: the documents of
// Engine.IO protocol 3 and 4.

import WebSocket from "ws";
import { CONDITION_MS, until } from "./server.mjs";

/** Payloads of long polling: packets are texts such as `4hello`, or Buffers, which are messages. */
export const payload = {
  4: {
    encode: (packets) => packets.map((packet) => (Buffer.isBuffer(packet) ? `b${packet.toString("base64")}` : packet)).join("\x1e"),
    decode: (text) => text.split("\x1e").map((packet) => (packet[0] === "b" ? Buffer.from(packet.slice(1), "base64") : packet)),
  },
  3: {
    // Lengths are in UTF-16 units, the `length` of JavaScript.
    encode: (packets) => packets.map((packet) => (Buffer.isBuffer(packet) ? `b4${packet.toString("base64")}` : packet)).map((text) => `${text.length}:${text}`).join(""),
    decode: (text) => {
      const packets = [];
      for (let at = 0; at < text.length;) {
        const colon = text.indexOf(":", at);
        const length = Number(text.slice(at, colon));
        if (colon < 0 || !(length > 0)) throw new Error(`not a payload of protocol 3: ${JSON.stringify(text)}`);
        const packet = text.slice(colon + 1, colon + 1 + length);
        packets.push(packet.startsWith("b4") ? Buffer.from(packet.slice(2), "base64") : packet);
        at = colon + 1 + length;
      }
      return packets;
    },
  },
};

/** The binary payload of protocol 3: `0` or `1`, the length in bytes a digit a byte, 255, the packet. */
export const binary3 = {
  encode: (packets) => Buffer.concat(packets.flatMap((packet) => {
    const bytes = Buffer.isBuffer(packet) ? Buffer.concat([Buffer.of(4), packet]) : Buffer.from(packet);
    const digits = Buffer.from([...String(bytes.length)].map(Number));
    return [Buffer.of(Buffer.isBuffer(packet) ? 1 : 0), digits, Buffer.of(255), bytes];
  })),
  decode: (bytes) => {
    const packets = [];
    for (let at = 0; at < bytes.length;) {
      const end = bytes.indexOf(255, at);
      const length = Number([...bytes.subarray(at + 1, end)].join(""));
      const packet = bytes.subarray(end + 1, end + 1 + length);
      if (end < 0 || packet.length !== length) throw new Error(`not a binary payload of protocol 3: ${bytes.toString("hex")}`);
      packets.push(bytes[at] === 1 ? Buffer.from(packet.subarray(1)) : packet.toString());
      at = end + 1 + length;
    }
    return packets;
  },
};

/** One address, one version. `path` is `/engine.io/` (an echo of every message) or `/socket.io/`. */
export class Wire {
  constructor(server, version, path = "/engine.io/") {
    this.base = server.url + path;
    this.version = version;
  }

  url(query, scheme = "http") {
    return `${this.base.replace("http", scheme)}?${new URLSearchParams(query)}`;
  }

  fetch(query, options = {}) {
    return fetch(this.url({ EIO: this.version, transport: "polling", ...query }), { signal: AbortSignal.timeout(CONDITION_MS), ...options });
  }

  /** The handshake by polling; returns what the open packet holds. */
  async open(query) {
    const response = await this.fetch(query);
    const [packet] = payload[this.version].decode(await response.text());
    if (response.status !== 200 || packet[0] !== "0") throw new Error(`no open packet but ${response.status} ${packet}`);
    return JSON.parse(packet.slice(1));
  }

  /** One poll; returns its packets. */
  async poll(sid, query) {
    const response = await this.fetch({ sid, ...query });
    if (response.status !== 200) throw new Error(`poll: ${response.status} ${await response.text()}`);
    return payload[this.version].decode(await response.text());
  }

  /** Polls until there are `count` packets that `keep` keeps. */
  async gather(sid, count, keep = (packet) => Buffer.isBuffer(packet) || packet[0] === "4") {
    const packets = [];
    await until(async () => packets.push(...(await this.poll(sid)).filter(keep)) >= count, () => `only ${JSON.stringify(packets)} came`);
    return packets;
  }

  post(sid, packets, options) {
    const body = Array.isArray(packets) ? payload[this.version].encode(packets) : packets;
    return this.fetch({ sid }, { method: "POST", body, headers: { "content-type": "text/plain;charset=UTF-8" }, ...options });
  }

  /** Resolves when the session is not known any more; until then its polls are taken and thrown away. */
  ended(sid) {
    return until(async () => {
      const response = await this.fetch({ sid });
      const body = await response.text();
      return response.status === 400 && body.startsWith("{") && JSON.parse(body).code === 1;
    }, "the session does not end");
  }

  /** A WebSocket, of a session of its own or of `sid`. */
  socket(query) {
    return new Socket(this.url({ EIO: this.version, transport: "websocket", ...query }, "ws"));
  }

  /** The handshake by WebSocket; returns `[socket, what the open packet holds]`. */
  async connect(query) {
    const socket = this.socket(query);
    const packet = await socket.next();
    if (packet[0] !== "0") throw new Error(`no open packet but ${packet}`);
    return [socket, JSON.parse(packet.slice(1))];
  }

  /** Polling handshake and upgrade; returns `[socket, sid]`. */
  async upgraded() {
    const { sid } = await this.open();
    const socket = this.socket({ sid });
    await socket.opened();
    socket.send("2probe");
    const answer = await socket.next();
    if (answer !== "3probe") throw new Error(`the probe was answered with ${answer}`);
    socket.send("5");
    return [socket, sid];
  }
}

/** A WebSocket whose frames wait in order: texts as strings, binary ones as Buffers. */
export class Socket {
  frames = [];
  status;
  #over = false;

  constructor(url) {
    this.socket = new WebSocket(url, { handshakeTimeout: CONDITION_MS, perMessageDeflate: false });
    this.socket.on("message", (data, binary) => this.frames.push(binary ? data : data.toString()));
    this.socket.on("unexpected-response", (_, response) => {
      this.status = response.statusCode;
      response.resume();
      this.#over = true;
    });
    this.socket.on("error", () => {});
    this.socket.on("close", (code) => {
      this.code = code;
      this.#over = true;
    });
  }

  async opened() {
    await until(() => this.socket.readyState === WebSocket.OPEN || this.#over, "the WebSocket did not open");
    if (this.#over) throw new Error(`the WebSocket did not open: ${this.status ?? this.code}`);
  }

  send(data) {
    this.socket.send(data);
  }

  /** The next frame; fails when the socket ends before it. */
  async next(keep = () => true) {
    const found = () => this.frames.findIndex(keep);
    await until(() => found() >= 0 || this.#over, () => `no frame; there are ${JSON.stringify(this.frames)}`);
    if (found() < 0) throw new Error(`the WebSocket ended (${this.status ?? this.code}) before a frame`);
    return this.frames.splice(found(), 1)[0];
  }

  /** The next frame that is not part of the heartbeat. */
  message() {
    return this.next((frame) => frame !== "2" && frame !== "3");
  }

  /** Resolves when the other side ended it. */
  ended() {
    return until(() => this.#over, "the WebSocket did not end");
  }

  get over() {
    return this.#over;
  }

  drop() {
    this.socket.terminate();
  }
}

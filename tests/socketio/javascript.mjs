// The clients in JavaScript, of four generations, behind one face. In: what to open. Out: a `Line`, whose events wait in mailboxes.
// Must stay true: the four differ here and nowhere else. Not here: what is expected of them (clients.test.mjs).

import { createRequire } from "node:module";
import { Mailbox } from "./mailbox.mjs";
import { until } from "./server.mjs";

const require = createRequire(import.meta.url);
export const TRANSPORTS = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };

/** `socket.io-client` of one generation. */
export class JavaScript {
  constructor(generation) {
    this.generation = generation;
    this.name = "socket.io-client";
    this.version = require(`client-${generation}/package.json`).version;
    this.protocol = generation < 3 ? 4 : 5;
    this.io = require(`client-${generation}`);
  }

  async open(options) {
    const line = new Line(this, options);
    await line.settled();
    return line;
  }

  async start() {}

  async stop() {}
}

/** One connection with its namespaces: `namespaces` is `{"/": auth}`. */
class Line {
  constructor(client, { url, form, namespaces = { "/": undefined }, listen = [], reconnection = true }) {
    this.client = client;
    const delays = { reconnection, reconnectionDelay: 20, reconnectionDelayMax: 100, randomizationFactor: 0 };
    this.manager = new client.io.Manager(url, { path: "/socket.io/", transports: TRANSPORTS[form], autoConnect: false, ...delays });
    this.rooms = new Map(Object.entries(namespaces).map(([name, auth]) => [name, this.#room(name, auth, listen)]));
    for (const { socket } of this.rooms.values()) socket.connect();
  }

  #room(name, auth, listen) {
    const old = this.client.protocol === 4;
    const options = old ? { query: auth && new URLSearchParams(auth).toString() } : { auth };
    const socket = this.manager.socket(name, options);
    const mail = new Mailbox();
    socket.on("connect", () => mail.put("connect", []));
    socket.on("disconnect", (reason) => mail.put("disconnect", [reason]));
    // Older clients say `error` when a namespace refuses, and put the server's word in as it is.
    socket.on(old ? "error" : "connect_error", (error) => mail.put("refused", [old ? error : error.message]));
    for (const event of listen) {
      socket.on(event, (...args) => {
        const answer = typeof args.at(-1) === "function" && args.pop();
        mail.put(event, args.map(plain));
        if (answer) answer(...args);
      });
    }
    return { socket, mail };
  }

  /** Resolves when each namespace is connected or refused. */
  async settled() {
    for (const { mail } of this.rooms.values()) await mail.first("connect", "refused");
  }

  room(name = "/") {
    const { socket, mail } = this.rooms.get(name);
    return {
      mail,
      hear: (event) => mail.take(event),
      emit: (event, ...args) => void socket.emit(event, ...args),
      call: (event, ...args) => mail.answer((done) => socket.emit(event, ...args, (...answer) => done(answer.map(plain)))),
      leave: () => socket.disconnect(),
      id: () => socket.id,
      recovered: () => socket.recovered,
    };
  }

  /** Resolves when the transport in use is this one. */
  on(transport) {
    return until(() => this.manager.engine?.transport?.name === transport, () => `the transport is ${this.manager.engine?.transport?.name}`);
  }

  /** Cuts the connection below, as a network does; the client comes back by itself. */
  cut() {
    this.manager.engine.close();
  }

  sid() {
    return this.manager.engine.id;
  }

  async close() {
    for (const { socket } of this.rooms.values()) socket.disconnect();
    this.manager.reconnection(false);
    this.manager.engine?.close();
  }
}

/** Values as JSON has them, and every kind of bytes as a Buffer. */
function plain(value) {
  if (value instanceof ArrayBuffer) return Buffer.from(value);
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member)]));
  return value;
}

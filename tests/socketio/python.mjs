// The clients in Python: `client.py` as a process, one for each version, spoken to in lines of JSON. In: the folder its packages are
// in. Out: the same face as javascript.mjs has. Must stay true: the process ends with `stop`.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { TRANSPORTS } from "./javascript.mjs";
import { Mailbox } from "./mailbox.mjs";
import { until } from "./server.mjs";

const folder = (path) => fileURLToPath(new URL(path, import.meta.url));

/** `python-socketio` of one generation. */
export class Python {
  #lines = new Map();
  #waiting = new Map();
  #last = 0;
  #said = "";

  constructor(generation) {
    this.generation = generation;
    this.name = "python-socketio";
    const pinned = readFileSync(folder(`python-${generation}.txt`), "utf8");
    this.version = /^python-socketio==(.*)$/m.exec(pinned)[1];
    this.protocol = generation === 4 ? 4 : 5;
  }

  /** Starts it; resolves when its packages are loaded. */
  async start() {
    const packages = process.env[`WINDROW_PYTHON_SOCKETIO_${this.generation}`] ?? folder(`../../target/socketio/python-${this.generation}`);
    const env = { ...process.env, PYTHONPATH: packages, PYTHONUNBUFFERED: "1", PYTHONNOUSERSITE: "1" };
    this.process = spawn("python3", [folder("client.py")], { env, stdio: ["pipe", "pipe", "pipe"] });
    this.process.stderr.on("data", (data) => (this.#said = (this.#said + data).slice(-4000)));
    this.ended = new Promise((end) => this.process.once("exit", end).once("error", (error) => end((this.#said += error))));
    this.process.stdin.on("error", () => {});
    createInterface({ input: this.process.stdout }).on("line", (text) => {
      const { line, room, event, args, answer, value } = JSON.parse(text, bytes);
      if (answer !== undefined) this.#waiting.get(answer)?.(value);
      else this.#lines.get(line)?.mail(room).put(event, args);
    });
    await this.ask(new Mailbox(), { do: "hello" });
  }

  /** Sends a command; `done` is called with what answers it. */
  tell(command, done) {
    const number = ++this.#last;
    if (done) this.#waiting.set(number, done);
    this.process.stdin.write(`${JSON.stringify({ ...command, number }, base64)}\n`);
  }

  ask(mail, command) {
    return mail.answer((done) => this.tell(command, done)).catch((error) => {
      throw new Error(`${error.message}; python said:\n${this.#said}`);
    });
  }

  async open(options) {
    const line = new Line(this, ++this.#last, options);
    this.#lines.set(line.number, line);
    await line.settled();
    return line;
  }

  async stop() {
    this.process?.kill("SIGKILL");
    await this.ended;
  }
}

class Line {
  constructor(client, number, { url, form, namespaces = { "/": undefined }, listen = [], reconnection = true }) {
    Object.assign(this, { client, number });
    this.rooms = new Map(Object.keys(namespaces).map((name) => [name, new Mailbox()]));
    const rooms = Object.fromEntries(Object.entries(namespaces).map(([name, auth]) => [name, auth ?? null]));
    this.command = { do: "open", line: number, url, transports: TRANSPORTS[form], namespaces: rooms, listen, reconnection };
  }

  mail(room) {
    return this.rooms.get(room);
  }

  async settled() {
    const first = [...this.rooms.values()][0];
    const error = await this.client.ask(first, this.command);
    if (error) throw new Error(error);
    for (const mail of this.rooms.values()) await mail.first("connect", "refused");
  }

  room(name = "/") {
    const mail = this.rooms.get(name);
    const command = { line: this.number, room: name };
    return {
      mail,
      hear: (event) => mail.take(event),
      emit: (event, ...args) => this.client.tell({ ...command, do: "emit", event, args }),
      call: (event, ...args) => this.client.ask(mail, { ...command, do: "call", event, args }),
      leave: () => this.close(),
    };
  }

  async on(transport) {
    const mail = [...this.rooms.values()][0];
    let now;
    await until(async () => (now = await this.client.ask(mail, { do: "transport", line: this.number })) === transport, () => `the transport is ${now}`);
  }

  /** The engine's sid, of the last time it was asked for its transport. */
  sid() {
    return this.client.ask([...this.rooms.values()][0], { do: "sid", line: this.number });
  }

  close() {
    return this.client.ask([...this.rooms.values()][0], { do: "close", line: this.number });
  }
}

const base64 = (_, value) => {
  const bytes = value?.type === "Buffer" && Array.isArray(value.data); // JSON.stringify has asked the Buffer already
  return bytes ? { base64: Buffer.from(value.data).toString("base64") } : value;
};
const bytes = (_, value) => (typeof value?.base64 === "string" ? Buffer.from(value.base64, "base64") : value);

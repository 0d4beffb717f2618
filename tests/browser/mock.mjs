// A small server that speaks what the dashboard reads, for work on its looks: `node mock.mjs [PORT]`, then open the address.
//
// In: nothing. Out: the files of web/, /api/channels, /ws with made-up clicks, `/_drop` cuts all lines, `/_pause` stops time.
// Not here: the truth. The tests of behaviour run against the real program; this one serves unit tests and screenshots of states.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";

const WEB = fileURLToPath(new URL("../../web/", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'";
const WINDOW_MS = 10_000;
const PAGES = ["/", "/pricing", "/docs/start", "/docs/sql", "/blog/windows", "/login", "/changelog", "/about", "/docs/kafka", "/careers"];
const COUNTRIES = ["DE", "FR", "BR", "JP", "IN", "US"];

/** Starts it; returns `{port, close, drop}`. `seconds` of made-up past are there from the start. */
export async function mock({ port = 0, seconds = 400, live = true } = {}) {
  const world = new World(Date.now() - seconds * 1000);
  for (let s = 0; s < seconds; s++) world.second(world.startMs + s * 1000);
  const lines = new Set();
  const server = createServer((request, response) => answer(request, response, lines));
  server.on("upgrade", (request, socket) => lines.add(new Line(socket, request, world, () => lines.forEach((l) => l.socket.destroyed && lines.delete(l)))));
  const timer = live && setInterval(() => {
    const changed = world.tick(Date.now());
    for (const line of lines) line.push(changed);
  }, 250);
  await new Promise((ready) => server.listen(port, "127.0.0.1", ready));
  const drop = () => lines.forEach((line) => line.socket.destroy());
  const close = () => (clearInterval(timer), drop(), server.close());
  return { port: server.address().port, close, drop };
}

async function answer(request, response, lines) {
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname === "/readyz" || pathname === "/healthz") return response.end("{}");
  if (pathname === "/_drop") return lines.forEach((line) => line.socket.destroy()), response.end();
  if (pathname === "/api/channels") {
    response.setHeader("content-type", "application/json");
    return response.end(JSON.stringify(CHANNELS));
  }
  const file = pathname === "/" ? "index.html" : pathname.slice(1);
  const body = /^[a-z.-]+$/.test(file) ? await readFile(join(WEB, file)).catch(() => null) : null;
  response.statusCode = body ? 200 : 404;
  response.setHeader("content-security-policy", POLICY);
  response.setHeader("content-type", TYPES[extname(file)] ?? "text/plain");
  response.end(body ?? "not found");
}

const column = (name, type) => ({ name, type });
const WINDOWED = [column("window_start", "timestamp"), column("window_end", "timestamp"), column("final", "boolean"), column("seq", "bigint")];
const CHANNELS = [
  { name: "page_views", kind: "view", columns: [column("page", "text"), column("views", "bigint"), column("visitors", "bigint"), column("mean_ms", "double"), ...WINDOWED], key: ["page", "window_start"], resumable: true },
  { name: "countries", kind: "view", columns: [column("country", "text"), column("views", "bigint"), column("seq", "bigint")], key: ["country"], resumable: true },
  { name: "clicks", kind: "stream", columns: [], key: ["_topic", "_partition", "_offset"], resumable: true },
  { name: "_stats", kind: "stream", columns: [], key: ["node", "kind", "name", "partition"], resumable: true },
];

/** Made-up clicks, counted by hand. */
class World {
  constructor(startMs) {
    this.startMs = startMs;
    this.tables = { page_views: new Map(), countries: new Map(), clicks: new Map(), _stats: new Map() };
    this.offset = 0;
    this.seq = 0;
    this.late = 0;
    this.changed = [];
  }

  second(ms, share = 1) {
    const beat = 1 + 0.5 * Math.sin(ms / 40_000) + 0.25 * Math.sin(ms / 11_000);
    this.seq += 1;
    const rate = Math.round(260 * beat);
    for (let i = 0; i < rate * share; i++) this.click(ms);
    for (const [id, row] of this.tables.page_views) {
      if (row.window_end <= ms && !row.final) this.put("page_views", id, { ...row, final: true, seq: this.seq });
      if (row.window_end < ms - 600_000) this.tables.page_views.delete(id);
    }
    this.stats(rate);
  }

  click(ms) {
    const page = PAGES[Math.floor(Math.random() ** 2.2 * PAGES.length)];
    const country = COUNTRIES[Math.floor(Math.random() ** 1.6 * COUNTRIES.length)];
    const took = Math.round(40 + Math.random() ** 3 * 400);
    const start = Math.floor(ms / WINDOW_MS) * WINDOW_MS;
    const id = JSON.stringify([page, start]);
    const row = this.tables.page_views.get(id) ?? { page, views: 0, visitors: 0, mean_ms: 0 };
    const views = row.views + 1;
    const mean_ms = row.mean_ms + (took - row.mean_ms) / views;
    const visitors = Math.ceil(views * 0.71);
    this.put("page_views", id, { page, views, visitors, mean_ms, window_start: start, window_end: start + WINDOW_MS, final: false, seq: this.seq });
    const old = this.tables.countries.get(country) ?? { country, views: 0 };
    this.put("countries", country, { country, views: old.views + 1, seq: this.seq });
    if (this.offset++ % 40 === 0) this.put("clicks", this.offset, { _topic: "clicks", _partition: 0, _offset: this.offset, page, country, took_ms: took });
    if (Math.random() < 0.0004) this.late += 1;
  }

  stats(rate) {
    const base = { node: "n1", partition: null };
    this.put("_stats", "node", { ...base, kind: "node", name: "n1", records: this.offset, records_per_s: rate, lag: Math.round(Math.random() ** 4 * 60), late: this.late, bad: 3, clients: 14 });
    this.put("_stats", "view", { ...base, kind: "view", name: "page_views", open_windows: 10, late: this.late });
    this.put("_stats", "listener", { ...base, kind: "listener", name: "main", clients: 14, frames: this.seq });
  }

  put(channel, id, row) {
    this.tables[channel].set(id, row);
    this.changed.push([channel, id, row]);
  }

  tick(nowMs) {
    this.changed = [];
    this.second(nowMs, 0.25);
    const last = new Map(this.changed.map(([channel, id, row]) => [`${channel} ${id}`, [channel, row]]));
    return [...last.values()];
  }
}

/** One WebSocket, frames of text only. */
class Line {
  subscriptions = new Map();

  constructor(socket, request, world, gone) {
    this.socket = socket;
    this.world = world;
    const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    let bytes = Buffer.alloc(0);
    socket.on("data", (data) => {
      bytes = Buffer.concat([bytes, data]);
      for (let frame; (frame = unframe(bytes)); bytes = frame.rest) frame.text ? this.take(JSON.parse(frame.text)) : socket.end();
    });
    socket.on("error", gone).on("close", gone);
  }

  take(message) {
    if (message.subscribe) return this.subscribe(message);
    if (message.filter) {
      const subscription = this.subscriptions.get(message.filter);
      const matches = compile(message.where);
      if (typeof matches !== "function") return this.send({ as: message.filter, error: matches });
      const rows = [...this.world.tables[subscription.channel].values()];
      const gone = rows.filter((row) => subscription.matches(row) && !matches(row));
      const fresh = rows.filter((row) => !subscription.matches(row) && matches(row));
      subscription.matches = matches;
      this.send({ as: message.filter, filtered: true, rows: fresh, gone, at: "x" });
    }
    if (message.unsubscribe) this.subscriptions.delete(message.unsubscribe);
    if (message.ping) this.send({ pong: message.ping });
  }

  subscribe({ subscribe: channel, as, where }) {
    const matches = compile(where);
    if (typeof matches !== "function") return this.send({ as, error: matches });
    this.subscriptions.set(as, { channel, matches });
    const { key } = CHANNELS.find(({ name }) => name === channel);
    const rows = [...this.world.tables[channel].values()].filter(matches);
    this.send({ as, subscribed: channel, key, recovered: false, snapshot: rows, at: "x" });
  }

  push(changed) {
    for (const [as, { channel, matches }] of this.subscriptions) {
      const rows = changed.filter(([of, row]) => of === channel && matches(row)).map(([, row]) => row);
      if (rows.length > 0) this.send({ as, rows, at: "x" });
    }
  }

  send(frame) {
    const text = Buffer.from(JSON.stringify(frame));
    const head = text.length < 126 ? Buffer.from([0x81, text.length]) : Buffer.alloc(text.length < 65536 ? 4 : 10);
    if (text.length >= 126) head.writeUInt16BE(0x8100 | (text.length < 65536 ? 126 : 127));
    if (head.length === 4) head.writeUInt16BE(text.length, 2);
    if (head.length === 10) head.writeBigUInt64BE(BigInt(text.length), 2);
    if (!this.socket.destroyed) this.socket.write(Buffer.concat([head, text]));
  }
}

function unframe(bytes) {
  if (bytes.length < 6) return null;
  const short = bytes[1] & 0x7f;
  const head = short === 126 ? 8 : 6;
  const length = short === 126 ? bytes.readUInt16BE(2) : short;
  if (bytes.length < head + length) return null;
  const text = Buffer.from(bytes.subarray(head, head + length)).map((byte, i) => byte ^ bytes[head - 4 + (i % 4)]);
  return { text: (bytes[0] & 15) === 1 ? text.toString() : null, rest: bytes.subarray(head + length) };
}

/** `column = 'text'` and `column > number`, joined by AND: enough to try the filter box. */
function compile(where) {
  if (!where) return () => true;
  const tests = where.split(/ and /i).map((part) => /^\s*(\w+) (=|>|<) (?:'((?:[^']|'')*)'|(-?\d+))\s*$/.exec(part));
  if (tests.some((test) => !test)) return { code: "bad_filter", message: `expected a condition, found "${where}"`, column: where.search(/\W/) + 1 || 1, hint: "text stands in single quotes: page = '/login'" };
  return (row) => tests.every(([, name, operator, text, number]) => {
    const [a, b] = [row[name], text?.replaceAll("''", "'") ?? Number(number)];
    return operator === "=" ? a === b : operator === ">" ? a > b : a < b;
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { port } = await mock({ port: Number(process.argv[2] ?? 0) });
  console.log(`http://127.0.0.1:${port}/`);
}

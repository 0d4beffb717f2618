// protocol.js: what it says on the wire, and when it comes back. Time is moved by hand.

import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { web } from "./web.mjs";

const { Link } = await web("protocol.js");

/** A socket that keeps what was sent; the test plays the server. */
class Socket {
  static all = [];
  sent = [];
  constructor() {
    Socket.all.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {}
  open() {
    this.onopen();
  }
  say(frame) {
    this.onmessage({ data: JSON.stringify(frame) });
  }
  cut(code = 1006, reason = "") {
    this.onclose({ code, reason });
  }
}

function line() {
  Socket.all = [];
  mock.timers.enable({ apis: ["setTimeout"] });
  const states = [];
  const link = new Link("ws://x/ws", { Socket, onState: ({ state }) => states.push(state) });
  link.connect();
  return { link, states, socket: () => Socket.all.at(-1) };
}

const timed = (name, body) => test(name, () => {
  try {
    body();
  } finally {
    mock.timers.reset();
  }
});

const answer = { as: 1, subscribed: "v", key: ["id"], recovered: false, snapshot: [], at: "p1" };

timed("a subscription asks for a snapshot, then resumes at its last position", () => {
  const { link, states, socket } = line();
  link.subscribe("v", { where: "id = 'a'", onFrame: () => {} });
  socket().open();
  assert.deepEqual(socket().sent, [{ subscribe: "v", as: 1, where: "id = 'a'", from: "snapshot" }]);
  socket().say(answer);
  socket().say({ as: 1, rows: [], at: "p2" });
  socket().cut();
  mock.timers.tick(1000);
  socket().open();
  assert.equal(Socket.all.length, 2);
  assert.deepEqual(socket().sent, [{ subscribe: "v", as: 1, where: "id = 'a'", from: "p2" }]);
  assert.deepEqual(states, ["connecting", "live", "waiting", "connecting", "live"]);
});

timed("cut off among the pieces of a snapshot it begins anew", () => {
  const { link, socket } = line();
  link.subscribe("v", { onFrame: () => {} });
  socket().open();
  socket().say(answer);
  socket().say({ as: 1, reset: true, snapshot: [], more: true });
  socket().cut();
  mock.timers.tick(1000);
  socket().open();
  assert.equal(socket().sent.at(-1).from, "snapshot");
});

timed("a filter goes in place; before the answer it waits for it; after a refusal it subscribes anew", () => {
  const { link, socket } = line();
  const subscription = link.subscribe("v", { onFrame: () => {} });
  socket().open();
  subscription.filter("a = 1");
  socket().say(answer);
  assert.deepEqual(socket().sent.slice(1), [{ filter: 1, where: "a = 1" }]);
  const refused = link.subscribe("v", { where: "?", onFrame: () => {} });
  socket().say({ as: 2, error: { code: "bad_filter", message: "no", column: 1 } });
  refused.filter("");
  assert.deepEqual(socket().sent.at(-1), { subscribe: "v", as: 2, from: "snapshot" });
});

timed("a closed subscription is told to the server and hears nothing more", () => {
  const { link, socket } = line();
  let frames = 0;
  const subscription = link.subscribe("v", { onFrame: () => (frames += 1) });
  socket().open();
  socket().say(answer);
  subscription.close();
  socket().say({ as: 1, rows: [], at: "p" });
  assert.equal(frames, 1);
  assert.deepEqual(socket().sent.at(-1), { unsubscribe: 1 });
});

timed("waits grow, a bye sets the wait, and a final code ends it", () => {
  const { states, socket } = line();
  for (let i = 0; i < 8; i++) {
    socket().cut();
    mock.timers.tick(25_000);
  }
  assert.equal(Socket.all.length, 9);
  socket().open();
  socket().say({ bye: { code: "draining", reconnect_after_ms: 10_000 } });
  socket().cut(4000);
  mock.timers.tick(7000);
  assert.equal(Socket.all.length, 9, "7 s are less than three quarters of 10 s");
  mock.timers.tick(6000);
  assert.equal(Socket.all.length, 10);
  socket().cut(4501, "bad request");
  mock.timers.tick(100_000);
  assert.equal(Socket.all.length, 10);
  assert.equal(states.at(-1), "closed");
});

timed("a silent line is asked, and given up when it does not answer", () => {
  const { states, socket } = line();
  socket().open();
  mock.timers.tick(25_000);
  assert.deepEqual(socket().sent, [{ ping: 1 }]);
  socket().say({ pong: 1 });
  mock.timers.tick(24_000);
  assert.equal(states.at(-1), "live");
  mock.timers.tick(1_000);
  mock.timers.tick(5_000);
  assert.equal(states.at(-1), "waiting");
});

// Channels by Socket.IO, the general API of docs/PROTOCOL.md, on the real `windrow serve` and its embedded log: the last columns of the
// table. In: a client, a form, the servers. Must stay true: each test has rows of its own, by their ids.

import assert from "node:assert/strict";
import { serve, until } from "./server.mjs";

/** A view of counts, and a table whose texts are the world's. */
const CONFIG = `
app = "proof"

[log]
directory = "DIRECTORY"
commit_interval = "20ms"

[streams.clicks]
topic = "clicks"
format = "json"
columns = { video = "text" }

[streams.titles]
topic = "titles"
format = "json"
latest_by = ["id"]

[views.likes]
sql = "SELECT video AS id, count(*) AS count FROM clicks GROUP BY video"

[listeners.main]
bind = "127.0.0.1:PORT"
dialects = ["socketio", "http"]
channels = ["likes", "titles"]
publish = ["clicks", "titles"]
RECOVERY
`;
const TITLE = "wörld € \u{1F600}";

/** Starts `windrow serve` with the channels `likes` and `titles`. */
export async function channels({ recovery = false } = {}) {
  return serve(CONFIG.replace("RECOVERY", recovery ? "recovery = true" : ""));
}

let last = 0;
const unique = () => `v${process.pid}_${++last}`;

/** Says that each of these videos was liked; returns when that is in the view, with the counts it then has. */
export async function like(server, ...ids) {
  const before = await counts(server, ids);
  await publish(server, "clicks", ids.map((video) => ({ video })));
  const wanted = ids.reduce((sum, id) => ({ ...sum, [id]: (sum[id] ?? before[id] ?? 0) + 1 }), {});
  await until(async () => {
    const now = await counts(server, ids);
    return ids.every((id) => now[id] === wanted[id]);
  }, "the view does not count");
  return wanted;
}

async function publish(server, stream, records) {
  const response = await fetch(`${server.url}/api/streams/${stream}`, { method: "POST", body: JSON.stringify(records) });
  const { accepted } = await response.json();
  assert.equal(accepted, records.length);
}

async function counts(server, ids) {
  const { rows } = await (await fetch(`${server.url}/api/channels/likes?where=${encodeURIComponent(among(ids))}`)).json();
  return Object.fromEntries(rows.map(({ id, count }) => [id, count]));
}

const among = (ids) => `id IN (${ids.map((id) => `'${id}'`).join(", ")})`;
const told = ({ id, count }) => [id, count];

/** Hears events of the channel until this row has come, and returns that event. */
async function heard(room, channel, wanted) {
  for (;;) {
    const [event, ...more] = await room.hear(channel);
    // With recovery each event has one argument more, the offset.
    assert.deepEqual(more.map((offset) => typeof offset), room.offsets ? ["string"] : [], "one object and nothing else");
    if (event.rows?.some((row) => wanted(row))) return event;
  }
}

async function line(client, options, body) {
  const opened = await client.open({ listen: ["likes", "titles", "fault", "bye"], ...options });
  try {
    await body(opened.room(), opened);
  } finally {
    await opened.close();
  }
}

/** Subscribe, snapshot, live rows, filter, unsubscribe, and each mistake with its answer. */
export const rows = (client, form, { live }) => line(client, { url: live.url, form }, async (room) => {
  const [a, b, c] = [unique(), unique(), unique()];
  await like(live, a, b);
  const [first] = await room.call("subscribe", { channel: "likes", as: 1, where: among([a, c]) });
  assert.deepEqual({ ...first, at: "", snapshot: first.snapshot.map(told) }, { ok: true, as: 1, subscribed: "likes", key: ["id"], recovered: false, snapshot: [[a, 1]], at: "" });
  assert.ok(first.at.length > 0 && first.at.length <= 1024);
  await like(live, a, b);
  const change = await heard(room, "likes", ({ id }) => id === a);
  assert.deepEqual({ as: change.as, rows: change.rows.map(told) }, { as: 1, rows: [[a, 2]] });
  assert.equal(typeof change.at, "string");

  const [filtered] = await room.call("filter", { as: 1, where: among([b]) });
  assert.deepEqual([filtered.ok, filtered.as, filtered.rows.map(told), filtered.gone], [true, 1, [[b, 2]], [{ id: a }]]);
  await like(live, a, b);
  assert.deepEqual((await heard(room, "likes", () => true)).rows.map(told), [[b, 3]]);
  assert.deepEqual((await room.call("unsubscribe", { as: 1 }))[0].ok, true);
  await like(live, b);
  const [again] = await room.call("subscribe", { channel: "likes", as: 2, where: among([b, c]), from: "now" });
  assert.deepEqual([again.ok, again.snapshot ?? []], [true, []]);
  await like(live, c);
  const only = await heard(room, "likes", () => true);
  assert.deepEqual([only.as, only.rows.map(told)], [2, [[c, 1]]], "what was unsubscribed is silent");

  const d = unique();
  await publish(live, "titles", [{ id: d, title: TITLE }]);
  const titles = await room.call("subscribe", { channel: "titles", as: 3, where: `id = '${d}'` });
  const row = titles[0].snapshot[0] ?? (await heard(room, "titles", ({ id }) => id === d)).rows[0];
  assert.equal(row.title, TITLE, "text outside ASCII arrives as it is");

  for (const [event, argument, code] of [
    ["subscribe", { channel: "lykes", as: 4 }, "unknown_channel"],
    ["subscribe", { channel: "likes", as: 4, where: "id = " }, "bad_filter"],
    ["subscribe", { channel: "likes", as: 2 }, "as_in_use"],
    ["subscribe", { channel: "likes", as: 4, from: "nowhere" }, "bad_position"],
    ["subscribe", { channel: "likes" }, "bad_message"],
    ["filter", { as: 9, where: "id = 'a'" }, "unknown_as"],
    ["unsubscribe", { as: 9 }, "unknown_as"],
    ["no_such_event", {}, "bad_message"],
  ]) {
    const [answer] = await room.call(event, argument);
    assert.equal(answer.error?.code, code, `${event} ${JSON.stringify(argument)}: ${JSON.stringify(answer)}`);
    assert.equal(answer.ok, undefined);
  }
  room.emit("subscribe", { channel: "lykes", as: 4 });
  const [fault] = await room.hear("fault");
  assert.deepEqual([fault.as, fault.error.code], [4, "unknown_channel"]);
});

/** A client that was away takes its position with it, and gets exactly what it missed. */
export async function resume(client, form, { live }) {
  const [a, b] = [unique(), unique()];
  const where = among([a, b]);
  let from;
  await line(client, { url: live.url, form }, async (room) => {
    await like(live, a);
    const [first] = await room.call("subscribe", { channel: "likes", as: 1, where });
    assert.deepEqual(first.snapshot.map(told), [[a, 1]]);
    await like(live, a);
    from = (await heard(room, "likes", ({ id, count }) => id === a && count === 2)).at;
  });
  await like(live, b);
  await line(client, { url: live.url, form }, async (room) => {
    const [again] = await room.call("subscribe", { channel: "likes", as: 7, where, from });
    assert.deepEqual([again.ok, again.recovered, again.snapshot], [true, true, undefined]);
    const missed = await heard(room, "likes", () => true);
    assert.deepEqual([missed.as, missed.rows.map(told)], [7, [[b, 1]]], "what was missed, and nothing else");
  });
}

/** A server that is to stop says `bye`, and its clients come back to the next one by themselves. */
export async function drain(client, form) {
  const server = await channels();
  await line(client, { url: server.url, form }, async (room, line) => {
    await room.hear("connect");
    await line.on(form === "polling" ? "polling" : "websocket");
    const next = server.again();
    await room.hear("disconnect");
    // A client that is between two polls at that moment finds the server gone.
    if (form !== "polling" || room.mail.has("bye")) {
      const [bye] = await room.hear("bye");
      assert.equal(bye.code, "draining");
      assert.ok(bye.reconnect_after_ms >= 0);
    }
    await next;
    await room.hear("connect");
    const [answer] = await room.call("subscribe", { channel: "likes", as: 1 });
    assert.equal(answer.ok, true);
    await (await next).stop();
  });
}

/** Connection state recovery: the line is cut, rows come, and the client hears them without asking again. */
export async function recover(client, form, { recovering }) {
  await line(client, { url: recovering.url, form }, (room, line) => cutAndRecover(recovering, room, line));
  // The token says it all: a process that never heard of the session takes it up.
  const server = await channels({ recovery: true });
  await line(client, { url: server.url, form }, async (room, line) => {
    const a = unique();
    room.offsets = true;
    await like(server, a);
    const [first] = await room.call("subscribe", { channel: "likes", as: 1, where: among([a]) });
    assert.deepEqual(first.snapshot.map(told), [[a, 1]]);
    await like(server, a);
    assert.deepEqual((await heard(room, "likes", () => true)).rows.map(told), [[a, 2]]);
    await line.on(form === "polling" ? "polling" : "websocket");
    await room.hear("connect");
    const next = await server.again();
    await room.hear("connect");
    assert.equal(room.recovered(), true);
    await like(next, a);
    const after = await heard(room, "likes", () => true);
    assert.deepEqual([after.as, after.rows.map(told)], [1, [[a, 3]]]);
    await next.stop();
  });
}

async function cutAndRecover(recovering, room, line) {
  const a = unique();
  room.offsets = true;
  await room.hear("connect");
  const [first] = await room.call("subscribe", { channel: "likes", as: 1, where: among([a]) });
  assert.equal(first.ok, true);
  await like(recovering, a);
  assert.deepEqual((await heard(room, "likes", () => true)).rows.map(told), [[a, 1]]);
  const id = room.id();
  line.cut();
  await room.hear("disconnect");
  await like(recovering, a);
  await room.hear("connect");
  assert.equal(room.recovered(), true);
  assert.equal(room.id(), id, "it is the same session");
  const missed = await heard(room, "likes", () => true);
  assert.deepEqual([missed.as, missed.rows.map(told)], [1, [[a, 2]]]);
  await like(recovering, a);
  assert.deepEqual((await heard(room, "likes", () => true)).rows.map(told), [[a, 3]]);
}

// The dialect `video-counter`, spoken with by the libraries that the original's page and its test client have: socket.io-client 4.5 and
// python-socketio 5.7. In: examples/video-counter as it stands, on an embedded log. Must stay true: each test has videos of its own.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { JavaScript } from "./javascript.mjs";
import { Python } from "./python.mjs";
import { freePort, serve, stopAll } from "./server.mjs";
import { FORMS } from "./table.mjs";

const EXAMPLE = new URL("../../examples/video-counter/windrow.toml", import.meta.url);
const EVENTS = [1, 5, 10].map((minutes) => `live_aggregations_${minutes}`);
const CONSUME = [1, 5, 10].map((minutes) => `consume_${minutes}_min_aggregations`);
const CLIENTS = [new JavaScript("4.5"), new Python("5.7")];

let server;
before(async () => {
  const [counter, likes] = [await freePort(), await freePort()];
  // The listener that is asked whether it is ready gets the port of `serve`; the others have theirs.
  const config = (await readFile(EXAMPLE, "utf8"))
    .replace("${WINDROW_LOG:-kafka}", "embedded")
    .replace("${WINDROW_DATA:-windrow-data}", "DIRECTORY")
    .replaceAll("${BIND:-0.0.0.0}", "127.0.0.1")
    .replace("${LIKES_PORT:-3000}", likes)
    .replace("${PORT:-8000}", counter)
    .replace("${INSIDE_PORT:-8080}", "PORT");
  await serve(config);
  server = { url: `http://127.0.0.1:${counter}`, likes: `http://127.0.0.1:${likes}` };
  await Promise.all(CLIENTS.map((client) => client.start()));
}, { timeout: 60_000 });
after(() => Promise.all([stopAll(), ...CLIENTS.map((client) => client.stop())]));

let last = 0;
const unique = () => `video-${++last}`;

async function like(video) {
  const response = await fetch(`${server.likes}/dev/videos/${video}/likes`, { method: "POST" });
  assert.deepEqual(await response.json(), { "new video": video });
}

/** Hears the event until it has this count of the video; a minute that begins meanwhile begins at 1 again. */
async function hear(room, event, id, wanted) {
  for (let before = 0; ; ) {
    const [told, ...more] = await room.hear(event);
    assert.deepEqual([Object.keys(told), more], [["id", "count"], []]);
    if (told.id !== id) continue;
    if (told.count === wanted) return;
    assert.ok(told.count === before + 1 || told.count === before || told.count === 1, `${event} ${JSON.stringify(told)}`);
    before = told.count;
  }
}

async function line(client, form, body) {
  const opened = await client.open({ url: server.url, form, listen: EVENTS });
  try {
    await body(opened.room(), opened);
  } finally {
    await opened.close();
  }
}

for (const client of CLIENTS) {
  for (const form of FORMS) {
    describe(`${client.name} ${client.version} by ${form}`, { concurrency: true }, () => {
      test("a client that does as the original's page hears its rooms, and none else's", { timeout: 60_000 }, () =>
        line(client, form, async (room, line) => {
          const [a, b, other] = [unique(), unique(), unique()];
          await like(a);
          // First the topics, then growing lists of rooms, and an event that nobody knows.
          for (const event of CONSUME) room.emit(event, {});
          room.emit("consume_topic", { rooms: [a] });
          room.emit("register_room", { rooms: [a] });
          for (const event of EVENTS) await hear(room, event, a, 1);
          assert.deepEqual(await room.call("register_room", { rooms: [a, b] }), []);
          await like(other);
          await like(b);
          for (const event of EVENTS) await hear(room, event, b, 1);
          await line.on(form === "polling" ? "polling" : "websocket");
        }));

      test("acks are empty lists, and what makes no sense has none", { timeout: 60_000 }, () =>
        line(client, form, async (room) => {
          const id = unique();
          let answered = 0;
          const never = (event, ...args) => room.call(event, ...args).then(() => ++answered, () => {});
          for (const args of [["consume_topic", { rooms: [id] }], ["register_room"], ["register_room", {}]]) never(...args);
          for (const event of CONSUME) {
            assert.deepEqual(await room.call(event), []);
            assert.deepEqual(await room.call(event, {}), []);
          }
          assert.deepEqual(await room.call("register_room", { rooms: id }), []);
          assert.deepEqual(await room.call("leave_room", { rooms: [id] }), []);
          assert.equal(answered, 0);
        }));

      test("a page that is loaded anew has its numbers", { timeout: 60_000 }, async () => {
        const id = unique();
        await line(client, form, async (room) => {
          room.emit("register_room", { rooms: [id] });
          await like(id);
          await hear(room, EVENTS[2], id, 1);
        });
        await line(client, form, async (room) => {
          await room.call("register_room", { rooms: [id] });
          for (const event of EVENTS) await hear(room, event, id, 1);
        });
      });
    });
  }
}

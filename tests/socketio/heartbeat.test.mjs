// The heartbeat of Engine.IO 3 and 4 on the bare wire. In: an echo that pings often. Must stay true: every bound begins before the server can
// have begun to wait, so a delay makes what is measured longer, never shorter; and a busy machine has the time-out to answer.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { echo, stopAll, until } from "./server.mjs";
import { Wire } from "./wire.mjs";

const INTERVAL_MS = 300;
const TIMEOUT_MS = 2000;

let quick;

before(async () => (quick = await echo({ heartbeat: [INTERVAL_MS, TIMEOUT_MS] })));
after(stopAll);

const all = { concurrency: true, timeout: 60_000 };

describe("Engine.IO 4: the server pings", all, () => {
  test("a polling client is pinged, lives while it answers, and ends when it does not", async () => {
    const quickly = new Wire(quick, 4);
    const { sid } = await quickly.open();
    for (let i = 0; i < 3; i++) {
      assert.deepEqual(await quickly.poll(sid), ["2"]);
      assert.equal((await quickly.post(sid, ["3"])).status, 200);
    }
    await quickly.ended(sid);
  });

  test("a WebSocket client is pinged, lives while it answers, and ends when it does not", async () => {
    const begun = performance.now();
    const [socket] = await new Wire(quick, 4).connect();
    for (let i = 0; i < 3; i++) {
      assert.equal(await socket.next(), "2");
      assert.ok(performance.now() - begun >= (i + 1) * INTERVAL_MS - 1, "a ping before the interval was over");
      socket.send("3");
    }
    const answered = performance.now();
    await socket.ended();
    const waited = performance.now() - answered;
    assert.ok(waited >= INTERVAL_MS + TIMEOUT_MS - 1, `it ended ${waited} ms after the last answer, before interval and time-out were over`);
    assert.deepEqual(socket.frames, ["2"]);
  });

  test("a ping without an answer in time ends the session, also when messages come", async () => {
    const [socket] = await new Wire(quick, 4).connect();
    assert.equal(await socket.next(), "2");
    const chatter = setInterval(() => socket.socket.readyState === 1 && socket.send("4x"), 20);
    await socket.ended().finally(() => clearInterval(chatter));
  });

  test("an upgraded client is pinged by WebSocket", async () => {
    const [socket] = await new Wire(quick, 4).upgraded();
    for (let i = 0; i < 3; i++) {
      assert.equal(await socket.next(), "2");
      socket.send("3");
    }
    socket.drop();
  });
});

describe("Engine.IO 3: the client pings", all, () => {
  test("a client lives while it pings, is never pinged, and ends after interval and timeout", async () => {
    const quickly = new Wire(quick, 3);
    const [socket] = await quickly.connect();
    let last = performance.now();
    for (let i = 0; i < 4; i++) {
      await until(() => performance.now() >= last + (INTERVAL_MS + TIMEOUT_MS) / 3); // four such pauses are longer than its patience
      last = performance.now();
      socket.send("2");
      assert.equal(await socket.next(), "3");
    }
    await socket.ended();
    assert.ok(performance.now() - last >= INTERVAL_MS + TIMEOUT_MS - 1, "it ended before interval and time-out were over");
    assert.deepEqual(socket.frames, []);
  });

  test("a polling client that says nothing ends after interval and timeout", async () => {
    const quickly = new Wire(quick, 3);
    const begun = performance.now();
    const { sid } = await quickly.open();
    await quickly.ended(sid);
    assert.ok(performance.now() - begun >= INTERVAL_MS + TIMEOUT_MS - 1, "it ended early");
  });
});

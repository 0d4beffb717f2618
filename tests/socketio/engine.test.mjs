// Engine.IO 3 and 4 on the bare wire: every MUST of the protocol's documents, and what the reference server answers where they say nothing.
// In: an echo at /engine.io/. Not here: who pings when (heartbeat.test.mjs), Socket.IO (protocol.test.mjs), real clients (clients.test.mjs).

import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, describe, test } from "node:test";
import { channels } from "./channels.mjs";
import { echo, stopAll, until } from "./server.mjs";
import { Socket, Wire, binary3, payload } from "./wire.mjs";

const BYTES = Buffer.from([0, 1, 2, 3, 4, 30, 255, 254, 128]);
const ORIGIN = "http://example.org:81";
const MAX_PAYLOAD = 1_000_000;

let calm; // no ping in a test's life

before(async () => (calm = await echo({ origin: ORIGIN })));
after(stopAll);

const all = { concurrency: true, timeout: 60_000 };

async function refused(response, code, message, status = 400) {
  assert.equal(response.status, status);
  const body = await response.json();
  assert.deepEqual(body, { code, message });
}

for (const version of [4, 3]) {
  const wire = (server = calm) => new Wire(server, version);

  describe(`Engine.IO ${version}: handshake`, all, () => {
    test("a poll without sid is answered with an open packet", async () => {
      const response = await wire().fetch();
      assert.equal(response.status, 200);
      assert.match(response.headers.get("content-type"), /^text\/plain; *charset=utf-8$/i);
      const [packet, ...more] = payload[version].decode(await response.text());
      assert.deepEqual(more, []);
      const open = JSON.parse(packet.slice(1));
      assert.equal(packet[0], "0");
      assert.equal(typeof open.sid, "string");
      assert.deepEqual(open.upgrades, ["websocket"]);
      assert.equal(open.pingInterval, 25_000);
      assert.equal(open.pingTimeout, 20_000);
      if (version === 4) assert.equal(open.maxPayload, MAX_PAYLOAD);
    });

    test("a WebSocket without sid hears an open packet, with no upgrades to offer", async () => {
      const [socket, open] = await wire().connect();
      assert.equal(typeof open.sid, "string");
      assert.deepEqual(open.upgrades, []);
      assert.equal(open.pingInterval, 25_000);
      assert.equal(open.pingTimeout, 20_000);
      socket.drop();
    });

    test("no two sids are alike, nor short", async () => {
      const opens = await Promise.all(Array.from({ length: 50 }, () => wire().open()));
      assert.equal(new Set(opens.map(({ sid }) => sid)).size, 50);
      for (const { sid } of opens) assert.match(sid, /^[A-Za-z0-9_-]{20,}$/);
    });

    test("a transport that is missing, unknown, or a name of JavaScript's own, is unknown", async () => {
      for (const transport of ["", "abc", "constructor"]) await refused(await wire().fetch({ transport }), 0, "Transport unknown");
      const bare = await fetch(`${wire().base}?EIO=${version}`);
      await refused(bare, 0, "Transport unknown");
    });

    test("an unknown sid is refused, to GET, POST and WebSocket", async () => {
      await refused(await wire().fetch({ sid: "abc" }), 1, "Session ID unknown");
      await refused(await wire().post("abc", ["4a"]), 1, "Session ID unknown");
      const socket = wire().socket({ sid: "abc" });
      await socket.ended();
      assert.equal(socket.frames.length, 0);
    });

    test("a handshake by any method but GET is refused", async () => {
      for (const method of ["POST", "PUT", "DELETE"]) {
        await refused(await wire().fetch({}, { method }), 2, "Bad handshake method");
      }
    });

    test("a WebSocket with an unknown version or transport ends without a packet", async () => {
      const sockets = ["EIO=5&transport=websocket", `EIO=${version}&transport=abc`, `EIO=${version}`]
        .map((query) => new Socket(`${wire().base.replace("http", "ws")}?${query}`));
      await Promise.all(sockets.map((socket) => socket.ended()));
      assert.deepEqual(sockets.flatMap(({ frames }) => frames), []);
    });

    test("a plain GET that asks for the transport websocket is a bad request", async () => {
      await refused(await wire().fetch({ transport: "websocket" }), 3, "Bad request");
    });
  });

  describe(`Engine.IO ${version}: polling`, all, () => {
    test("packets of one payload are taken in their order, and answered in it", async () => {
      const { sid } = await wire().open();
      const said = ["4hello", "4", "4wörld €", "4\u{1F600}\u{10FFFF}", "4{\"a\":[1]}"];
      const response = await wire().post(sid, said);
      assert.equal(response.status, 200);
      assert.equal(await response.text(), "ok");
      assert.deepEqual(await wire().gather(sid, said.length), said);
    });

    test("a poll waits for a packet", async () => {
      const { sid } = await wire().open();
      const poll = wire().poll(sid);
      const first = await Promise.race([poll, wire().post(sid, ["4late"]).then(() => "posted")]);
      assert.ok(first === "posted" || first.includes("4late"));
      assert.deepEqual(await poll, ["4late"]);
    });

    test("what waits goes out in one payload", async () => {
      const { sid } = await wire().open();
      for (const packet of ["4a", "4b", "4c"]) await wire().post(sid, [packet]);
      assert.deepEqual(await wire().poll(sid), ["4a", "4b", "4c"]);
    });

    test("binary messages come back as they went, between texts", async () => {
      const { sid } = await wire().open(version === 3 ? { b64: 1 } : {});
      const said = ["4text", BYTES, "4more", Buffer.alloc(0), Buffer.from([255])];
      await wire().post(sid, said);
      assert.deepEqual(await wire().gather(sid, said.length), said);
    });

    test("a payload that is none ends the session", async () => {
      for (const bad of ["abc", "9", "4ok\x1e"].slice(0, version === 4 ? 2 : 1)) {
        const { sid } = await wire().open();
        await wire().post(sid, bad).then((response) => response.text()).catch(() => {});
        await wire().ended(sid);
      }
    });

    test("two polls at a time end the session; the second is refused", async () => {
      const { sid } = await wire().open();
      const polls = await Promise.all([wire().fetch({ sid }), wire().fetch({ sid })]);
      const statuses = polls.map(({ status }) => status).sort();
      assert.deepEqual(statuses.at(-1), 400, "one of them is refused");
      await Promise.all(polls.map((response) => response.text()));
      await wire().ended(sid);
    });

    test("a poll that is given up ends the session", async () => {
      const line = new Wire(calm, version, "/socket.io/"); // there, an event that nobody knows is answered by nothing
      // A poll that is given up before the server has read it never was one, so this may take more than one attempt.
      await until(async () => {
        const { sid } = await line.open();
        if (version === 4) await line.post(sid, ["40"]);
        await line.gather(sid, 1, (packet) => packet.startsWith("42"));
        const poll = request(line.url({ EIO: version, transport: "polling", sid }));
        poll.on("error", () => {}).end();
        await until(() => poll.writableFinished && poll.socket?.bytesWritten > 0, "the request does not leave");
        await line.post(sid, ['42["nothing"]']); // a turn of the server
        poll.destroy();
        for (let i = 0; i < 20; i++) {
          const answer = await line.post(sid, ['42["nothing"]']);
          if (answer.status === 400 && (await answer.json()).code === 1) return true;
        }
        return false;
      }, "the session does not end");
    });

    test("a body of maxPayload passes, one byte more is 413 and the end", async () => {
      const head = version === 4 ? "4" : `${MAX_PAYLOAD - 7}:4`;
      const most = head + "x".repeat(MAX_PAYLOAD - head.length);
      const { sid } = await wire().open();
      // Polled at the same time, as clients do: a server may hold back a POST while nobody takes what it has to say.
      const [response, [echoed]] = await Promise.all([wire().post(sid, most), wire().gather(sid, 1)]);
      assert.equal(response.status, 200);
      assert.equal(echoed.length, version === 4 ? MAX_PAYLOAD : MAX_PAYLOAD - 7);
      const answer = await wire().post(sid, `${most}x`).catch(() => ({ status: 413 }));
      assert.equal(answer.status, 413);
    });

    test("a page of another origin may read the answers, and ask before", async () => {
      const response = await wire().fetch({}, { headers: { origin: ORIGIN } });
      assert.ok([ORIGIN, "*"].includes(response.headers.get("access-control-allow-origin")));
      assert.equal(response.headers.get("access-control-allow-credentials"), "true"); // clients of protocol 3 bring cookies along
      const headers = { origin: ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "content-type" };
      const preflight = await wire().fetch({}, { method: "OPTIONS", headers });
      assert.ok([200, 204].includes(preflight.status), `OPTIONS: ${preflight.status}`);
      assert.ok([ORIGIN, "*"].includes(preflight.headers.get("access-control-allow-origin")));
      assert.match(preflight.headers.get("access-control-allow-methods") ?? "", /POST/);
    });
  });

  describe(`Engine.IO ${version}: WebSocket`, all, () => {
    test("texts come back in their order, a packet a frame", async () => {
      const [socket] = await wire().connect();
      const said = ["4hello", "4", "4wörld €", "4\u{1F600}", "4a\x1eb"];
      said.forEach((packet) => socket.send(packet));
      for (const packet of said) assert.equal(await socket.message(), packet);
      socket.drop();
    });

    test("binary messages come back as they went", async () => {
      const [socket] = await wire().connect();
      const frame = (bytes) => (version === 3 ? Buffer.concat([Buffer.of(4), bytes]) : bytes);
      for (const bytes of [BYTES, Buffer.from([7]), Buffer.alloc(70_000, 3)]) {
        socket.send(frame(bytes));
        assert.deepEqual(await socket.message(), frame(bytes));
      }
      socket.drop();
    });

    test("a frame that is no packet ends the session", async () => {
      for (const bad of ["abc", "", "9"]) {
        const [socket] = await wire().connect();
        socket.send(bad);
        await socket.ended();
      }
    });

    test("a frame larger than maxPayload ends the session", async () => {
      const [socket] = await wire().connect();
      socket.send(`4${"x".repeat(MAX_PAYLOAD)}`);
      await socket.ended();
      assert.equal(socket.frames.length, 0);
    });
  });

  describe(`Engine.IO ${version}: close`, all, () => {
    test("a close packet by POST ends the session and the waiting poll", async () => {
      const { sid } = await wire().open();
      const poll = wire().poll(sid).catch(() => ["6"]); // it may come after the end
      assert.equal((await wire().post(sid, ["1"])).status, 200);
      assert.deepEqual(await poll, ["6"]);
      await wire().ended(sid);
    });

    test("a close packet by WebSocket ends the socket", async () => {
      const [socket] = await wire().connect();
      socket.send("1");
      await socket.ended();
    });

    test("a WebSocket that ends takes its session with it", async () => {
      const [socket, { sid }] = await wire().connect();
      socket.socket.close();
      await socket.ended();
      await wire().ended(sid);
    });
  });

  describe(`Engine.IO ${version}: upgrade`, all, () => {
    test("probe, upgrade, then messages by WebSocket", async () => {
      const [socket] = await wire().upgraded();
      socket.send("4hello");
      assert.equal(await socket.message(), "4hello");
      socket.drop();
    });

    test("the probe frees a waiting poll with a noop", async () => {
      const { sid } = await wire().open();
      const poll = wire().poll(sid);
      const socket = wire().socket({ sid });
      await socket.opened();
      socket.send("2probe");
      assert.equal(await socket.next(), "3probe");
      assert.deepEqual(await poll, ["6"]);
      socket.send("5");
      socket.send("4on");
      assert.equal(await socket.message(), "4on");
      socket.drop();
    });

    test("no message is lost or doubled, whatever the moment of the upgrade", async () => {
      // Messages are posted before, during and after the probe; what comes by poll and by socket is the whole, in order.
      const { sid } = await wire().open();
      const sent = [];
      const post = async () => {
        const packet = `4${sent.length}`;
        sent.push(packet);
        await wire().post(sid, [packet]);
      };
      const got = [];
      await post();
      const poll = wire().poll(sid).then((packets) => got.push(...packets));
      await post();
      const socket = wire().socket({ sid });
      await socket.opened();
      await post();
      socket.send("2probe");
      await post();
      assert.equal(await socket.next((frame) => frame === "3probe"), "3probe");
      await poll;
      await post();
      socket.send("5");
      for (let i = 0; i < 3; i++) {
        sent.push(`4${sent.length}`);
        socket.send(sent.at(-1));
      }
      const messages = () => got.filter((packet) => packet !== "6");
      while (messages().length < sent.length) got.push(await socket.message());
      assert.deepEqual(messages(), sent);
      socket.drop();
    });

    test("after the upgrade polls of that session are refused, and it lives on", async () => {
      const [socket, sid] = await wire().upgraded();
      socket.send("4a");
      assert.equal(await socket.message(), "4a");
      assert.equal((await wire().fetch({ sid })).status, 400);
      socket.send("4b");
      assert.equal(await socket.message(), "4b");
      socket.drop();
    });

    test("a second WebSocket of a session ends, and the first lives on", async () => {
      const [socket, sid] = await wire().upgraded();
      socket.send("4a");
      assert.equal(await socket.message(), "4a");
      const second = wire().socket({ sid });
      await second.ended();
      assert.equal(second.frames.length, 0);
      socket.send("4b");
      assert.equal(await socket.message(), "4b");
      socket.drop();
    });

    test("a WebSocket for a session that began as one ends", async () => {
      const [socket, { sid }] = await wire().connect();
      const second = wire().socket({ sid });
      await second.ended();
      socket.send("4a");
      assert.equal(await socket.message(), "4a");
      socket.drop();
    });

    test("a probe that is given up leaves polling as it was", async () => {
      const { sid } = await wire().open();
      const socket = wire().socket({ sid });
      await socket.opened();
      socket.send("2probe");
      assert.equal(await socket.next(), "3probe");
      socket.drop();
      await wire().post(sid, ["4still"]);
      assert.deepEqual(await wire().gather(sid, 1), ["4still"]);
    });

    test("anything but a probe ends the probing socket alone", async () => {
      const { sid } = await wire().open();
      const socket = wire().socket({ sid });
      await socket.opened();
      socket.send("4hello");
      await socket.ended();
      await wire().post(sid, ["4still"]);
      assert.deepEqual(await wire().gather(sid, 1), ["4still"]);
    });
  });
}

describe("Engine.IO 4 alone", all, () => {
  const wire = () => new Wire(calm, 4);

  test("where only version 4 is offered, a version that is missing or another is unsupported", async () => {
    const only4 = await echo({ versions: "4" });
    for (const query of ["transport=polling", "EIO=3&transport=polling", "EIO=abc&transport=polling"]) {
      await refused(await fetch(`${new Wire(only4, 4).base}?${query}`), 5, "Unsupported protocol version");
    }
  });

  test("a binary body is refused and ends the session", async () => {
    const { sid } = await wire().open();
    const answer = await wire().post(sid, BYTES.toString("latin1"), { headers: { "content-type": "application/octet-stream" } });
    assert.equal(answer.status, 400);
    await wire().ended(sid);
  });
});

describe("Engine.IO 3 alone", all, () => {
  const wire = () => new Wire(calm, 3);

  test("a missing version means 3 to a listener", async () => {
    // Not to the echo, which the official suite of version 4 asks for a refusal.
    const live = await channels();
    const text = await (await fetch(`${live.url}/socket.io/?transport=polling`)).text();
    assert.match(text, /^\d+:0\{/);
  });

  test("the client pings and is answered with what it said, by POST and by WebSocket", async () => {
    const { sid } = await wire().open();
    await wire().post(sid, ["2"]);
    assert.deepEqual(await wire().gather(sid, 1, (packet) => packet[0] === "3"), ["3"]);
    const [socket] = await wire().connect();
    socket.send("2");
    assert.equal(await socket.next(), "3");
    socket.drop();
  });

  test("a client that takes bytes gets binary messages in a binary payload, texts alone as text", async () => {
    const { sid } = await wire().open();
    await wire().post(sid, ["4text", BYTES]);
    const response = await wire().fetch({ sid });
    assert.equal(response.headers.get("content-type"), "application/octet-stream");
    assert.deepEqual(binary3.decode(Buffer.from(await response.arrayBuffer())), ["4text", BYTES]);
    await wire().post(sid, ["4€"]);
    const text = await wire().fetch({ sid });
    const bytes = Buffer.from(await text.arrayBuffer());
    if (/octet/.test(text.headers.get("content-type"))) assert.deepEqual(binary3.decode(bytes), ["4€"]);
    else assert.equal(bytes.toString(), "2:4€");
  });

  test("a binary payload is taken", async () => {
    const { sid } = await wire().open({ b64: 1 });
    const said = ["4text €", BYTES, "4", Buffer.alloc(300, 9)];
    const answer = await wire().post(sid, binary3.encode(said), { headers: { "content-type": "application/octet-stream" } });
    assert.equal(await answer.text(), "ok");
    assert.deepEqual(await wire().gather(sid, said.length), said);
  });

  test("lengths count UTF-16 units, not bytes", async () => {
    const { sid } = await wire().open();
    assert.equal((await wire().post(sid, "3:4\u{1F600}2:4€")).status, 200);
    assert.equal(await (await wire().fetch({ sid })).text(), "3:4\u{1F600}2:4€");
  });

  test("a page without XHR is served by JSONP", async () => {
    const script = async (query) => {
      const text = await (await wire().fetch({ j: 4, ...query })).text();
      const argument = /^___eio\[4\]\((".*")\);$/s.exec(text)?.[1];
      assert.ok(argument, `no JSONP: ${text}`);
      return payload[3].decode(JSON.parse(argument));
    };
    const [packet] = await script();
    const { sid } = JSON.parse(packet.slice(1));
    const body = new URLSearchParams({ d: '6:4a"\\n€'.replace("6", "5") }).toString();
    const post = await wire().fetch({ sid, j: 4 }, { method: "POST", body, headers: { "content-type": "application/x-www-form-urlencoded" } });
    assert.equal(await post.text(), "ok");
    assert.deepEqual(await script({ sid }), ['4a"\n€']);
  });
});

// What each client must be able to do, in each form: the columns of the table in docs/PROTOCOL.md. In: a client, a form, the servers.
// Out: nothing, or an error. Must stay true: nothing here knows which client it is; what a generation cannot do, `able` says.

import assert from "node:assert/strict";
import { drain, recover, resume, rows } from "./channels.mjs";
import { echo, until } from "./server.mjs";
import { Wire } from "./wire.mjs";

const BYTES = Buffer.from([0, 1, 2, 3, 4, 30, 127, 128, 254, 255]);
const MORE = Buffer.alloc(5000, 0xc3);

/** Opens a line for a test and closes it after, whatever happens. */
async function line(client, options, body) {
  const opened = await client.open({ listen: ["auth", "message-back", "please-ack", "acked"], ...options });
  try {
    await body(opened, opened.room.bind(opened));
  } finally {
    await opened.close();
  }
}

/** Generation 1 encodes text that it polls with twice, so that only ASCII arrives as it was said: a fault of the client. */
const text = ({ generation }, form) => (generation === 1 && form !== "websocket" ? "ascii" : "wörld € \u{1F600}");

const everybody = () => true;

export const FEATURES = [
  {
    name: "connect",
    able: everybody,
    test: (client, form, { calm }) => line(client, { url: calm.url, form }, async (line, room) => {
      await line.on(form === "polling" ? "polling" : "websocket");
      assert.deepEqual(await room().hear("auth"), [{}]);
      room().emit("message", "hello");
      assert.deepEqual(await room().hear("message-back"), ["hello"]);
    }),
  },
  {
    name: "auth",
    able: everybody,
    async test(client, form, { calm }) {
      const taken = { "/": undefined, "/custom": { token: "123" } };
      await line(client, { url: calm.url, form, namespaces: taken }, async (_, room) => assert.deepEqual(await room("/custom").hear("auth"), [{ token: "123" }]));
      for (const [namespaces, why] of [[{ "/": undefined, "/custom": { refuse: "no" } }, "no"], [{ "/": undefined, "/unknown": undefined }, "Invalid namespace"]]) {
        await line(client, { url: calm.url, form, namespaces, reconnection: false }, async (_, room) => {
          assert.deepEqual(await room(Object.keys(namespaces).at(-1)).hear("refused"), [why]);
        });
      }
    },
  },
  {
    name: "events",
    able: everybody,
    // Sent while the transport is still being upgraded, where it is: none is lost, none is doubled, and the order holds.
    test: (client, form, { calm }) => line(client, { url: calm.url, form }, async (line, room) => {
      const values = [["a", 1, { b: [true, null, 1.5] }], [text(client, form)], [], ["x".repeat(200_000)], ...Array.from({ length: 200 }, (_, i) => [i])];
      for (const args of values) room().emit("message", ...args);
      const heard = [];
      for (const _ of values) heard.push(await room().hear("message-back"));
      // python-socketio calls handlers each in a thread of its own, in no order.
      const order = (list) => (client.name === "python-socketio" ? list.map((args) => JSON.stringify(args)).sort() : list);
      assert.deepEqual(order(heard), order(values));
      await line.on(form === "polling" ? "polling" : "websocket");
    }),
  },
  {
    name: "acks",
    able: everybody,
    test: (client, form, { calm }) => line(client, { url: calm.url, form }, async (_, room) => {
      const args = [1, "2", { 3: [false, text(client, form)] }];
      assert.deepEqual(await room().call("message-with-ack", ...args), args);
      room().emit("message-for-ack", ...args);
      assert.deepEqual(await room().hear("please-ack"), args);
      assert.deepEqual(await room().hear("acked"), args);
    }),
  },
  {
    name: "binary",
    able: everybody,
    test: (client, form, { calm }) => line(client, { url: calm.url, form }, async (_, room) => {
      const args = ["text", BYTES, { in: [MORE, text(client, form)] }];
      room().emit("message", ...args);
      assert.deepEqual(await room().hear("message-back"), args);
      assert.deepEqual(await room().call("message-with-ack", ...args), args);
      room().emit("message-for-ack", ...args);
      assert.deepEqual(await room().hear("please-ack"), args);
      assert.deepEqual(await room().hear("acked"), args);
    }),
  },
  {
    name: "namespaces",
    able: everybody,
    test: (client, form, { calm }) => line(client, { url: calm.url, form, namespaces: { "/": undefined, "/custom": undefined } }, async (_, room) => {
      room("/").emit("message", "main");
      room("/custom").emit("message", "custom");
      assert.deepEqual(await room("/custom").call("message-with-ack", BYTES), [BYTES]);
      assert.deepEqual(await room("/custom").hear("message-back"), ["custom"]);
      assert.deepEqual(await room("/").hear("message-back"), ["main"]);
      assert.ok(!room("/").mail.has("message-back") && !room("/custom").mail.has("message-back"), "each hears its own");
    }),
  },
  {
    name: "heartbeat",
    able: everybody,
    isIdle: true,
    // The interval and the time-out of `quick` pass twice, in which a side that did not do its part would have been given up.
    test: (client, form, { quick }) => line(client, { url: quick.url, form }, async (_, room) => {
      const due = performance.now() + 2 * (quick.interval + quick.timeout);
      await until(() => performance.now() > due);
      assert.deepEqual(await room().call("message-with-ack", "still here"), ["still here"]);
      assert.ok(!room().mail.has("disconnect"), "it stayed connected");
    }),
  },
  {
    name: "reconnect",
    able: everybody,
    async test(client, form) {
      let server = await echo();
      const { url, port } = server;
      try {
        await line(client, { url, form, namespaces: { "/": undefined, "/custom": undefined } }, async (line, room) => {
          await room("/custom").hear("connect");
          await line.on(form === "polling" ? "polling" : "websocket"); // generation 1 does not notice an end in the middle of it
          await server.stop();
          await room("/custom").hear("disconnect");
          server = await echo({ port });
          await room("/custom").hear("connect");
          assert.deepEqual(await room("/custom").call("message-with-ack", "again"), ["again"]);
        });
      } finally {
        await server.stop();
      }
    },
  },
  {
    name: "hang-up",
    able: everybody,
    // The server closes a session, as it does when it drains: the client comes back.
    test: (client, form, { calm }) => line(client, { url: calm.url, form }, async (line, room) => {
      await room().hear("connect");
      await line.on(form === "polling" ? "polling" : "websocket");
      room().emit("hang-up");
      await room().hear("disconnect");
      await room().hear("connect");
      assert.deepEqual(await room().call("message-with-ack", "again"), ["again"]);
    }),
  },
  {
    name: "disconnect",
    able: everybody,
    async test(client, form, { calm }) {
      const namespaces = { "/": undefined, "/custom": undefined };
      await line(client, { url: calm.url, form, namespaces }, async (line, room) => {
        room("/custom").emit("leave");
        await room("/custom").hear("disconnect");
        assert.deepEqual(await room("/").call("message-with-ack", "still here"), ["still here"]);
        const sid = await line.sid();
        await line.close();
        await new Wire(calm, client.protocol - 1, "/socket.io/").ended(sid);
      });
    },
  },
  { name: "channels", able: everybody, test: rows },
  { name: "resume", able: everybody, test: resume },
  { name: "drain", able: everybody, test: drain },
  // Clients before 4.6 know nothing of it.
  { name: "recovery", able: ({ name, generation }) => name === "socket.io-client" && generation >= 4, test: recover },
];

// Socket.IO protocols 5 (on Engine.IO 4) and 4 (on Engine.IO 3) on the bare wire, by polling and by WebSocket.
// In: the echo at /socket.io/, which answers as the protocol's document asks, and a little more (docs/PROTOCOL.md).
// Not here: what lies below (engine.test.mjs), real clients (clients.test.mjs).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { echo, stopAll, until } from "./server.mjs";
import { Wire } from "./wire.mjs";

const BYTES = Buffer.from([1, 2, 3, 4]);
const MORE = Buffer.from([5, 6, 254]);
const HOLE = (num) => ({ _placeholder: true, num });

let server;
let impatient; // gives a client a second to come into a namespace, as the official suite asks

before(async () => ([server, impatient] = await Promise.all([echo(), echo({ connectTimeout: 1000 })])));
after(stopAll);

const all = { concurrency: true, timeout: 60_000 };

/** One session: what it says and hears are Engine.IO messages without their `4`; binary ones are Buffers. */
class Line {
  #heard = [];

  constructor(wire, transport) {
    this.wire = wire;
    this.transport = transport;
  }

  static async open(version, transport, at = server) {
    const line = new Line(new Wire(at, version, "/socket.io/"), transport);
    if (transport === "polling") ({ sid: line.sid } = await line.wire.open({ b64: 1 }));
    else [line.socket, { sid: line.sid }] = await line.wire.connect();
    return line;
  }

  async say(...packets) {
    const { version } = this.wire;
    const framed = packets.map((packet) => (Buffer.isBuffer(packet) ? packet : `4${packet}`));
    if (this.transport === "polling") return (await this.wire.post(this.sid, framed)).text();
    for (const packet of framed) this.socket.send(Buffer.isBuffer(packet) && version === 3 ? Buffer.concat([Buffer.of(4), packet]) : packet);
  }

  async hear() {
    if (this.transport === "polling") {
      await until(async () => this.#heard.length > 0 || this.#heard.push(...(await this.wire.poll(this.sid)).filter((p) => p !== "6")), "nothing came");
      const packet = this.#heard.shift();
      return Buffer.isBuffer(packet) ? packet : packet.slice(1);
    }
    const frame = await this.socket.message();
    if (Buffer.isBuffer(frame)) return this.wire.version === 3 ? frame.subarray(1) : frame;
    return frame.slice(1);
  }

  /** Hears the packets given, in their order. JSON is compared as it is written by everybody: without spaces. */
  async expect(...packets) {
    for (const packet of packets) assert.deepEqual(await this.hear(), packet);
  }

  /** Connects to a namespace; returns the sid that its answer names. Hears the `auth` event of the echo. */
  async connect(namespace = "", auth = undefined) {
    const head = namespace && `${namespace},`;
    if (this.wire.version === 4 || namespace) await this.say(`0${head}${auth === undefined ? "" : JSON.stringify(auth)}`);
    const answer = await this.hear();
    if (this.wire.version === 3) {
      assert.ok(answer === `0${namespace}` || answer === `0${head}`, answer);
      await this.expect(`2${head}["auth",{}]`);
      return undefined;
    }
    assert.ok(answer.startsWith(`0${head}{`), answer);
    await this.expect(`2${head}["auth",${JSON.stringify(auth ?? {})}]`);
    return JSON.parse(answer.slice(1 + head.length)).sid;
  }

  /** Resolves when the server has ended the session. */
  async ended() {
    if (this.transport === "websocket") await this.socket.ended();
    await this.wire.ended(this.sid);
  }

  drop() {
    this.socket?.drop();
  }
}

for (const [version, protocol] of [[4, 5], [3, 4]]) {
  for (const transport of ["polling", "websocket"]) {
    const open = () => Line.open(version, transport);
    const claim = (name, body) => test(name, async () => {
      const line = await open();
      await body(line).finally(() => line.drop());
    });

    describe(`Socket.IO ${protocol} by ${transport}`, all, () => {
      claim("a namespace of its own is connected beside the main one", async (line) => {
        const main = await line.connect();
        const custom = await line.connect("/custom");
        if (version === 4) assert.equal(new Set([main, custom, line.sid]).size, 3, "each has a sid of its own");
        await line.say('2["message","a"]', '2/custom,["message","b"]');
        const heard = [await line.hear(), await line.hear()].sort();
        assert.deepEqual(heard, ['2/custom,["message-back","b"]', '2["message-back","a"]']);
      });

      claim("an unknown namespace is refused, and the session lives on", async (line) => {
        await line.connect();
        await line.say("0/nope");
        const said = version === 4 ? '{"message":"Invalid namespace"}' : '"Invalid namespace"';
        await line.expect(`4/nope,${said}`);
        await line.say('2["message"]');
        await line.expect('2["message-back"]');
      });

      claim("events come back with all their arguments, in order", async (line) => {
        await line.connect();
        const events = [[], [1, "2", { 3: [true, null] }], ["wörld €\u{1F600}"], [-0.5, 1e300, 9007199254740993n], ["\\\"\n,{}[]"]];
        const written = events.map((args) => args.map((a) => (typeof a === "bigint" ? String(a) : JSON.stringify(a))).map((a) => `,${a}`).join(""));
        await line.say(...written.map((args) => `2["message"${args}]`));
        for (const args of written) assert.deepEqual(JSON.parse((await line.hear()).slice(1)), JSON.parse(`["message-back"${args}]`));
      });

      claim("an event with binary comes back with it", async (line) => {
        await line.connect();
        await line.say(`52-["message",${JSON.stringify(HOLE(0))},{"in":[${JSON.stringify(HOLE(1))}]},"x"]`, BYTES, MORE);
        await line.expect(`52-["message-back",${JSON.stringify(HOLE(0))},{"in":[${JSON.stringify(HOLE(1))}]},"x"]`, BYTES, MORE);
      });

      claim("an event with binary on a namespace comes back on it", async (line) => {
        await line.connect();
        await line.connect("/custom");
        await line.say(`51-/custom,["message",${JSON.stringify(HOLE(0))}]`, BYTES);
        await line.expect(`51-/custom,["message-back",${JSON.stringify(HOLE(0))}]`, BYTES);
      });

      claim("an event with an id is acknowledged with it, whatever the id", async (line) => {
        await line.connect();
        await line.say('256["message-with-ack",1,"2",{"3":[false]}]', '20["message-with-ack"]', '2999999999["message-with-ack",null]');
        await line.expect('356[1,"2",{"3":[false]}]', "30[]", "3999999999[null]");
      });

      claim("an event with an id and binary is acknowledged with both", async (line) => {
        await line.connect();
        await line.say(`52-789["message-with-ack",${JSON.stringify(HOLE(0))},${JSON.stringify(HOLE(1))}]`, BYTES, MORE);
        await line.expect(`62-789[${JSON.stringify(HOLE(0))},${JSON.stringify(HOLE(1))}]`, BYTES, MORE);
      });

      claim("the server asks for an acknowledgement, and hears it", async (line) => {
        await line.connect();
        await line.say('2["message-for-ack","a",{"b":1}]');
        const [, id] = /^2(\d+)\["please-ack","a",\{"b":1\}\]$/.exec(await line.hear()) ?? assert.fail("no id");
        await line.say(`3${id}["yes",[2]]`);
        await line.expect('2["acked","yes",[2]]');
        await line.say(`3${id}["again"]`, '2["message","only once"]');
        await line.expect('2["message-back","only once"]');
      });

      claim("the server hears an acknowledgement with binary", async (line) => {
        await line.connect();
        await line.say(`51-["message-for-ack",${JSON.stringify(HOLE(0))}]`, BYTES);
        const [, id] = /^51-(\d+)\["please-ack",\{"_placeholder":true,"num":0\}\]$/.exec(await line.hear()) ?? assert.fail("no id");
        await line.expect(BYTES);
        await line.say(`61-${id}[${JSON.stringify(HOLE(0))}]`, MORE);
        await line.expect(`51-["acked",${JSON.stringify(HOLE(0))}]`, MORE);
      });

      claim("a namespace that is left hears nothing more, the other goes on", async (line) => {
        await line.connect();
        await line.connect("/custom");
        await line.say("1/custom,");
        await line.say('2["message","main"]');
        await line.expect('2["message-back","main"]');
      });

      claim("a namespace that was left can be connected again", async (line) => {
        await line.connect();
        await line.connect("/custom");
        await line.say("1/custom,");
        await line.connect("/custom");
        await line.say('2/custom,["message"]');
        await line.expect('2/custom,["message-back"]');
      });

      claim("the server ends a namespace, and the other goes on", async (line) => {
        await line.connect();
        await line.connect("/custom");
        await line.say('2/custom,["leave"]');
        assert.match(await line.hear(), /^1\/custom,?$/);
        await line.say('2["message","main"]');
        await line.expect('2["message-back","main"]');
      });

      test("what is no packet ends the session", async () => {
        const bad = ["", "abc", "9", "2", "2{}", "2[]", '2["message"', "2[5]", "7", '51["message"]', "5-[]", '51-["message"]x', "21", '3["no id"]', "31{}", "61-1[]x"];
        for (const packet of bad) {
          const line = await open();
          await line.connect();
          await line.say(packet).catch(() => {});
          await line.ended().catch((error) => assert.fail(`after ${JSON.stringify(packet)}: ${error.message}`));
        }
      });

      test("a binary header without its attachments is followed by nothing else", async () => {
        const line = await open();
        await line.connect();
        await line.say('52-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', BYTES, '2["message"]').catch(() => {});
        await line.ended();
      });

      test("an attachment without a header ends the session", async () => {
        const line = await open();
        await line.connect();
        await line.say(BYTES).catch(() => {});
        await line.ended();
      });

      test("the server hangs up when it is asked to", async () => {
        const line = await open();
        await line.connect();
        await line.say('2["hang-up"]');
        await line.ended();
      });
    });

    describe(`Socket.IO ${protocol} by ${transport}, who may come in`, all, () => {
      if (version === 4) {
        claim("nothing is said before the client connects", async (line) => {
          if (transport === "websocket") assert.deepEqual(line.socket.frames, []);
          await line.connect("/custom");
          await line.say('2/custom,["message"]');
          await line.expect('2/custom,["message-back"]');
        });

        claim("auth reaches the namespace, on the main one and on another", async (line) => {
          await line.connect("", { token: "123" });
          await line.connect("/custom", { token: "äöü", list: [1, { a: null }] });
        });

        claim("a namespace refuses with a message", async (line) => {
          await line.say('0{"refuse":"not you"}');
          await line.expect('4{"message":"not you"}');
          await line.connect("/custom");
        });

        test("an event before any connect ends the session", async () => {
          const line = await open();
          await line.say('2["message"]');
          await line.ended();
        });

        test("a connect with what is no object ends the session", async () => {
          for (const auth of ["[]", "\"a\"", "{", "{}x", "null"]) {
            const line = await open();
            await line.say(`0${auth}`);
            await line.ended().catch((error) => assert.fail(`0${auth}: ${error.message}`));
          }
        });

        test("a session that connects to nothing ends after a second", async () => {
          const begun = performance.now();
          const line = await Line.open(version, transport, impatient);
          await line.ended();
          assert.ok(performance.now() - begun >= 999, "it ended early");
        });
      } else {
        claim("the main namespace is connected without being asked for", async (line) => {
          await line.expect("0", '2["auth",{}]');
        });

        claim("the query of a namespace is its auth", async (line) => {
          await line.connect();
          await line.say("0/custom?token=a%20b&x=1,");
          assert.match(await line.hear(), /^0\/custom,?$/);
          await line.expect('2/custom,["auth",{"token":"a b","x":"1"}]');
          await line.say('2/custom,["message"]');
          await line.expect('2/custom,["message-back"]');
        });

        claim("a namespace refuses with a text", async (line) => {
          await line.connect();
          await line.say("0/custom?refuse=not%20you");
          await line.expect('4/custom,"not you"');
          await line.say('2["message"]');
          await line.expect('2["message-back"]');
        });
      }
    });
  }
}

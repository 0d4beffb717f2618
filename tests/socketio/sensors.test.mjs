// The dialect `sensor-mirror`, spoken with by clients of the original's time, whose Engine.IO is 3, and by those of today. In:
// examples/sensor-mirror as it stands, on an embedded log, with two streams of bytes beside it that write to its topics. Must stay true:
// each test has sensors of its own.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { browser } from "../browser/program.mjs";
import { JavaScript } from "./javascript.mjs";
import { Python } from "./python.mjs";
import { freePort, serve, stopAll, until } from "./server.mjs";
import { FORMS } from "./table.mjs";

const EXAMPLE = new URL("../../examples/sensor-mirror/", import.meta.url);
const EVENTS = ["connected_clients", "sensor_values_cache", "sensor_values"];
const CLIENTS = [new JavaScript(1), new JavaScript(2), new JavaScript(4), new Python(4), new Python(5)];

let server;
before(async () => {
  const [mirror, rest] = [await freePort(), await freePort()];
  const file = await readFile(new URL("windrow.toml", EXAMPLE), "utf8");
  // The listener that is asked whether it is ready gets the port of `serve`; the others have theirs.
  const config = file
    .replace("${WINDROW_LOG:-kafka}", "embedded")
    .replace("${WINDROW_DATA:-windrow-data}", "DIRECTORY")
    .replace("${ALLOWED_TOPICS_REGEX:-${ALLOWED_TOPIC_REGEX:-.*}}", "^sensors-")
    .replace("${KAFKA_SCHEMA:-kafka.timestamp-data.avsc}", fileURLToPath(new URL("kafka.timestamp-data.avsc", EXAMPLE)))
    .replaceAll("${BIND:-0.0.0.0}", "127.0.0.1")
    .replace("${REST_PORT:-5001}", rest)
    .replace("${PORT:-5002}", mirror)
    .replace("${INSIDE_PORT:-8080}", "PORT");
  const raw = ["roof", "cellar"].map((name) => `[streams.${name}]\ntopic = "sensors-${name}"\nformat = "bytes"\n`);
  const { url } = await serve(config + raw.join(""));
  server = { url: `http://127.0.0.1:${mirror}`, rest: `http://127.0.0.1:${rest}`, inside: url };
  await Promise.all(CLIENTS.map((client) => client.start()));
}, { timeout: 60_000 });
after(() => Promise.all([stopAll(), ...CLIENTS.map((client) => client.stop())]));

let last = 100;
const unique = () => `s${++last}`;

/** An integer as Avro writes it. */
const long = (n) => (n < 64 ? Buffer.from([n * 2]) : Buffer.from([(n * 2) % 128 | 128, (n * 2) >> 7]));
const sized = (bytes) => Buffer.concat([long(bytes.length), Buffer.from(bytes)]);

/** A bare datum of the schema: numbers are floats. */
function datum(timestamp, data) {
  const time = Buffer.alloc(8);
  time.writeDoubleLE(timestamp);
  const values = Object.entries(data).map(([name, value]) => {
    const float = Buffer.alloc(4);
    if (typeof value === "number") float.writeFloatLE(value);
    const held = typeof value === "number" ? [long(2), float] : typeof value === "string" ? [long(0), sized(value)] : [long(1), sized(value)];
    return Buffer.concat([sized(name), ...held]);
  });
  const bytes = Buffer.concat([time, long(values.length), ...values, long(0)]);
  assert.ok(!bytes.includes(10), "a record is a line");
  return bytes;
}

async function measure(name, timestamp, data) {
  const response = await fetch(`${server.inside}/api/streams/${name}`, { method: "POST", body: datum(timestamp, data) });
  assert.deepEqual(await response.json(), { accepted: 1, rejected: [] });
}

const get = async (path) => (await fetch(server.rest + path)).json();

/** Waits until the mirror shows that value of the sensor. */
const shown = (name, sensor, value) => until(async () => (await get(`/topic/sensors-${name}`)).data?.[sensor] === value, `${name} does not show ${value}`);

/** Hears the event until it is about this sensor. */
async function hear(room, event, sensor) {
  for (;;) {
    const [told, ...more] = await room.hear(event);
    assert.deepEqual([Object.keys(told), more], [["topic", "timestamp", "data"], []]);
    if (sensor in told.data) return told;
  }
}

async function line(client, form, body, query = "") {
  const opened = await client.open({ url: server.url + query, form, listen: EVENTS });
  try {
    await body(opened.room(), opened);
  } finally {
    await opened.close();
  }
}

for (const client of CLIENTS) {
  for (const form of FORMS) {
    describe(`${client.name} ${client.version} by ${form}`, () => {
      test("the number of clients, the newest values, then each record, without a word", { timeout: 60_000 }, async () => {
        const sensor = unique();
        await measure("roof", 1.5, { [sensor]: 1 });
        await measure("roof", 2.5, { [sensor]: 23.1, raw: Buffer.from([0, 255]) });
        await shown("roof", sensor, 23.100000381469727);
        await line(client, form, async (room, line) => {
          const [connected] = await room.hear("connected_clients");
          assert.ok(connected >= 1, `${connected} clients`);
          const cached = await hear(room, "sensor_values_cache", sensor);
          assert.deepEqual(cached, { topic: "sensors-roof", timestamp: 2.5, data: { [sensor]: 23.100000381469727, raw: Buffer.from([0, 255]) } });
          for (const value of [2, 3, 4]) await measure("roof", value, { [sensor]: value, text: "AP8=" });
          for (const value of [2, 3, 4]) {
            const told = await hear(room, "sensor_values", sensor);
            assert.deepEqual(told, { topic: "sensors-roof", timestamp: value, data: { [sensor]: value, text: "AP8=" } });
          }
          await line.on(form === "polling" ? "polling" : "websocket");
        });
      });

      test("a choice of topics in the address, and another later", { timeout: 60_000 }, async () => {
        const sensor = unique();
        const both = async (value) => {
          await measure("roof", value, { [sensor]: value });
          await measure("cellar", value, { [sensor]: value });
          for (const name of ["roof", "cellar"]) await shown(name, sensor, value);
        };
        await both(1);
        const choose = async (room) => {
          assert.equal((await hear(room, "sensor_values_cache", sensor)).topic, "sensors-cellar");
          await both(2);
          assert.equal((await hear(room, "sensor_values", sensor)).topic, "sensors-cellar");
          assert.deepEqual(await room.call("watch_topics", ["sensors-roof"]), []);
          const cached = await hear(room, "sensor_values_cache", sensor);
          assert.deepEqual([cached.topic, cached.data[sensor]], ["sensors-roof", 2]);
        };
        await line(client, form, choose, "/?topics=sensors-cellar");
      });
    });
  }
}

test("the page shows values as they come", { timeout: 60_000 }, async () => {
  const chromium = await browser();
  try {
    const sensor = unique();
    await measure("roof", 1_485_000_000.25, { [sensor]: 23.5 });
    const page = await chromium.page();
    await page.goto(server.url);
    const shows = (wanted) => until(async () => (await page.textContent("body")).includes(wanted), `the page does not show ${wanted}`);
    for (const wanted of ["1 connected", "sensors-roof", sensor, "23.5"]) await shows(wanted);
    await measure("roof", 1_485_000_001.25, { [sensor]: 24.75 });
    await shows("24.75");
    assert.deepEqual(chromium.complaints, []);
  } finally {
    await chromium.stop();
  }
});

test("the sister's answers", { timeout: 60_000 }, async () => {
  const sensor = unique();
  await measure("cellar", 3.5, { [sensor]: 0.5 });
  const want = { timestamp: 3.5, data: { [sensor]: 0.5 } };
  await shown("cellar", sensor, 0.5);
  assert.deepEqual((await get("/topics"))["sensors-cellar"], want);
  for (const path of ["/topic/", "/topics/"]) assert.deepEqual(await get(`${path}sensors-cellar`), { ...want, topic: "sensors-cellar" });
});

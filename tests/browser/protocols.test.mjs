// The browser's own EventSource and WebSocket against the real server: what a page without the dashboard's modules sees.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, demo } from "./program.mjs";

let server;
let chromium;
let page;
let channel;

before(async () => {
  server = await demo(); // first: when it fails, nothing is left running
  chromium = await browser();
  page = await chromium.page();
  await page.route("**/favicon.ico", (route) => route.fulfill({ status: 204 }));
  await page.goto(`${server.url}healthz`); // same origin, no scripts of ours
  const all = await (await fetch(`${server.url}api/channels`)).json();
  channel = all.find(({ kind, key }) => kind === "view" && key.includes("window_start"));
}, { timeout: 120_000 });

after(async () => {
  await chromium?.stop();
  await server?.stop();
});

const quick = { timeout: 60_000 };

test("EventSource gets a snapshot, then changes, each with a position", quick, async () => {
  const events = await page.evaluate((name) => new Promise((done, fail) => {
    const source = new EventSource(`/sse/${name}`);
    const seen = [];
    const take = (event) => {
      seen.push({ type: event.type, data: JSON.parse(event.data), id: event.lastEventId });
      if (seen.some(({ type }) => type === "snapshot") && seen.filter(({ type }) => type === "rows").length >= 2) {
        source.close();
        done(seen);
      }
    };
    source.addEventListener("snapshot", take);
    source.addEventListener("rows", take);
    setTimeout(() => fail(new Error(`only ${JSON.stringify(seen.map(({ type }) => type))} came`)), 30_000);
  }), channel.name);
  assert.equal(events[0].type, "snapshot");
  assert.ok(events.at(-1).id.length > 0 && events.at(-1).id.length <= 1024, "the position fits");
});

test("WebSocket subscribes, changes its filter in place, and resumes without a snapshot", quick, async () => {
  const column = channel.key.find((name) => name !== "window_start");
  const result = await page.evaluate(([name, column]) => new Promise((done, fail) => {
    setTimeout(() => fail(new Error(`stuck after ${JSON.stringify(steps)}`)), 30_000);
    const steps = [];
    const open = (first, take) => {
      const socket = new WebSocket(`ws://${location.host}/ws`);
      socket.onopen = () => socket.send(JSON.stringify(first));
      socket.onmessage = ({ data }) => take(JSON.parse(data), socket);
    };
    let wanted;
    open({ subscribe: name, as: 1, from: "snapshot" }, (frame, socket) => {
      if (frame.error) return fail(new Error(JSON.stringify(frame.error)));
      if (frame.subscribed) steps.push({ subscribed: frame.subscribed, key: frame.key, recovered: frame.recovered });
      const row = (frame.snapshot ?? frame.rows ?? [])[0];
      if (!wanted && row) {
        wanted = row[column];
        const text = typeof wanted === "number" ? wanted : `'${String(wanted).replaceAll("'", "''")}'`;
        return socket.send(JSON.stringify({ filter: 1, where: `${column} = ${text}` }));
      }
      if (frame.filtered) steps.push({ filtered: true });
      const after = steps.some((step) => step.filtered) && frame.rows?.length > 0 && !frame.filtered;
      if (!after || steps.some((step) => step.only)) return;
      steps.push({ only: frame.rows.every((row) => row[column] === wanted), at: frame.at.length });
      socket.close();
      const text = typeof wanted === "number" ? wanted : `'${String(wanted).replaceAll("'", "''")}'`;
      open({ subscribe: name, as: 9, where: `${column} = ${text}`, from: frame.at }, (answer, other) => {
        steps.push({ as: answer.as, recovered: answer.recovered, snapshot: answer.snapshot });
        other.close();
        done(steps);
      });
    });
  }), [channel.name, column]);
  const [subscribed, filtered, live, resumed] = result;
  assert.deepEqual(subscribed, { subscribed: channel.name, key: channel.key, recovered: false });
  assert.deepEqual(filtered, { filtered: true });
  assert.ok(live.only && live.at <= 1024);
  assert.equal(resumed.recovered, true);
  assert.equal(resumed.snapshot, undefined);
});

test("nothing complained", quick, () => assert.deepEqual(chromium.complaints, []));

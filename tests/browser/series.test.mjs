// series.js, columns.js, stats.js, format.js, address.js: from rows to what is drawn and said.

import assert from "node:assert/strict";
import { test } from "node:test";
import { web } from "./web.mjs";

const { KEYS_MAX, ranking, series } = await web("series.js");
const { additive, condition, roles } = await web("columns.js");
const { figures, stopped } = await web("stats.js");
const { compact, moment, span } = await web("format.js");
const { read } = await web("address.js");

const row = (id, start, count, final = true) => ({ id, count, window_start: start, window_end: start + 10, final, seq: 1 });

test("windows stand on their grid, with gaps, newest last", () => {
  const { windows, lengthMs } = series([row("a", 30, 1, false), row("a", 0, 2)], ["id"], "count", 10);
  assert.deepEqual(windows.map((w) => w.start), [0, 30]);
  assert.equal(lengthMs, 10);
  const gap = series([row("a", 0, 1), row("a", 10, 1), row("a", 30, 1, false)], ["id"], "count", 10);
  assert.deepEqual(gap.windows.map((w) => [w.start, w.final]), [[0, true], [10, true], [20, true], [30, false]]);
});

test("only the last windows are drawn", () => {
  const rows = Array.from({ length: 100 }, (_, i) => row("a", i * 10, 1));
  assert.deepEqual(series(rows, ["id"], "count", 3).windows.map((w) => w.start), [970, 980, 990]);
});

test("what is not among the top keys is in the rest", () => {
  const rows = Array.from({ length: 10 }, (_, i) => row(`k${i}`, 0, 10 - i));
  const { windows, keys } = series(rows, ["id"], "count", 5);
  assert.equal(keys.length, KEYS_MAX);
  assert.deepEqual(keys.map((key) => key.label).slice(0, 2), ["k0", "k1"]);
  assert.deepEqual([windows[0].rest, windows[0].restCount], [3 + 2 + 1, 3]);
});

test("a view without rows or without keys is drawn too", () => {
  assert.deepEqual(series([], ["id"], "count", 5), { windows: [], keys: [], lengthMs: 0 });
  assert.equal(series([row("a", 0, 1)], [], "count", 5).keys[0].label, "all");
});

test("a ranking is the largest first and leaves nulls out", () => {
  const rows = [{ id: "a", n: 1 }, { id: "b", n: 3 }, { id: "c", n: null }];
  assert.deepEqual(ranking(rows, ["id"], "n", 5).map((r) => r.label), ["b", "a"]);
});

test("columns know their roles", () => {
  const channel = { name: "v", columns: [{ name: "id", type: "text" }, { name: "count", type: "bigint" }] };
  const found = roles(channel, [row("a", 0, 1)], ["id", "window_start"]);
  assert.deepEqual(found, { keys: ["id"], values: ["count"], windowed: true, numeric: ["count"], times: [] });
  const renamed = roles({}, [{ id: "a", hour: 30, n: 2, window_start: 30, watermark: 1.7e12 }], ["id", "window_start"]);
  assert.deepEqual([renamed.numeric, renamed.times], [["n"], ["hour", "watermark"]]);
  assert.ok(additive("count") && additive("sum_bytes") && !additive("avg_ms") && !additive("max") && !additive("mean_delay"));
});

test("a click on a key is a condition that the server reads as that key", () => {
  assert.equal(condition(["id"], { id: "it's" }), "id = 'it''s'");
  assert.equal(condition(["id", "Zone"], { id: 3, Zone: null }), 'id = 3 AND "Zone" IS NULL');
});

test("figures add up one kind of row only, and a missing column is no figure", () => {
  const of = (rows) => Object.fromEntries(figures(rows).map(({ id, value }) => [id, value]));
  const rows = [
    { kind: "stream", name: "a", records_per_s: 5, bad: 1 }, { kind: "stream", name: "b", records_per_s: 7 },
    { kind: "partition", name: "a", records_per_s: 5, lag: 2 }, { kind: "view", name: "v", late: 4 },
  ];
  assert.deepEqual(of(rows), { rate: 12, clients: null, lag: 2, late: 4, bad: 1 });
  assert.deepEqual(of([]), { rate: null, clients: null, lag: null, late: null, bad: null });
});

test("a view that stopped is said once, with its reason", () => {
  const view = (name, partition, stopped_why) => ({ kind: "view", name, partition, stopped_why });
  assert.equal(stopped([view("v", -1), { kind: "node", name: "node", stopped_why: "not a view" }]), null);
  assert.equal(stopped([view("v", -1, "a row is too large"), view("v", 0, "a row is too large"), view("w", -1)]), "View v has stopped: a row is too large");
});

test("numbers and times are short", () => {
  assert.equal(compact(999), "999");
  assert.equal(span(600_000), "10 min");
  assert.equal(span(1500), "1500 ms");
  assert.equal(moment(Number.NaN, 10, 0), "NaN");
});

test("an address may hold anything", () => {
  assert.deepEqual(read("#a?where=x+%3D+%27%3F%27"), { channel: "a", where: "x = '?'" });
  assert.deepEqual(read(""), { channel: "", where: "" });
  assert.deepEqual(read("#%E0%A4%A"), { channel: "%E0%A4%A", where: "" });
});

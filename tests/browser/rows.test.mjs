// rows.js: after any frames, the page's rows are what the frames say.

import assert from "node:assert/strict";
import { test } from "node:test";
import { web } from "./web.mjs";

const { Rows } = await web("rows.js");

const KEY = ["id", "window_start"];
const row = (id, start, count, seq = 1, final = false) => ({ id, count, window_start: start, window_end: start + 10, final, seq });
const subscribed = (snapshot, more) => ({ as: 1, subscribed: "v", key: KEY, recovered: false, snapshot, ...(more ? { more } : { at: "p" }) });

function check(frames, expected, max) {
  const rows = new Rows(max);
  for (const frame of frames) rows.apply(frame);
  assert.deepEqual(rows.values().map((r) => `${r.id}@${r.window_start}=${r.count}`), expected);
  return rows;
}

test("a snapshot in pieces is one snapshot, and the next one replaces it", () => {
  const pieces = [subscribed([row("a", 0, 1)], true), { as: 1, snapshot: [row("b", 0, 2)], at: "q" }];
  check(pieces, ["a@0=1", "b@0=2"]);
  check([...pieces, { as: 1, reset: true, snapshot: [row("c", 0, 3)], at: "r" }], ["c@0=3"]);
});

test("a row is replaced by its key and never by an older state", () => {
  check([subscribed([row("a", 0, 1, 5)]), { as: 1, rows: [row("a", 0, 2, 6)] }, { as: 1, rows: [row("a", 0, 1, 5)] }], ["a@0=2"]);
});

test("gone rows leave by key, retired windows by their end", () => {
  const frames = [subscribed([row("a", 0, 1), row("a", 10, 1), row("b", 10, 1)])];
  check([...frames, { as: 1, rows: [], gone: [{ id: "a", window_start: 10 }] }], ["a@0=1", "b@10=1"]);
  check([...frames, { as: 1, rows: [], retired: 10 }], ["a@10=1", "b@10=1"]);
});

test("a resumed subscription keeps its rows", () => {
  check([subscribed([row("a", 0, 1)]), { as: 1, subscribed: "v", key: KEY, recovered: true, at: "q" }], ["a@0=1"]);
});

test("a filter in place adds the newly matching and takes the gone", () => {
  const filtered = { as: 1, filtered: true, rows: [row("b", 0, 1)], gone: [{ id: "a", window_start: 0 }], at: "q" };
  check([subscribed([row("a", 0, 1)]), filtered], ["b@0=1"]);
});

test("past the bound the oldest windows leave and are counted", () => {
  const snapshot = Array.from({ length: 30 }, (_, i) => row("a", (29 - i) * 10, i));
  const rows = new Rows(10);
  rows.apply(subscribed(snapshot));
  assert.equal(rows.size, 10);
  assert.equal(rows.cut, 20);
  assert.equal(Math.min(...rows.values().map((r) => r.window_start)), 200);
});

test("a stream's filter starts its log anew", () => {
  const key = ["_topic", "_partition", "_offset"];
  const record = (offset) => ({ _topic: "t", _partition: 0, _offset: offset });
  const rows = new Rows();
  rows.apply({ as: 1, subscribed: "s", key, recovered: false, snapshot: [record(1)], at: "p" });
  assert.ok(rows.isLog);
  rows.apply({ as: 1, filtered: true, rows: [], at: "p" });
  rows.apply({ as: 1, rows: [record(2)], dropped: 3, at: "q" });
  assert.deepEqual(rows.values(), [record(2)]);
  assert.equal(rows.dropped, 3);
});

// From rows to what the chart draws. In: rows, key columns, one numeric column. Out: the last windows × the top keys.
//
// Must stay true: windows are in time order and evenly spaced where their starts are; what is not among the top keys is in
// `rest`, never lost. Pure. Not here: pixels and colours (chart.js).

/** Keys drawn on their own; as many as there are colours. */
export const KEYS_MAX = 7;

/** Returns `{windows: [{start, end, final, values: Map, rest, restCount}], keys: [{id, label, row}], lengthMs}`. */
export function series(rows, keys, metric, windowsMax) {
  const starts = lastStarts(rows, windowsMax);
  const windows = new Map(starts.map((start) => [start, empty(start)]));
  const totals = new Map();
  let lengthMs = 0;
  for (const row of rows) {
    const window = windows.get(row.window_start);
    if (!window) continue;
    lengthMs ||= row.window_end - row.window_start;
    window.end = row.window_end;
    window.final &&= row.final === true;
    const value = row[metric];
    if (typeof value !== "number") continue;
    const id = keyOf(row, keys);
    window.values.set(id, value);
    const total = totals.get(id) ?? { id, label: labelOf(row, keys), row, sum: 0 };
    total.sum += Math.abs(value);
    totals.set(id, total);
  }
  const ranked = [...totals.values()].sort((a, b) => b.sum - a.sum || (a.id < b.id ? -1 : 1));
  const top = new Set(ranked.slice(0, KEYS_MAX).map((total) => total.id));
  for (const window of windows.values()) gatherRest(window, top);
  return { windows: [...windows.values()], keys: ranked.slice(0, KEYS_MAX), lengthMs };
}

/** The top rows of a table without windows: `[{label, value, row}]`, largest first. */
export function ranking(rows, keys, metric, max) {
  const numbers = rows.filter((row) => typeof row[metric] === "number");
  numbers.sort((a, b) => b[metric] - a[metric]);
  return numbers.slice(0, max).map((row) => ({ label: labelOf(row, keys), value: row[metric], row }));
}

const keyOf = (row, keys) => JSON.stringify(keys.map((name) => row[name] ?? null));

const labelOf = (row, keys) => keys.map((name) => row[name] ?? "–").join(" · ") || "all";

const empty = (start) => ({ start, end: start, final: true, values: new Map(), rest: 0, restCount: 0 });

function gatherRest(window, top) {
  for (const [id, value] of window.values) {
    if (top.has(id)) continue;
    window.rest += value;
    window.restCount += 1;
    window.values.delete(id);
  }
}

/** The starts of the last windows; gaps are filled when all starts lie on one grid. */
function lastStarts(rows, max) {
  const known = [...new Set(rows.map((row) => row.window_start).filter(Number.isFinite))].sort((a, b) => a - b);
  if (known.length < 2) return known;
  const recent = known.slice(-max);
  const gaps = recent.slice(1).map((start, i) => start - recent[i]);
  const step = Math.min(...gaps);
  if (gaps.some((gap) => gap % step !== 0)) return recent;
  const last = recent.at(-1);
  const count = Math.min(max, (last - recent[0]) / step + 1);
  return Array.from({ length: count }, (_, i) => last - (count - 1 - i) * step);
}

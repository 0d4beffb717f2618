// What a channel's columns are for. In: a channel of /api/channels, or its rows. Out: names by role. Pure.

const WINDOW = ["window_start", "window_end", "final", "seq"];

/** Names that say that adding the values of several keys makes no sense. */
const NOT_ADDITIVE = /(^|_)(avg|mean|median|min|max|first|last|stddev|percent|pct|ratio|p\d+|longest|shortest|largest|smallest|delay|price|temp)/;

/** Names whose large numbers are moments: milliseconds since the epoch. */
const TIMES = /(^|_)(at|at_ms|ts|time|timestamp|watermark|window_start|window_end)$/;
const TIME_MIN_MS = 1e11; // 1973; what is smaller is a duration

/** Which columns a channel shows: `keys` (without the window), `values`, `windowed`, `numeric`, `times`. */
export function roles(channel, rows, key) {
  const names = channel.columns?.map((column) => column.name) ?? [];
  for (const row of rows.slice(0, 20)) {
    for (const name of Object.keys(row)) if (!names.includes(name)) names.push(name);
  }
  const windowed = key.includes("window_start") || names.includes("window_start");
  const keys = key.filter((name) => name !== "window_start");
  const hidden = windowed ? WINDOW : ["seq", "final"];
  const open = names.filter((name) => !keys.includes(name) && !hidden.includes(name));
  const values = channel.name === "_stats" ? worthSeeing(open, rows) : open;
  const types = new Map(channel.columns?.map(({ name, type }) => [name, type]));
  const times = values.filter((name) => isTime(types.get(name), rows, name));
  const numeric = values.filter((name) => !times.includes(name) && isNumeric(types.get(name), rows, name));
  return { keys, values, windowed, numeric, times };
}

/** What of `_stats` comes first. */
const FIRST = ["records_per_s", "records", "lag", "watermark", "open_windows", "keys", "late", "bad", "connections", "subscriptions", "dropped"];

/** The server's many counters, without the rates but one, and without those that are nothing everywhere. */
function worthSeeing(names, rows) {
  const some = names.filter((name) => rows.some((row) => ![undefined, null, 0].includes(row[name]) && name !== "at_ms"));
  const rest = some.filter((name) => !name.endsWith("_per_s") && !FIRST.includes(name));
  return [...FIRST.filter((name) => some.includes(name)), ...rest];
}

const sample = (rows, name) => rows.find((row) => row[name] !== null && row[name] !== undefined);

function isTime(type, rows, name) {
  const seen = sample(rows, name);
  if (!seen || typeof seen[name] !== "number") return false;
  // `window_start AS hour` is as much a moment as `window_start`.
  return type === "timestamp" || seen[name] === seen.window_start || (TIMES.test(name) && seen[name] > TIME_MIN_MS);
}

function isNumeric(type, rows, name) {
  if (name.startsWith("_")) return false;
  const seen = sample(rows, name);
  return seen ? typeof seen[name] === "number" : ["number", "bigint", "double", "decimal"].includes(type);
}

/** Whether values of several keys may be stacked. */
export const additive = (name) => !NOT_ADDITIVE.test(name);

/** The SQL that picks exactly this row's group: what a click on a key puts into the filter. */
export function condition(keys, row) {
  return keys.map((name) => `${identifier(name)} ${comparison(row[name])}`).join(" AND ");
}

function comparison(value) {
  if (value === null || value === undefined) return "IS NULL";
  if (typeof value === "number" || typeof value === "boolean") return `= ${value}`;
  return `= '${String(value).replaceAll("'", "''")}'`;
}

const identifier = (name) => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`);

// Numbers and times as people read them. In: values of rows. Out: short texts. Pure; the reader's own language and zone.

const exact = new Intl.NumberFormat(undefined, { maximumFractionDigits: 3 });
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const clocks = {
  date: new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" }),
  day: new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" }),
  minute: new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
  second: new Intl.DateTimeFormat(undefined, {
    hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
  }),
};

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

/** A number with all digits that matter: 1,234.5. */
export const full = (n) => exact.format(n);

/** A number for a small place: 0.25, 9.53, 267, 12.3K. */
export function compact(n) {
  if (Math.abs(n) >= 1000) return short.format(n);
  if (Math.abs(n) >= 100) return exact.format(Math.round(n));
  return exact.format(Number(n.toPrecision(3)));
}

/** A cell: null is a dash, numbers are grouped, nested values are JSON. */
export function cell(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return full(value);
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}

/** The start of a window, only as fine as its length asks; the day is named when it is not today. */
export function moment(ms, lengthMs, nowMs) {
  if (!Number.isFinite(ms) || Math.abs(ms) > 8.64e15) return String(ms);
  const date = new Date(ms);
  if (lengthMs >= DAY_MS) return clocks.date.format(date);
  const fine = lengthMs > 0 && lengthMs % MINUTE_MS === 0 ? clocks.minute : clocks.second;
  const today = Math.abs(nowMs - ms) < DAY_MS && new Date(nowMs).getDate() === date.getDate();
  return today ? fine.format(date) : `${far(date, nowMs)} ${fine.format(date)}`;
}

function far(date, nowMs) {
  return (new Date(nowMs).getFullYear() === date.getFullYear() ? clocks.day : clocks.date).format(date);
}

/** A length of time in its largest whole unit: 10 s, 5 min, 1 h, 1 d. */
export function span(ms) {
  for (const [unit, size] of [["d", DAY_MS], ["h", 3_600_000], ["min", MINUTE_MS], ["s", 1000]]) {
    if (ms >= size && ms % size === 0) return `${ms / size} ${unit}`;
  }
  return `${ms} ms`;
}

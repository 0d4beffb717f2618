// The live table. In: columns, ordered rows. Out: at most 200 table rows, moved rather than made anew; cells that change glow.
//
// Must stay true: work per frame is bounded by the rows shown, not by the rows held. Not here: which rows there are (rows.js).

import { make, say, set } from "./dom.js";
import { cell, moment } from "./format.js";

/** Rows in the page at one time. */
export const SHOWN_MAX = 200;

const GLOW_MS = 900;
const REST_MS = 2200; // a cell that changes all the time breathes; it does not burn
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Table {
  #head;
  #body;
  #lines = new Map();
  #columns = [];
  #shape = "";
  #sort = null;
  #onSort;
  #quiet = true;

  constructor(table, { onSort }) {
    this.#head = table.tHead;
    this.#body = table.tBodies[0];
    this.#onSort = onSort;
  }

  /** Sets columns by role (columns.js); the same roles again cost nothing. */
  shape({ keys, values, windowed, numeric, times }, metric) {
    const shape = JSON.stringify([keys, values, windowed, numeric, times]);
    this.#columns.forEach((column) => (column.bar = column.name === metric));
    if (shape === this.#shape) return;
    this.#shape = shape;
    this.#columns = [
      ...(windowed ? [{ name: "window_start", label: "window", kind: "window" }] : []),
      ...keys.map((name) => ({ name, label: name, kind: name.startsWith("_") ? "meta" : "key" })),
      ...values.map((name) => ({ name, label: name, kind: kindOf(name, numeric, times), bar: name === metric })),
      ...(windowed ? [{ name: "final", label: "state", kind: "state" }] : []),
    ];
    if (!this.#columns.some((column) => column.name === this.#sort?.name)) this.#sort = null;
    this.reset();
    this.#drawHead();
  }

  /** Forgets all lines, so that the next rows come without glowing. */
  reset() {
    this.#lines.clear();
    this.#body.replaceChildren();
    this.#quiet = true;
  }

  /** Shows `[id, row]`s of a `Rows`; returns how many there are beyond those shown. */
  render(entries, { isLog, metric, nowMs }) {
    const ordered = this.#order(entries, isLog, metric);
    const shown = ordered.slice(0, SHOWN_MAX);
    const most = Math.max(...shown.map(([, row]) => (typeof row[metric] === "number" ? row[metric] : 0)), 0);
    const stay = new Set(shown.map(([id]) => id));
    for (const [id, line] of this.#lines) {
      if (stay.has(id)) continue;
      line.tr.remove();
      this.#lines.delete(id);
    }
    shown.forEach(([id, row], i) => {
      const line = this.#lines.get(id) ?? this.#line(id);
      this.#fill(line, row, most, nowMs);
      if (this.#body.children[i] !== line.tr) this.#body.insertBefore(line.tr, this.#body.children[i] ?? null);
    });
    this.#quiet = false;
    return ordered.length - shown.length;
  }

  #order(entries, isLog, metric) {
    if (isLog && !this.#sort) return entries.reverse();
    const { name, down } = this.#sort ?? { name: "window_start", down: true };
    const then = name === metric ? "window_start" : metric;
    return entries.sort(([idA, a], [idB, b]) => {
      const first = compare(a[name], b[name]) * (down ? -1 : 1);
      return first || -compare(a[then], b[then]) || (idA < idB ? -1 : 1);
    });
  }

  #line(id) {
    const cells = this.#columns.map(({ kind }) => make("td", { class: kind }));
    const line = { tr: make("tr", {}, ...cells), cells, glowed: cells.map(() => 0), fresh: true };
    this.#lines.set(id, line);
    return line;
  }

  #fill(line, row, most, nowMs) {
    this.#columns.forEach((column, i) => {
      const td = line.cells[i];
      const text = write(column, row, nowMs);
      if (td.textContent !== text) {
        td.textContent = text;
        if (!line.fresh && !["window", "time"].includes(column.kind) && nowMs - line.glowed[i] > REST_MS) {
          line.glowed[i] = nowMs;
          glow(td);
        }
      }
      if (column.kind === "state") td.classList.toggle("is-final", row.final === true);
      if (column.kind === "number") {
        const share = column.bar && most > 0 && row[column.name] > 0 ? row[column.name] / most : 0;
        td.style.setProperty("--share", share.toFixed(3));
      }
    });
    line.tr.classList.toggle("open", row.final === false);
    if (line.fresh && !this.#quiet) glow(line.tr, 600);
    line.fresh = false;
  }

  #drawHead() {
    const cells = this.#columns.map((column) => {
      const button = make("button", { type: "button" }, column.label);
      button.addEventListener("click", () => this.#sortBy(column));
      return make("th", { class: column.kind, scope: "col" }, button);
    });
    this.#head.replaceChildren(make("tr", {}, ...cells));
    this.#markSort();
  }

  /** First click: the usual way for the column; second: the other way; third: as it was. */
  #sortBy({ name, kind }) {
    const usual = ["number", "window", "time"].includes(kind);
    if (this.#sort?.name !== name) this.#sort = { name, down: usual };
    else if (this.#sort.down === usual) this.#sort = { name, down: !usual };
    else this.#sort = null;
    this.#markSort();
    this.#onSort();
  }

  #markSort() {
    this.#columns.forEach((column, i) => {
      const sorted = this.#sort?.name === column.name;
      const way = this.#sort?.down ? "descending" : "ascending";
      set(this.#head.rows[0].cells[i], { "aria-sort": sorted ? way : null });
    });
  }
}

function kindOf(name, numeric, times) {
  if (times.includes(name)) return "time";
  return numeric.includes(name) ? "number" : "text";
}

function write({ name, kind }, row, nowMs) {
  if (kind === "time" && typeof row[name] === "number") return moment(row[name], 0, nowMs);
  if (kind === "window") return moment(row.window_start, row.window_end - row.window_start, nowMs);
  if (kind === "state") return row.final ? "final" : "open";
  return name.startsWith("_") && typeof row[name] === "number" ? String(row[name]) : cell(row[name]);
}

/** NULL first, then numbers, then texts. */
function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return b === null || b === undefined ? 0 : -1;
  if (b === null || b === undefined) return 1;
  if (typeof a === typeof b) return a < b ? -1 : 1;
  return typeof a === "number" ? -1 : 1;
}

function glow(element, ms = GLOW_MS) {
  if (calm.matches) return;
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--flash");
  element.animate([{ backgroundColor: colour }, { backgroundColor: "transparent" }], { duration: ms, easing: "ease-out" });
}

/** Says how many rows are not shown. */
export function sayMore(element, beyond, rows) {
  const parts = [];
  if (beyond > 0) parts.push(`${cell(beyond)} more rows match; the filter narrows them down.`);
  if (rows.cut > 0) parts.push(`${cell(rows.cut)} older rows are no longer kept in this page.`);
  if (rows.dropped > 0) parts.push(`${cell(rows.dropped)} rows were dropped because this page was slow.`);
  say(element, parts.join(" "));
}

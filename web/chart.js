// The chart. In: a series (series.js) and how to draw it. Out: a canvas, a legend, a tip under the pointer or the arrow keys.
//
// Must stay true: a key keeps its colour while it is on the chart; an open window is drawn lighter than a final one; one drawing
// costs windows × keys. Not here: which numbers (series.js).

import { make, say } from "./dom.js";
import { cell, compact, moment, span } from "./format.js";
import { KEYS_MAX } from "./series.js";
import { drawBars, drawLines, drawRanking, grid } from "./marks.js";

const SLOTS_MIN = 12; // a young chart grows from its right edge
const RANK_PX = 30;
const EDGE = { top: 12, right: 8, bottom: 26, left: 46 };

export class Chart {
  #canvas;
  #tip;
  #legend;
  #onPick;
  #slots = new Array(KEYS_MAX).fill(null); // key id by colour
  #data = null;
  #hover = null;
  #plot = null;

  constructor(box, legend, { onPick }) {
    this.#canvas = box.querySelector("canvas");
    this.#tip = box.querySelector(".tip");
    this.#legend = legend;
    this.#onPick = onPick;
    new ResizeObserver(() => this.#draw()).observe(box);
    this.#canvas.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.#canvas.addEventListener("pointerleave", () => this.#point(null));
    this.#canvas.addEventListener("blur", () => this.#point(null));
    this.#canvas.addEventListener("keydown", (event) => this.#step(event));
  }

  /** Draws `{series | ranking, metric, lines}`. */
  show(data) {
    this.#data = data;
    if (data.series) this.#settle(data.series.keys);
    this.#drawLegend();
    this.#draw();
  }

  /** Draws again, for another size or other colours. */
  redraw() {
    this.#drawLegend();
    this.#draw();
  }

  /** Keeps the colour of every key that stays; new keys take the free ones. */
  #settle(keys) {
    const ids = keys.map((key) => key.id);
    this.#slots = this.#slots.map((id) => (ids.includes(id) ? id : null));
    for (const id of ids) if (!this.#slots.includes(id)) this.#slots[this.#slots.indexOf(null)] = id;
  }

  #draw() {
    const ranks = this.#data?.ranking;
    this.#canvas.style.height = ranks ? `${Math.max(1, ranks.length) * RANK_PX}px` : "";
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!this.#data || width === 0) return;
    const scale = devicePixelRatio || 1;
    if (this.#canvas.width !== Math.round(width * scale)) this.#canvas.width = Math.round(width * scale);
    if (this.#canvas.height !== Math.round(height * scale)) this.#canvas.height = Math.round(height * scale);
    const context = this.#canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = `11px ${this.#style("--font")}`;
    if (this.#data.ranking) this.#drawRanks(context, width, height);
    else this.#drawSeries(context, width, height);
  }

  #drawSeries(context, width, height) {
    const { series, lines } = this.#data;
    const { windows, keys } = series;
    const colours = new Map(keys.map((key) => [key.id, this.#colour(key.id)]));
    const tops = windows.map((w) => (lines ? Math.max(...w.values.values(), 0) : sum([...w.values.values(), w.rest])));
    const lows = lines ? windows.flatMap((w) => [...w.values.values()]) : [];
    const box = { x: EDGE.left, y: EDGE.top, width: width - EDGE.left - EDGE.right, height: height - EDGE.top - EDGE.bottom };
    const ink = { line: this.#style("--line"), soft: this.#style("--soft"), card: this.#style("--card") };
    const y = grid(context, box, Math.min(0, ...lows), Math.max(...tops, 0), ink, compact);
    const step = box.width / Math.max(windows.length, SLOTS_MIN);
    const x = box.x + box.width - step * windows.length;
    this.#plot = { x, step, count: windows.length };
    this.#times(context, box, ink);
    if (this.#hover !== null && windows[this.#hover]) {
      context.fillStyle = this.#style("--sunken");
      context.fillRect(x + this.#hover * step, box.y, step, box.height);
    }
    const rest = this.#style("--series-rest");
    // Bars stand in the order of colours, so that they don't change places when ranks do.
    const order = this.#slots.filter((id) => id !== null && colours.has(id));
    (lines ? drawLines : drawBars)(context, { windows, order, colours, rest, x, step, y, ink });
    this.#describe(windows, keys);
  }

  #times(context, box, ink) {
    const { windows, lengthMs } = this.#data.series;
    const { x: left, step } = this.#plot;
    const every = Math.max(1, Math.ceil(84 / step));
    context.fillStyle = ink.soft;
    context.textAlign = "center";
    context.textBaseline = "top";
    const now = Date.now();
    for (let i = windows.length - 1; i >= 0; i -= every) {
      const text = moment(windows[i].start, lengthMs, now);
      const half = context.measureText(text).width / 2;
      const x = Math.min(left + (i + 0.5) * step, box.x + box.width - half);
      if (x - half >= 0) context.fillText(text, x, box.y + box.height + 9);
    }
  }

  #drawRanks(context, width, height) {
    this.#plot = null;
    const colours = { bar: this.#style("--series-1"), ink: this.#style("--ink"), soft: this.#style("--soft") };
    drawRanking(context, this.#data.ranking, width, height, colours, compact);
    const first = this.#data.ranking[0];
    this.#canvas.setAttribute("aria-label", first ? `Largest ${this.#data.metric}: ${first.label}, ${cell(first.value)}` : "No rows");
  }

  #drawLegend() {
    const keys = this.#data?.series?.keys ?? [];
    const rest = this.#data?.series && !this.#data.lines ? Math.max(0, ...this.#data.series.windows.map((w) => w.restCount)) : 0;
    const shape = JSON.stringify([keys.map((key) => [key.id, this.#slots.indexOf(key.id)]), rest > 0]);
    if (this.#legend.dataset.shape === shape) return;
    this.#legend.dataset.shape = shape;
    const items = keys.map((key) => {
      const swatch = make("span", { class: "swatch" });
      swatch.style.background = `var(--series-${this.#slots.indexOf(key.id) + 1})`;
      const button = make("button", { type: "button" }, swatch, key.label);
      button.addEventListener("click", () => this.#onPick(key.row));
      return make("li", {}, button);
    });
    if (rest > 0) {
      const swatch = make("span", { class: "swatch" });
      swatch.style.background = "var(--series-rest)";
      items.push(make("li", { class: "rest" }, swatch, "all others"));
    }
    this.#legend.replaceChildren(...items);
  }

  #point(x) {
    const plot = this.#plot;
    const inside = x !== null && plot && x >= plot.x && x < plot.x + plot.step * plot.count;
    this.#select(inside ? Math.floor((x - plot.x) / plot.step) : null);
  }

  #step(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move || !this.#plot) return;
    event.preventDefault();
    const last = this.#plot.count - 1;
    this.#select(Math.min(last, Math.max(0, (this.#hover ?? (move < 0 ? last + 1 : -1)) + move)));
  }

  #select(i) {
    if (i === this.#hover) return;
    this.#hover = i;
    this.#draw();
    if (i === null) this.#tip.hidden = true;
  }

  /** Tip and accessible text follow the numbers, also while the pointer rests. */
  #describe(windows, keys) {
    const newest = windows.at(-1);
    const about = newest ? `${windows.length} windows, ${keys.length} keys of ${this.#data.metric}` : "No windows yet";
    if (this.#canvas.getAttribute("aria-label") !== about) this.#canvas.setAttribute("aria-label", about);
    const shown = this.#hover === null ? null : windows[this.#hover];
    this.#tip.hidden = !shown;
    if (!shown) return;
    const { lengthMs } = this.#data.series;
    const lines = keys.filter((key) => shown.values.has(key.id)).sort((a, b) => shown.values.get(b.id) - shown.values.get(a.id));
    const items = lines.map((key) => this.#tipLine(this.#slots.indexOf(key.id) + 1, key.label, shown.values.get(key.id)));
    if (shown.restCount > 0 && !this.#data.lines) items.push(this.#tipLine("rest", `${shown.restCount} others`, shown.rest));
    const title = `${moment(shown.start, lengthMs, Date.now())} · ${span(lengthMs)} · ${shown.final ? "final" : "open"}`;
    this.#tip.replaceChildren(make("strong", {}, title), ...items);
    const x = this.#plot.x + (this.#hover + 0.5) * this.#plot.step;
    const width = this.#canvas.clientWidth;
    const space = this.#tip.offsetWidth + 14;
    this.#tip.style.left = `${x + space < width ? x + 14 : Math.max(0, x - space)}px`;
  }

  #tipLine(colour, label, value) {
    const swatch = make("span", { class: "swatch" });
    swatch.style.background = `var(--series-${colour})`;
    const line = make("div", {}, swatch, make("span", { class: "tip-key" }), make("b", {}, cell(value)));
    say(line.children[1], label);
    return line;
  }

  #colour(id) {
    return this.#style(`--series-${this.#slots.indexOf(id) + 1}`);
  }

  #style(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

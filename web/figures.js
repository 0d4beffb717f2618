// The strip of figures. In: figures (stats.js), once a second. Out: cards; the rate and the lag carry a line of the last minute.

import { draw, make, say, set } from "./dom.js";
import { compact, full } from "./format.js";
import { History } from "./stats.js";

const LINED = ["rate", "lag"];
const WIDTH = 120;
const HEIGHT = 28;

export class Figures {
  #root;
  #cards = new Map();

  constructor(root) {
    this.#root = root;
  }

  /** Shows the newest figures and moves the lines on by one. */
  show(figures) {
    for (const figure of figures) {
      const card = this.#cards.get(figure.id) ?? this.#card(figure);
      const { value } = figure;
      say(card.value, value === null ? "–" : compact(value));
      set(card.box, { title: value === null ? figure.about : `${figure.about}: ${full(value)}` });
      card.box.classList.toggle("alarm", Boolean(figure.alarming && value > 0));
      if (!card.line || value === null) continue;
      card.history.push(value);
      set(card.line, { d: path(card.history.values) });
      set(card.area, { d: `${path(card.history.values)} L ${WIDTH} ${HEIGHT} L ${startOf(card.history.values)} ${HEIGHT} Z` });
    }
  }

  #card({ id, label }) {
    const value = make("span", { class: "figure-value" });
    const box = make("div", { class: "figure" }, make("span", { class: "figure-label" }, label), value);
    const card = { box, value };
    if (LINED.includes(id)) {
      card.history = new History();
      card.line = draw("path", { class: "spark-line" });
      card.area = draw("path", { class: "spark-area" });
      const view = { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" };
      box.append(draw("svg", view, card.area, card.line));
    }
    this.#root.append(box);
    this.#cards.set(id, card);
    return card;
  }
}

const POINTS_MIN = 15; // the line grows from the right edge, then is as wide as its place

const step = (values) => WIDTH / (Math.max(values.length, POINTS_MIN) - 1);
const startOf = (values) => WIDTH - (values.length - 1) * step(values);

function path(values) {
  const top = Math.max(...values) || 1;
  const start = startOf(values);
  const points = values.map((v, i) => `${(start + i * step(values)).toFixed(1)} ${(HEIGHT - 2 - (v / top) * (HEIGHT - 6)).toFixed(1)}`);
  return `M ${points.join(" L ")}`;
}

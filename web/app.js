// The dashboard, wired. In: the public protocol (`api/channels`, `ws`, the channel `_stats`). Out: one page.
//
// Read on in the order of the data: protocol.js (frames) → rows.js (what the server holds) → columns.js, series.js (roles, numbers)
// → table.js, chart.js (what is seen). Must stay true: drawing happens at most once in DRAW_MS and never per frame of the server.

import * as address from "./address.js";
import { Chart } from "./chart.js";
import { drawChannels, fetchChannels } from "./channels.js";
import { additive, condition, roles } from "./columns.js";
import { by, make, say, set } from "./dom.js";
import { Figures } from "./figures.js";
import { FilterBox } from "./filter.js";
import { cell, span } from "./format.js";
import { Line } from "./line.js";
import { Link } from "./protocol.js";
import { Rows } from "./rows.js";
import { ranking, series } from "./series.js";
import { figures, stopped } from "./stats.js";
import { Table, sayMore } from "./table.js";

const DRAW_MS = 120;
const DRAW_SHARE = 6; // drawing takes at most a sixth of the time, however many rows there are
const FIGURES_MS = 1000;
const RANKS_MAX = 8;
const WINDOW_PX = 22; // the least width of a window in the chart
const WINDOWS_MIN = 12;
const WINDOWS_MAX = 48;

const page = {
  channels: [],
  channel: null, // as /api/channels names it
  rows: new Rows(),
  subscription: null,
  choice: new Map(), // by channel: {metric, lines}
  stats: new Rows(),
  drawing: false,
  drawNextMs: 0,
  answered: false,
};

const line = new Line({ onRetry: () => (link.connect(), load()) });
const link = new Link(socketAddress(), {
  onState: (state) => (line.show(state), state.state === "live" && load()),
  onError: (error) => line.trouble(`The server says: ${error.message}`),
});
const figureStrip = new Figures(by("figures"));
const table = new Table(by("rows"), { onSort: draw });
const chart = new Chart(by("chart"), by("legend"), { onPick: pick });
const filter = new FilterBox({ onFilter: refilter });

start();

function start() {
  by("theme").addEventListener("click", switchTheme);
  new MutationObserver(() => chart.redraw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  by("metric").addEventListener("change", (event) => choose({ metric: event.target.value, lines: undefined }));
  by("as-bars").addEventListener("click", () => choose({ lines: false }));
  by("as-lines").addEventListener("click", () => choose({ lines: true }));
  addEventListener("hashchange", open);
  addEventListener("online", () => link.connect());
  link.subscribe("_stats", { onFrame: (frame) => page.stats.apply(frame) });
  figureStrip.show(figures([]));
  setInterval(() => {
    if (!line.live) return;
    const rows = page.stats.values();
    figureStrip.show(figures(rows));
    line.stopped(stopped(rows));
  }, FIGURES_MS);
  link.connect();
}

/** Fetches the channels, at each new line: the server may be another one by now. */
async function load() {
  try {
    page.channels = await fetchChannels();
  } catch (error) {
    line.trouble(`The channels could not be read: ${error.message}`);
    return;
  }
  line.trouble(null);
  open();
}

/** Shows the channel that the address names, or the first. */
function open() {
  const asked = address.read();
  const channel = page.channels.find(({ name }) => name === asked.channel) ?? page.channels[0];
  drawChannels(by("channels"), page.channels, channel?.name);
  if (!channel) {
    say(by("channel-name"), "No channels yet");
    return sayEmpty("Add a stream and a view to windrow.toml; every view is a channel.");
  }
  if (channel.name === page.channel?.name && page.subscription) return;
  page.channel = channel;
  page.rows = new Rows();
  page.answered = false;
  page.subscription?.close();
  const where = channel.name === asked.channel ? asked.where : "";
  page.subscription = link.subscribe(channel.name, { where, onFrame: take });
  document.title = `${channel.name} · Windrow`;
  say(by("channel-name"), channel.name);
  say(by("channel-about"), channel.kind);
  filter.set(where, "");
  table.reset();
  draw();
}

function take(frame) {
  if (frame.error) {
    page.answered = true;
    filter.fail(frame.error);
    return draw();
  }
  if (frame.subscribed !== undefined || frame.filtered) {
    filter.fine();
    table.reset();
    page.answered = true;
  }
  if (frame.reset) table.reset();
  if (page.rows.apply(frame) || frame.subscribed !== undefined) draw();
}

function refilter(where) {
  address.write({ channel: page.channel?.name ?? "", where });
  filter.fine();
  page.subscription?.filter(where);
}

/** A click on a key of the legend. */
function pick(row) {
  const where = condition(lookAt([row]).keys, row);
  filter.set(where);
  refilter(where);
}

function choose(change) {
  const name = page.channel?.name;
  page.choice.set(name, { ...page.choice.get(name), ...change });
  draw();
}

/** Asks for a drawing soon; many asks are one drawing. */
function draw() {
  if (page.drawing) return;
  page.drawing = true;
  const wait = Math.max(0, page.drawNextMs - performance.now());
  setTimeout(() => requestAnimationFrame(drawNow), wait);
}

function drawNow() {
  page.drawing = false;
  const beganMs = performance.now();
  const rows = page.rows.values();
  const look = lookAt(rows);
  table.shape(look, look.metric);
  const options = { isLog: page.rows.isLog, metric: look.metric, nowMs: Date.now() };
  const beyond = table.render(page.rows.entries(), options);
  sayMore(by("more"), beyond, page.rows);
  sayAbout(look, rows[0]);
  filter.hint(example(look, rows[0]));
  const waiting = page.answered ? "No rows match yet. New ones appear here by themselves." : "Waiting for the first rows …";
  sayEmpty(page.rows.size === 0 ? waiting : null);
  drawChart(look, rows);
  const doneMs = performance.now();
  page.drawNextMs = doneMs + Math.max(DRAW_MS, (doneMs - beganMs) * DRAW_SHARE);
}

/** The roles of the channel's columns, and what the reader chose to see of them. */
function lookAt(rows) {
  const found = roles(page.channel ?? {}, rows, page.rows.key);
  const chosen = page.choice.get(page.channel?.name) ?? {};
  const plain = page.rows.isLog || page.channel?.name.startsWith("_");
  const metric = plain ? null : found.numeric.includes(chosen.metric) ? chosen.metric : (found.numeric[0] ?? null);
  return { ...found, metric, lines: chosen.lines ?? (metric !== null && !additive(metric)) };
}

function drawChart({ keys, windowed, numeric, metric, lines }, rows) {
  by("chart-card").hidden = metric === null || rows.length === 0;
  if (by("chart-card").hidden) return;
  say(by("chart-title"), windowed ? "Windows over time" : `Largest ${metric}`);
  by("chart-card").classList.toggle("ranks", !windowed);
  drawMetrics(numeric, metric);
  set(by("as-bars"), { "aria-pressed": String(!lines) });
  set(by("as-lines"), { "aria-pressed": String(lines) });
  if (!windowed) return chart.show({ ranking: ranking(rows, keys, metric, RANKS_MAX), metric });
  const fits = Math.floor(by("chart").clientWidth / WINDOW_PX);
  const max = Math.min(WINDOWS_MAX, Math.max(WINDOWS_MIN, fits));
  chart.show({ series: series(rows, keys, metric, max), metric, lines });
}

function drawMetrics(numeric, metric) {
  const select = by("metric");
  const shape = numeric.join("\n");
  if (select.dataset.shape !== shape) {
    select.dataset.shape = shape;
    select.replaceChildren(...numeric.map((name) => make("option", { value: name }, name)));
  }
  if (select.value !== metric) select.value = metric;
}

function sayAbout({ keys, windowed }, first) {
  const lengthMs = windowed && first ? first.window_end - first.window_start : 0;
  const per = [...keys, ...(windowed ? [lengthMs ? `${span(lengthMs)} window` : "window"] : [])].join(" and ");
  const what = page.rows.isLog ? "the newest records" : per ? `one row per ${per}` : "";
  const count = page.rows.size > 0 ? `${cell(page.rows.size)} ${page.rows.size === 1 ? "row" : "rows"}` : "";
  say(by("channel-about"), [page.channel?.kind, what, count].filter(Boolean).join(" · "));
}

function sayEmpty(text) {
  by("empty").hidden = text === null;
  if (text !== null) say(by("empty"), text);
}

/** A condition that fits this channel, for the empty box. */
function example({ keys, numeric }, row) {
  if (page.channel?.name === "_stats") return "kind = 'view'";
  if (row && keys.length > 0 && !keys[0].startsWith("_")) return condition(keys.slice(0, 1), row);
  return numeric.length > 0 ? `${numeric[0]} > 10` : "a condition in SQL";
}

function switchTheme() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("windrow-theme", theme);
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
}

function socketAddress() {
  const url = new URL("ws", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.hash = url.search = "";
  return url.href;
}

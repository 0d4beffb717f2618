// The state of the line to the server. In: states of protocol.js, troubles of the page. Out: the pill and the notice.

import { by, say } from "./dom.js";

const QUIET_MS = 1500; // a short break is not worth a notice

export class Line {
  live = false;
  #pill = by("link");
  #state = { state: "connecting" };
  #trouble = null;
  #stopped = null;
  #sinceMs = Date.now();
  #tick = null;

  constructor({ onRetry }) {
    by("retry").addEventListener("click", onRetry);
  }

  /** Shows a state of the line. */
  show(state) {
    const wasLive = this.live;
    this.live = state.state === "live";
    if (wasLive && !this.live) this.#sinceMs = Date.now();
    this.#state = state;
    this.#draw();
  }

  /** Shows a trouble beside the line's own, or takes it away with `null`. */
  trouble(text) {
    this.#trouble = text;
    this.#draw();
  }

  /** Shows which views stopped, or takes it away with `null`: the rest of the page lives on. */
  stopped(text) {
    if (text === this.#stopped) return;
    this.#stopped = text;
    this.#draw();
  }

  #draw() {
    const { state } = this.#state;
    const text = { live: "live", connecting: "connecting", waiting: "reconnecting", closed: "closed" }[state];
    say(this.#pill, text);
    this.#pill.dataset.state = state;
    document.body.classList.toggle("stale", !this.live);
    const notice = this.#notice();
    by("notice").hidden = notice === null;
    if (notice !== null) say(by("notice-text"), notice);
    clearTimeout(this.#tick);
    if (!this.live && state !== "closed") this.#tick = setTimeout(() => this.#draw(), 500);
  }

  #notice() {
    const { state, untilMs, reason } = this.#state;
    if (state === "closed") return `The server refused the connection: ${reason}.`;
    if (this.live) return this.#trouble ?? this.#stopped;
    if (Date.now() - this.#sinceMs < QUIET_MS) return null;
    const seconds = Math.max(1, Math.ceil((untilMs - Date.now()) / 1000));
    const next = state === "waiting" ? `Next try in ${seconds} s.` : "Trying …";
    return `No connection to the server, so what you see may be old. ${next}`;
  }
}

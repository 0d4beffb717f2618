// The WebSocket protocol, version 1. In: subscriptions and frames. Out: frames to their handlers, the state of the line.
//
// Must stay true: every subscription survives a lost line, by resuming at its last position; a line that is silent is asked,
// and given up when it does not answer; close codes from 4500 are final, all others come back with growing, spread-out waits.
// Not here: what a frame means for the rows (rows.js).

const WAIT_MIN_MS = 400;
const WAIT_MAX_MS = 15_000;
const SILENCE_MS = 25_000; // the server speaks at least every 15 s on a subscription
const ANSWER_MS = 5_000;

/** One line to the server, made anew as long as that makes sense. */
export class Link {
  #url;
  #onState;
  #onError;
  #Socket;
  #socket = null;
  #open = false;
  #subscriptions = new Map();
  #next = 1;
  #tries = 0;
  #waitMs = null; // what a `bye` asked for
  #timer = null;
  #watch = null;

  /** `onState({state: "connecting"|"live"|"waiting"|"closed", untilMs?, reason?})`; `onError` gets errors of no subscription. */
  constructor(url, { onState = () => {}, onError = () => {}, Socket = globalThis.WebSocket } = {}) {
    this.#onError = onError;
    this.#url = url;
    this.#onState = onState;
    this.#Socket = Socket;
  }

  /** Opens the line now, without waiting out a pause. */
  connect() {
    clearTimeout(this.#timer);
    if (this.#socket) return;
    this.#onState({ state: "connecting" });
    const socket = new this.#Socket(this.#url);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = (event) => this.#frame(event.data);
    socket.onclose = (event) => socket === this.#socket && this.#closed(event);
  }

  /** Subscribes; `onFrame` gets every frame of it. Returns the subscription. */
  subscribe(channel, { where = "", onFrame }) {
    const subscription = new Subscription(this.#next++, channel, where, onFrame, (message) => this.#send(message));
    subscription.drop = () => this.#subscriptions.delete(subscription.as);
    this.#subscriptions.set(subscription.as, subscription);
    if (this.#open) subscription.ask();
    return subscription;
  }

  #opened() {
    this.#open = true;
    this.#tries = 0;
    this.#waitMs = null;
    this.#onState({ state: "live" });
    for (const subscription of this.#subscriptions.values()) subscription.ask();
    this.#listen();
  }

  #frame(text) {
    this.#listen();
    const frame = JSON.parse(text);
    if (frame.bye) this.#waitMs = frame.bye.reconnect_after_ms ?? null;
    else if (frame.as !== undefined) this.#subscriptions.get(frame.as)?.take(frame);
    else if (frame.error) this.#onError(frame.error);
  }

  #closed({ code, reason }) {
    clearTimeout(this.#watch);
    this.#socket = null;
    this.#open = false;
    for (const subscription of this.#subscriptions.values()) subscription.lost();
    if (code >= 4500 && code <= 4999) {
      this.#onState({ state: "closed", reason: reason || `the server closed with code ${code}` });
      return;
    }
    const grown = Math.min(WAIT_MAX_MS, WAIT_MIN_MS * 2 ** this.#tries++);
    const waitMs = (this.#waitMs ?? grown) * (0.75 + Math.random() / 2);
    this.#waitMs = null;
    this.#onState({ state: "waiting", untilMs: Date.now() + waitMs });
    this.#timer = setTimeout(() => this.connect(), waitMs);
  }

  /** Any frame proves that the line lives; after too long without one, a ping must. */
  #listen() {
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => {
      this.#send({ ping: 1 });
      const socket = this.#socket;
      // close() alone may wait long for a dead peer's answer, so the line counts as lost at once.
      this.#watch = setTimeout(() => {
        if (socket !== this.#socket || !socket) return;
        socket.close();
        this.#closed({ code: 1006 });
      }, ANSWER_MS);
    }, SILENCE_MS);
  }

  #send(message) {
    if (this.#open) this.#socket.send(JSON.stringify(message));
  }
}

/** One channel with one filter, across lines. */
class Subscription {
  #state = "idle"; // idle: no line or refused; asked; active
  #where;
  #at = null;
  #refilter = false;
  #onFrame;
  #send;

  constructor(as, channel, where, onFrame, send) {
    this.as = as;
    this.channel = channel;
    this.#where = where;
    this.#onFrame = onFrame;
    this.#send = send;
  }

  ask() {
    this.#state = "asked";
    this.#refilter = false;
    const where = this.#where ? { where: this.#where } : {};
    this.#send({ subscribe: this.channel, as: this.as, ...where, from: this.#at ?? "snapshot" });
  }

  /** Changes the filter in place. */
  filter(where) {
    this.#where = where;
    if (this.#state === "active") this.#send({ filter: this.as, where });
    else if (this.#state === "asked") this.#refilter = true;
    else this.ask();
  }

  close() {
    this.drop();
    this.#onFrame = () => {};
    if (this.#state !== "idle") this.#send({ unsubscribe: this.as });
  }

  take(frame) {
    // Among the pieces of a snapshot the old position is no more, and the new one not yet.
    if (frame.more) this.#at = null;
    else if (frame.at !== undefined) this.#at = frame.at;
    if (frame.error && this.#state === "asked") this.#state = "idle";
    if (frame.subscribed !== undefined) {
      this.#state = "active";
      if (this.#refilter) this.filter(this.#where);
      this.#refilter = false;
    }
    this.#onFrame(frame);
  }

  lost() {
    this.#state = "idle";
  }
}

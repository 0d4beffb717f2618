// Mailboxes: what a client hears waits here, by name and in order, until a test asks for it. Every wait has a deadline.

import { until, within } from "./server.mjs";

export class Mailbox {
  #letters = [];

  put(name, args) {
    this.#letters.push({ name, args });
  }

  /** The oldest letter of this name. */
  async take(name) {
    const found = () => this.#letters.findIndex((letter) => letter.name === name);
    await until(() => found() >= 0, () => `no ${name}; there is ${this}`);
    return this.#letters.splice(found(), 1)[0].args;
  }

  /** Waits for a letter of any of these names, and takes none. */
  first(...names) {
    return until(() => this.has(...names), () => `none of ${names}; there is ${this}`);
  }

  has(...names) {
    return this.#letters.some(({ name }) => names.includes(name));
  }

  /** What `ask` is answered with, by the callback it is given. */
  answer(ask) {
    return within(new Promise(ask), () => `no answer; there is ${this}`);
  }

  toString() {
    return JSON.stringify(this.#letters).slice(0, 2000);
  }
}

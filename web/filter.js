// The filter box. In: what the reader types; the server's error. Out: the condition to apply; the error under its column.

import { by } from "./dom.js";

export class FilterBox {
  #input = by("where");
  #error = by("filter-error");
  #clear = by("clear");
  #applied = "";

  constructor({ onFilter }) {
    const apply = (text) => {
      this.#applied = text;
      this.#mark();
      onFilter(text);
    };
    by("filter").addEventListener("submit", (event) => {
      event.preventDefault();
      apply(this.#input.value.trim());
    });
    this.#clear.addEventListener("click", () => {
      this.#input.value = "";
      apply("");
      this.#input.focus();
    });
    this.#input.addEventListener("input", () => this.#mark());
    this.#input.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#input.value) return;
      this.#input.value = "";
      apply("");
    });
  }

  /** Shows what is applied, and an example that fits the channel. */
  set(where, example) {
    this.#applied = where;
    this.#input.value = where;
    if (example !== undefined) this.#input.placeholder = example;
    this.fine();
    this.#mark();
  }

  /** Shows the example for an empty box. */
  hint(example) {
    if (this.#input.placeholder !== example) this.#input.placeholder = example;
  }

  /** Shows an error `{message, column?, hint?}`, with a mark under its column. */
  fail({ message, column, hint }) {
    const where = column > 0 ? `${this.#applied}\n${" ".repeat(column - 1)}^ ` : "";
    this.#error.textContent = `${where}${message}${hint ? `\n${hint}` : ""}`;
    this.#error.hidden = false;
    this.#input.setAttribute("aria-invalid", "true");
  }

  /** Takes the error away. */
  fine() {
    this.#error.hidden = true;
    this.#input.removeAttribute("aria-invalid");
  }

  #mark() {
    this.#clear.hidden = this.#input.value === "" && this.#applied === "";
  }
}

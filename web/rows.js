// The rows of one subscription. In: frames, in order. Out: the rows that the server's table holds for this filter, bounded.
//
// Must stay true: after any frame, the rows here are what the frames say, but for the oldest past `max`, which are counted in
// `cut`. A row's `seq` never goes back. Pure: no page, no clock. Not here: order and looks (table.js, series.js).

/** Rows kept in the page; a browser holds this many in some 20 MB. */
export const ROWS_MAX = 20_000;

/** Rows kept of a stream that is a log, not a table. */
export const LOG_MAX = 1_000;

const LOG_KEY = ["_topic", "_partition", "_offset"];

export class Rows {
  key = [];
  cut = 0;
  dropped = 0;
  #rows = new Map();
  #collecting = false;
  #max;

  constructor(max = ROWS_MAX) {
    this.#max = max;
  }

  /** Applies one frame; says whether rows may have changed. */
  apply(frame) {
    if (frame.key) this.key = frame.key;
    if (frame.dropped) this.dropped += frame.dropped;
    if (frame.snapshot) {
      if (!this.#collecting) this.clear();
      this.#collecting = frame.more === true;
    }
    // A log's rows of before the filter are not told as gone: they left nothing that could go.
    if (frame.filtered && this.isLog) this.clear();
    for (const row of frame.snapshot ?? []) this.#put(row);
    for (const row of frame.rows ?? []) this.#put(row);
    for (const row of frame.gone ?? []) this.#rows.delete(this.id(row));
    if (frame.retired !== undefined) this.#retire(frame.retired);
    this.#bound();
    return Boolean(frame.snapshot || frame.rows || frame.gone || frame.retired !== undefined || frame.filtered);
  }

  /** Whether the channel is a stream without a table: rows come and are never replaced. */
  get isLog() {
    return LOG_KEY.every((name) => this.key.includes(name));
  }

  get size() {
    return this.#rows.size;
  }

  /** `[id, row]` of every row, oldest first. */
  entries() {
    return [...this.#rows.entries()];
  }

  values() {
    return [...this.#rows.values()];
  }

  /** The text that names a row among its channel's. */
  id(row) {
    return JSON.stringify(this.key.map((name) => row[name] ?? null));
  }

  clear() {
    this.#rows.clear();
    this.cut = 0;
  }

  #put(row) {
    const id = this.id(row);
    const old = this.#rows.get(id);
    if (old && old.seq > row.seq) return;
    this.#rows.set(id, row);
  }

  #retire(end) {
    for (const [id, row] of this.#rows) if (row.window_end <= end) this.#rows.delete(id);
  }

  /** Past the bound by a tenth, the oldest leave: whole sorting is then rare. */
  #bound() {
    const max = this.isLog ? Math.min(LOG_MAX, this.#max) : this.#max;
    if (this.#rows.size <= max * 1.1) return;
    const oldest = this.entries();
    if (!this.isLog) oldest.sort(([, a], [, b]) => (a.window_start ?? 0) - (b.window_start ?? 0));
    for (const [id] of oldest.slice(0, this.#rows.size - max)) this.#rows.delete(id);
    this.cut += oldest.length - max;
  }
}

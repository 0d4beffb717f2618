// What `_stats` says about the whole deployment. In: its rows. Out: the figures of the strip. Pure.
//
// One row per node, stream, view, partition and listener, each second. A figure is the sum over the coarsest kind of row that has
// it, so nothing is counted twice and a server that lacks a column only lacks the figure.

const KINDS = ["node", "listener", "stream", "view", "partition"];

/** The figures in order of the strip: `{id, label, about, value, alarming}`; `value` is null when no row has it. */
export function figures(rows) {
  const of = (...names) => names.map((name) => total(rows, name)).find((value) => value !== null) ?? null;
  return [
    { id: "rate", label: "records / s", about: "Records folded each second", value: of("records_per_s") },
    { id: "clients", label: "clients", about: "Connected clients", value: of("clients", "connections") },
    { id: "lag", label: "lag", about: "Records in the log that are not folded yet", value: of("lag") },
    { id: "late", label: "late", about: "Records that came after their window closed", value: of("late"), alarming: true },
    { id: "bad", label: "bad", about: "Records that could not be read", value: of("bad"), alarming: true },
  ];
}

/** Says which views stopped and why, in one text; null when none did. */
export function stopped(rows) {
  const views = rows.filter((row) => row.kind === "view" && row.stopped_why);
  const says = new Set(views.map((row) => `View ${row.name} has stopped: ${row.stopped_why}`));
  return says.size > 0 ? [...says].join(" · ") : null;
}

function total(rows, name) {
  for (const kind of KINDS) {
    const has = rows.filter((row) => row.kind === kind && typeof row[name] === "number");
    if (has.length > 0) return has.reduce((sum, row) => sum + row[name], 0);
  }
  return null;
}

/** The last values of a figure, for its line: a ring of `max`. */
export class History {
  values = [];

  constructor(max = 60) {
    this.max = max;
  }

  push(value) {
    this.values.push(value);
    if (this.values.length > this.max) this.values.shift();
  }
}

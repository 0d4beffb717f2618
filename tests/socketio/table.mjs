// The table of clients and features in docs/PROTOCOL.md. In: what passed. Out: Markdown, and the place it has in the page.

import { readFile, writeFile } from "node:fs/promises";

export const FORMS = ["polling", "websocket", "upgrade"];

const PAGE = new URL("../../docs/PROTOCOL.md", import.meta.url);
const HEAD = "| client |";

/** `✓` is every form; otherwise the forms that passed are named, and `–` is a thing that the client does not know. */
export function render(clients, features, passed) {
  const cell = (client, feature) => {
    if (!feature.able(client)) return "–";
    const forms = FORMS.filter((form) => passed.get(client).get(feature).includes(form));
    return forms.length === FORMS.length ? "✓" : forms.join(", ") || "no";
  };
  const line = (cells) => `| ${cells.join(" | ")} |\n`;
  const head = line(["client", "Engine.IO", ...features.map(({ name }) => name)]);
  const rows = clients.map((client) => line([`${client.name} ${client.version}`, client.protocol - 1, ...features.map((feature) => cell(client, feature))]));
  return head + line(["---", "---", ...features.map(() => ":-:")]).replaceAll(" ", "") + rows.join("");
}

/** What the page has now: the lines from the table's head to the first that is no row. */
export async function documented() {
  const [, table] = split(await readFile(PAGE, "utf8"));
  return table;
}

export async function write(table) {
  const [before, , after] = split(await readFile(PAGE, "utf8"));
  await writeFile(PAGE, before + table + after);
}

function split(page) {
  const begin = page.indexOf(`\n${HEAD}`) + 1;
  if (begin === 0) throw new Error(`docs/PROTOCOL.md has no table that begins with ${HEAD}`);
  const [table] = /^(?:\|.*\n)+/.exec(page.slice(begin));
  return [page.slice(0, begin), table, page.slice(begin + table.length)];
}

// The list of channels. In: /api/channels, the chosen one. Out: links `#name`; the browser's own history does the rest.

import { make, set } from "./dom.js";

const KINDS = { view: "view", stream: "stream" };

/** Fetches the list; an error says what the server said. */
export async function fetchChannels() {
  const answer = await fetch("api/channels", { headers: { accept: "application/json" } });
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(body?.error?.message ?? `the server answered ${answer.status}`);
  // Views first, then streams, then the server's own.
  const rank = ({ name, kind }) => (name.startsWith("_") ? 2 : kind === "view" ? 0 : 1);
  return body.map((channel, i) => ({ channel, i })).sort((a, b) => rank(a.channel) - rank(b.channel) || a.i - b.i).map(({ channel }) => channel);
}

/** Draws the list anew; it is short and changes rarely. */
export function drawChannels(list, channels, chosen) {
  const items = channels.map(({ name, kind }) => {
    const own = name.startsWith("_");
    const tag = make("span", { class: "tag" }, own ? "system" : (KINDS[kind] ?? ""));
    const link = make("a", { href: `#${encodeURIComponent(name)}` }, make("span", { class: "channel-label" }, name), tag);
    set(link, { "aria-current": name === chosen ? "page" : null });
    return make("li", {}, link);
  });
  list.replaceChildren(...items);
}

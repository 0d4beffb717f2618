// The page's address holds what is looked at: `#channel` or `#channel?where=…`, so that a view can be sent to a colleague.

/** Reads `{channel, where}` from the address. */
export function read(hash = location.hash) {
  const [name, query = ""] = hash.slice(1).split("?", 2);
  return { channel: decode(name), where: new URLSearchParams(query).get("where") ?? "" };
}

/** Writes it without a new entry in the history. */
export function write({ channel, where }) {
  const query = where ? `?${new URLSearchParams({ where })}` : "";
  history.replaceState(null, "", `#${encodeURIComponent(channel)}${query}`);
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

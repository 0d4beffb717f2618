// Elements without markup. In: names, attributes, children. Out: nodes. Text is always text, whatever it holds.

/** Makes an element; a child that is no node becomes text. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  set(element, attributes);
  element.append(...children);
  return element;
}

/** Makes an SVG element. */
export function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  set(element, attributes);
  element.append(...children);
  return element;
}

/** Sets attributes; `false` and `null` take one away, `true` sets it empty. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
}

/** Sets the text if it is another one, so that nothing is laid out or read out in vain. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Finds by id. */
export const by = (id) => document.getElementById(id);

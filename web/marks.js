// Marks on a canvas: grid, bars, lines, ranks. In: a 2D context, numbers, colours. Out: pixels. No state, no page.

/** Draws the horizontal grid with its numbers; returns value → y. */
export function grid(context, box, low, high, ink, text) {
  const step = niceStep((high - low || 1) / 4);
  const bottom = Math.floor(low / step) * step;
  const top = Math.max(Math.ceil(high / step) * step, bottom + step);
  const y = (value) => box.y + box.height - ((value - bottom) / (top - bottom)) * box.height;
  context.strokeStyle = ink.line;
  context.fillStyle = ink.soft;
  context.lineWidth = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (let i = 0; bottom + i * step <= top + step / 2; i++) {
    const value = bottom + i * step;
    const at = Math.round(y(value)) + 0.5;
    context.beginPath();
    context.moveTo(box.x, at);
    context.lineTo(box.x + box.width, at);
    context.stroke();
    context.fillText(text(Number(value.toPrecision(12))), box.x - 8, at);
  }
  return y;
}

/** The next round number: few of them, so that grids look alike. */
export function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  const nice = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((factor) => factor * power >= rough * 0.999);
  return nice * power;
}

/** Stacked bars, one a window. */
export function drawBars(context, { windows, order, colours, rest, x, step, y }) {
  const width = Math.max(1, Math.min(46, step * 0.72));
  windows.forEach((window, i) => {
    const left = x + i * step + (step - width) / 2;
    const parts = order.map((id) => [colours.get(id), window.values.get(id) ?? 0]);
    parts.push([rest, window.rest]);
    context.globalAlpha = window.final ? 1 : 0.62;
    let total = 0;
    const tall = parts.filter(([, value]) => value > 0);
    tall.forEach(([colour, value], part) => {
      const from = y(total);
      const to = y((total += value));
      const last = part === tall.length - 1;
      context.fillStyle = colour;
      context.beginPath();
      // A hair of air between the parts; the topmost is round.
      const air = from - to > 3 && part > 0 ? 1 : 0;
      context.roundRect(left, to, width, Math.max(0.5, from - to - air), last ? [Math.min(4, width / 3), Math.min(4, width / 3), 0, 0] : 0);
      context.fill();
    });
  });
  context.globalAlpha = 1;
}

/** A line a key; a missing window is a gap. The step into an open window is dashed. */
export function drawLines(context, { windows, order, colours, x, step, y, ink }) {
  context.lineJoin = "round";
  context.lineCap = "round";
  for (const id of order) {
    const points = windows.map((window, i) => {
      const value = window.values.get(id);
      return value === undefined ? null : { x: x + (i + 0.5) * step, y: y(value), final: window.final };
    });
    context.strokeStyle = colours.get(id);
    context.fillStyle = colours.get(id);
    context.lineWidth = 2;
    points.forEach((point, i) => {
      const before = points[i - 1];
      if (!point) return;
      if (before) {
        context.setLineDash(point.final ? [] : [3, 4]);
        context.beginPath();
        context.moveTo(before.x, before.y);
        context.lineTo(point.x, point.y);
        context.stroke();
      }
      if (!before || !points[i + 1]) dot(context, point, ink.card);
    });
    context.setLineDash([]);
  }
}

function dot(context, point, ring) {
  context.beginPath();
  context.arc(point.x, point.y, 3.5, 0, 2 * Math.PI);
  context.fill();
  context.save();
  context.strokeStyle = ring;
  context.lineWidth = 1.5;
  context.setLineDash([]);
  context.stroke();
  context.restore();
}

/** Horizontal bars with their names, largest first. */
export function drawRanking(context, ranking, width, height, colours, text) {
  const row = height / Math.max(ranking.length, 1);
  const names = Math.min(width * 0.4, Math.max(0, ...ranking.map(({ label }) => context.measureText(label).width)) + 12);
  const most = Math.max(...ranking.map(({ value }) => value), 0) || 1;
  const room = width - names - 56;
  context.textBaseline = "middle";
  ranking.forEach(({ label, value }, i) => {
    const middle = i * row + row / 2;
    context.fillStyle = colours.ink;
    context.textAlign = "left";
    context.fillText(fit(context, label, names - 10), 0, middle);
    context.fillStyle = colours.bar;
    context.beginPath();
    context.roundRect(names, middle - row * 0.32, Math.max(1, (Math.max(0, value) / most) * room), row * 0.64, 3);
    context.fill();
    context.fillStyle = colours.soft;
    context.fillText(text(value), names + (Math.max(0, value) / most) * room + 8, middle);
  });
}

function fit(context, label, room) {
  if (context.measureText(label).width <= room) return label;
  let end = label.length;
  while (end > 1 && context.measureText(`${label.slice(0, end)}…`).width > room) end -= 1;
  return `${label.slice(0, end)}…`;
}

// A heat strip: the cells of one lane at one moment from left to right, from 10 boxes to as many cells as there are.

const STRIP_HEIGHT = 26;
const CHANGE_HEIGHT = 9;
const BOX_WIDTH = 9;
const DOT = 2; // pixels of the screen that one part of the lane is wide: fewer are hard to see

/** Draw the cells of a lane's state that lie between two bytes.
 *
 * @param canvas where to draw.
 * @param kind the lane's kind, for its colours.
 * @param state what `CellTrack.at` gives; null draws an empty strip.
 * @param change the edges of what changed at this moment, or null.
 * @param range `{from, to}` in bytes: what the whole width stands for.
 * @param cell bytes of a cell.
 * @param exact whether it is known which cells are dirty.
 */
function drawStrip(canvas, { kind, state, change, range, cell, exact }) {
  const drawing = canvasContext(canvas, STRIP_HEIGHT + CHANGE_HEIGHT);
  if (!drawing || !state) return;
  const { context, width, scale } = drawing;
  if (!exact) {
    drawLevel(context, { kind, cell }, state, width);
    return;
  }
  const first = Math.floor(range.from / cell);
  const end = Math.min(Math.ceil(range.to / cell), state.cells);
  if (end <= first) return;
  const x = (index) => ((index * cell - range.from) / (range.to - range.from)) * width;
  const place = { context, kind, state, change, first, end, x, left: x(first), right: Math.min(x(end), width) };
  if ((place.right - place.left) / (end - first) >= BOX_WIDTH && !state.heat) drawBoxes(place);
  else drawDensity(place, scale);
  if (change) drawChangeMarks(place);
  drawOutline(place);
}

function drawBoxes({ context, kind, state, change, first, end, x }) {
  const width = x(first + 1) - x(first);
  const [levels, turns] = [new Int8Array(end - first), new Int8Array(end - first)];
  spread(state.edges, first, end, levels);
  if (change) spread(change, first, end, turns);
  for (let cell = first; cell < end; cell += 1) {
    const left = x(cell);
    const dirty = levels[cell - first] > 0;
    const turned = turns[cell - first];
    context.fillStyle = Paint.shade(kind, dirty ? 1 : 0);
    context.fillRect(left, 0, width, STRIP_HEIGHT);
    context.strokeStyle = Paint.colour("line-strong");
    context.lineWidth = 1;
    context.strokeRect(left + 0.5, 0.5, width - 1, STRIP_HEIGHT - 1);
    if (turned) drawTurned(context, left, width, turned);
    if (width < 8 + 7 * String(end - 1).length) continue;
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = Paint.colour(dirty ? "on-full" : "faint");
    context.fillText(String(cell), left + width / 2, STRIP_HEIGHT / 2 + 1);
  }
}

/** A cell that has just become dirty has a thick frame; one that has just become clean a dashed one. */
function drawTurned(context, left, width, turned) {
  context.strokeStyle = Paint.colour("ink");
  context.lineWidth = 2;
  context.setLineDash(turned > 0 ? [] : [3, 2]);
  context.strokeRect(left + 2, 2, width - 4, STRIP_HEIGHT - 4);
  context.setLineDash([]);
}

function drawDensity({ context, kind, state, first, end, left, right }, scale) {
  const count = Math.max(1, Math.min(Math.round((right - left) * scale / DOT), end - first));
  const bins = new Float64Array(count);
  if (state.heat) spreadHeat(state.heat, state.cells, first, end, bins);
  spread(state.edges, first, end, bins);
  const sizes = partSizes(first, end, count);
  scratch.width = count;
  scratch.height = 1;
  const values = bins.map((dirty, i) => fullness(dirty, sizes[i]));
  scratch.getContext("2d").putImageData(shadedImage(kind, values, count, 1), 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(scratch, 0, 0, count, 1, left, 0, right - left, STRIP_HEIGHT);
}

/** Only the number is known: a hatch that has no place, and words. */
function drawLevel(context, lane, state, width) {
  const level = levelOf(state, lane);
  drawNowhere(context, lane.kind, level.dirty, { x: 0, y: 0, width, height: STRIP_HEIGHT });
  drawText(context, level.long, 8, STRIP_HEIGHT / 2 + 1, Paint.colour("ink"));
  drawOutline({ context, state, left: 0, right: width });
}

/** Below the cells: filled triangles for what has just become dirty, hollow ones for what has become clean. */
function drawChangeMarks({ context, change, first, end, left, right }) {
  const count = Math.max(1, Math.min(Math.floor((right - left) / 9), end - first));
  const width = (right - left) / count;
  const [more, less] = [new Float64Array(count), new Float64Array(count)];
  eachStretch(change, first, end, (start, stop, level) => {
    spread([2 * start + 1, 2 * stop], first, end, level > 0 ? more : less);
  });
  context.strokeStyle = context.fillStyle = Paint.colour("ink");
  context.lineWidth = 1;
  for (let i = 0; i < count; i += 1) {
    const middle = left + (i + 0.5) * width;
    if (more[i]) triangle(context, middle - (less[i] ? 2.2 : 0), true);
    if (less[i]) triangle(context, middle + (more[i] ? 2.2 : 0), false);
  }
}

function triangle(context, x, filled) {
  const [tip, base] = filled ? [STRIP_HEIGHT + 2, STRIP_HEIGHT + 8] : [STRIP_HEIGHT + 8, STRIP_HEIGHT + 2];
  context.beginPath();
  context.moveTo(x, tip);
  context.lineTo(x - 3.2, base);
  context.lineTo(x + 3.2, base);
  context.closePath();
  if (filled) context.fill();
  context.stroke();
}

function drawOutline({ context, state, left, right }) {
  context.strokeStyle = Paint.colour("line-strong");
  context.lineWidth = 1;
  context.strokeRect(left + 0.5, 0.5, right - left - 1, STRIP_HEIGHT - 1);
  const [pattern] = state.flags.map((flag) => FLAG_PATTERNS[flag]).filter(Boolean);
  if (!pattern) return;
  context.strokeStyle = Paint.colour("ink");
  context.lineWidth = 2;
  context.setLineDash(pattern === "hatch" ? [] : [6, 3]);
  context.strokeRect(left + 1, 1, right - left - 2, STRIP_HEIGHT - 2);
  context.setLineDash([]);
}

/** A scale of bytes over strips. */
function drawByteScale(canvas, range) {
  const drawing = canvasContext(canvas, 14);
  if (!drawing) return;
  const { context, width } = drawing;
  const span = range.to - range.from;
  let step = 1;
  while ((step / span) * width < 90) step *= 2;
  context.strokeStyle = Paint.colour("faint");
  context.lineWidth = 1;
  context.beginPath();
  for (let at = Math.ceil(range.from / step) * step; at < range.to; at += step) {
    const x = Math.round(((at - range.from) / span) * width) + 0.5;
    lineTo(context, x, 9, x, 14);
    if (x < width - 50) drawText(context, placeText(at), x + 3, 6, Paint.colour("faint"), "left", "10px system-ui, sans-serif");
  }
  context.stroke();
}

// How a lane of the timeline is drawn: cells as a picture with time to the right and the disk downwards, jobs as bars.

const RAIL = 5;
const PICTURE_TOP = RAIL + 1;
const LEAST_FRAME = 8;
const CROWDED = 5;
const LINE = 2;
const ROOMY = 1.4; // how much wider than a word a bar is in which it is written
const FLAG_PATTERNS = { busy: "hatch", inconsistent: "cross", disabled: "dots" };
const STATUS_PATTERNS = {
  created: "dots", undefined: "dots", null: "dots", running: "none", ready: "bars", paused: "hatch", standby: "hatch",
  waiting: "dots", pending: "dots", aborting: "cross", concluded: "back",
};
const PLAIN = "11px system-ui, sans-serif";
const BOLD = `bold ${PLAIN}`;
const LANE_HEIGHTS = { disk: 34, bitmap: 34, successor: 20, job: 30 };

/** Where the moments of one run lie in a canvas. */
class Sheet {
  constructor(axis, run, view, width, scale) {
    Object.assign(this, { axis, run, view, width, scale });
    this.moments = axis.runs[run].length;
  }

  x(unit) {
    return ((unit - this.view.from) / this.view.span) * this.width;
  }

  start(moment) {
    return this.x(this.axis.start(this.run, moment));
  }

  /** The right end of what lasts until a moment, or until the run is over. */
  until(moment) {
    return this.x(moment === null ? this.axis.over(this.run) : this.axis.start(this.run, moment));
  }

  /** Where a stretch of moments lies in what can be seen, and a little beyond, so that its frame is not. */
  clipped(from, to, margin = 2) {
    return { left: Math.max(this.start(from), -margin), right: Math.min(this.until(to), this.width + margin) };
  }

  /** The last moment of each column of the screen's pixels; as many columns as the run reaches. */
  columns() {
    if (this.known) return this.known;
    const count = Math.round(this.width * this.scale);
    const step = this.view.span / count;
    const unit = (column) => this.view.from + column * step;
    const reached = clamp(Math.ceil((this.axis.over(this.run) - this.view.from) / step), 0, count);
    const until = Int32Array.from({ length: reached }, (_, i) => this.axis.at(this.run, unit(i + 1) - step * 1e-3));
    const next = this.axis.next(this.run, this.view.from);
    const sharp = next < this.moments && this.axis.start(this.run, next) === this.view.from;
    this.known = { count, until, before: sharp ? next - 1 : this.axis.at(this.run, this.view.from) - 1 };
    return this.known;
  }

  /** The first and the last moment that begin in what can be seen. */
  get range() {
    return [this.axis.next(this.run, this.view.from), this.axis.at(this.run, this.view.to)];
  }
}

const scratch = document.createElement("canvas");

/** The picture of a lane of cells, with a rail on top that shows its flags. */
function drawCells(context, sheet, track, height) {
  const { lane } = track;
  const top = PICTURE_TOP;
  const { count, until, before } = sheet.columns();
  const rows = Math.max(1, Math.min(Math.floor((height - top) / LINE), track.greatest));
  const shades = track.picture(before, until, count, rows);
  scratch.width = count;
  scratch.height = rows;
  scratch.getContext("2d").putImageData(shadedImage(lane.kind, shades, count, rows), 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(scratch, 0, 0, count, rows, 0, top, sheet.width, height - top);
  drawFlags(context, sheet, track, height);
}

/** A hatch over all of the lane while something is dirty, and how much: for runs of which it is not known where that is. */
function drawCounts(context, sheet, track, height) {
  const top = PICTURE_TOP;
  const { kind } = track.lane;
  for (const { from, to, value: level } of track.levels()) {
    const { left, right } = sheet.clipped(from, to, 0);
    if (right <= left) continue;
    drawNowhere(context, kind, level.dirty, { x: left, y: top, width: right - left, height: height - top });
    context.font = PLAIN;
    const text = [level.long, level.short].find((words) => context.measureText(words).width + 10 < right - left);
    if (text) drawText(context, text, left + 5, height - 9, Paint.colour("ink"));
  }
  drawFlags(context, sheet, track, height);
}

/** Something without a place: a light hatch that has no density; nothing at all is the ground alone. */
function drawNowhere(context, kind, dirty, { x, y, width, height }) {
  context.fillStyle = Paint.shade(kind, 0);
  context.fillRect(x, y, width, height);
  if (!dirty) return;
  context.globalAlpha = 0.6;
  fillPattern(context, "hatch", x, y, width, height, Paint.shade(kind, 0.01));
  context.globalAlpha = 1;
}

function drawFlags(context, sheet, track, height) {
  for (const { from, to, value: flags } of track.flagged()) {
    const { left, right } = sheet.clipped(from, to);
    const shown = flags.filter((flag) => FLAG_PATTERNS[flag]);
    if (right < 0 || left > sheet.width || !shown.length) continue;
    const wide = right - left >= LEAST_FRAME;
    for (const flag of shown) fillPattern(context, wide ? FLAG_PATTERNS[flag] : "solid", left, 0, right - left, RAIL, Paint.colour("ink"));
    if (!wide) continue;
    context.strokeStyle = Paint.colour("ink");
    context.lineWidth = 1.5;
    context.setLineDash(shown.includes("busy") ? [] : [4, 3]);
    context.strokeRect(left + 0.75, 0.75, right - left - 1.5, height - 1.5);
    context.setLineDash([]);
    const text = shown.join(", ");
    if (right - left > 12 + 6 * text.length && height > 24) {
      drawText(context, text, Math.max(left, 0) + 5, 15, Paint.colour("ink"));
    }
  }
}

/** The bar of a job: colour, pattern and word for each status, its progress from bottom to top, and how it ended. */
function drawJob(context, sheet, track, height) {
  const top = 9;
  const body = height - top - 2;
  const signs = endSigns(context, sheet, track.lives);
  for (const stretch of track.stretches()) drawStatus(context, sheet, stretch, { top, body, signs });
  drawProgress(context, sheet, track, top, body);
  for (const life of track.lives) drawFrame(context, sheet, life, top, body);
  for (const sign of signs) drawEnd(context, sign, top, body);
}

/** Its word is left out where there is no room for it beside the signs of how the job ended. */
function drawStatus(context, sheet, { from, to, value: status }, { top, body, signs }) {
  const { left, right } = sheet.clipped(from, to);
  if (right < 0 || left > sheet.width) return;
  const width = Math.max(1, right - left);
  context.fillStyle = Paint.colour(`status-${status}`) || Paint.colour("status-other");
  context.fillRect(left, top, width, body);
  const pattern = STATUS_PATTERNS[status];
  if (pattern !== "none" && width > 2) fillPattern(context, pattern, left, top, width, body, Paint.colour("status-ink"));
  const start = Math.max(left, 0) + 5;
  context.font = PLAIN;
  const end = start + context.measureText(status).width + 4;
  if (end < right && !signs.some(({ x, room }) => x < end && x + room > start)) drawText(context, status, start, top + body / 2, Paint.colour("ink"));
}

/** A line that rises with the progress; it rests where the job made none. */
function drawProgress(context, sheet, track, top, body) {
  const y = ({ done, total }) => top + body - 1.5 - (total ? done / total : 0) * (body - 3);
  context.strokeStyle = Paint.colour("progress");
  context.lineWidth = 2;
  context.beginPath();
  track.records.forEach((record, i) => {
    if (!record.exists || !record.done) return;
    const from = sheet.start(record.moment);
    const to = sheet.until(track.records[i + 1]?.moment ?? null);
    if (to >= 0 && from <= sheet.width) lineTo(context, from, y(record), to, y(record));
  });
  context.stroke();
}

function drawFrame(context, sheet, life, top, body) {
  const left = sheet.start(life.from);
  const right = sheet.until(life.to);
  if (right < 0 || left > sheet.width) return;
  const { end } = outcome(life);
  context.strokeStyle = Paint.colour(isBad(end) ? "failure" : "ink");
  context.lineWidth = 1.5;
  if (right - left >= LEAST_FRAME || end !== "completed") context.strokeRect(left, top, Math.max(2, right - left), body);
}

function isBad(end) {
  return end === "failed" || end === "cancelled";
}

/** What is to be written of how the lives of a job ended, and where: `{label, end, x, room}`. */
function endSigns(context, sheet, lives) {
  context.font = BOLD;
  const signs = [];
  lives.forEach((life, i) => {
    const left = sheet.start(life.from);
    const right = sheet.until(life.to);
    if (right < 0 || right > sheet.width + 2) return;
    const limit = lives[i + 1] ? sheet.start(lives[i + 1].from) : sheet.width;
    const sign = endSign(context, outcome(life), { left, right, limit, width: sheet.width });
    const before = signs.at(-1);
    if (sign && !(before && sign.x < before.x + before.room / 2)) signs.push(sign);
  });
  return signs;
}

/** The longest words that there is room for, behind the bar or in it. Of a bad end at least the sign is written. */
function endSign(context, { end, sign, text }, { left, right, limit, width }) {
  const labels = [`${sign} ${text}`, `${sign} ${end ?? text}`, sign].map((label) => label.trim()).filter(Boolean);
  for (const label of labels) {
    const room = context.measureText(label).width + 8;
    if (right + room + 2 < limit) return { label, end, x: right + 2, room };
    if (right - left > ROOMY * room) return { label, end, x: right - room - 2, room };
  }
  if (!isBad(end)) return null;
  const room = context.measureText(sign).width + 8;
  return { label: sign, end, x: clamp(right - room / 2, 0, width - room), room };
}

function drawEnd(context, { label, end, x, room }, top, body) {
  context.fillStyle = Paint.colour("panel");
  context.fillRect(x, top + 2, room, body - 4);
  drawText(context, label, x + 4, top + body / 2 + 0.5, Paint.colour(end === "completed" ? "good" : end ? "failure" : "ink"), "left", BOLD);
}

/** The marks of the moments that belong to a lane; failures last, so that nothing hides them. */
function drawMarks(context, sheet, indices, recording, y) {
  const [first, last] = sheet.range;
  const size = 4.5;
  const room = sheet.axis.byTime ? 0 : sheet.width / sheet.view.span;
  const crowded = room < CROWDED;
  const begin = countWhile(indices, (index) => index < first);
  const end = countWhile(indices, (index) => index <= last);
  const dense = (end - begin) / sheet.width > 1 / (2 * CROWDED) && crowded;
  const failures = [];
  const taken = new Map();
  for (let i = begin; i < end; i += 1) {
    const index = indices[i];
    const { kind } = recording.moments[index];
    if (recording.isFailure(index)) {
      failures.push(index);
      continue;
    }
    const x = sheet.start(index);
    if (crowded && x - (taken.get(kind) ?? -Infinity) < 2) continue;
    taken.set(kind, x);
    if (dense) drawTick(context, kind, x, y);
    else drawMark(context, kind, false, x + (crowded ? 0 : size), y, crowded ? 3.5 : size);
  }
  let past = -Infinity;
  for (const index of failures) {
    const x = sheet.start(index);
    if (x - past < 2) continue;
    past = x;
    drawMark(context, recording.moments[index].kind, true, Math.max(size, x + (crowded ? 0 : size)), y, size);
  }
}

/** A mark among very many: a line as high as its kind. */
function drawTick(context, kind, x, y) {
  context.fillStyle = Paint.colour(`mark-${MARK_COLOURS[kind] ?? "other"}`);
  context.fillRect(x, y - 4, 1, 8);
}

/** Ticks with the number or the time of moments. */
function drawRuler(context, sheet, height) {
  const { view, axis, width } = sheet;
  const rough = (view.span * 90) / width;
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1e-9)));
  const step = Math.max(axis.byTime ? 1 : 1, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough));
  const shift = axis.byTime ? 0 : axis.shifts[sheet.run];
  context.fillStyle = context.strokeStyle = Paint.colour("faint");
  context.lineWidth = 1;
  context.beginPath();
  for (let at = Math.ceil((view.from - shift) / step) * step; at + shift <= view.to; at += step) {
    const x = Math.round(sheet.x(at + shift)) + 0.5;
    lineTo(context, x, height - 5, x, height);
    const text = axis.byTime ? timeText(at) : grouped(at);
    if (at >= 0 && x < width - 8) drawText(context, text, x + 3, height / 2 - 1, Paint.colour("faint"));
  }
  context.stroke();
}

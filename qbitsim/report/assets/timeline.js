// The timeline of one run: an overview, a ruler that is the slider, and a row for each lane.

const RULER_HEIGHT = 20;
const OVERVIEW_HEIGHT = 16;
const QMP_HEIGHT = 18;

class Timeline extends RunPart {
  constructor(app, run) {
    super(app, run);
    this.rows = new Map();
    this.marks = new Map();
    this.marked = 0;
    this.cursor = make("div", { class: "cursor" });
    this.flag = make("div", { class: "difference-mark", hidden: true }, make("span", {}, "≠ first difference"));
    this.overview = make("canvas", { class: "overview", "aria-hidden": "true" });
    this.ruler = make("canvas", {
      class: "ruler", role: "slider", tabindex: "0", "aria-label": `Moment of the run${app.ofRun(run)}`, "aria-valuemin": "0",
    });
    this.body = make("div", { class: "lanes" }, this.cursor, this.flag);
    this.element = make("div", { class: "timeline" }, this.body);
    this.addRow(this.overview, "Overview", "");
    this.addRow(this.ruler, app.runs.length > 1 ? app.labelOf(run) : "Moment", "ruler-row", app.ofRun(run).slice(2));
    this.addRow(this.canvasOf(QMP_LANE, "Commands, replies and events on the monitors"), "QMP", "lane");
    listenForPointer(this);
    new ResizeObserver(() => this.body.clientWidth !== this.width && this.draw()).observe(this.body);
  }

  canvasOf(lane, label) {
    const canvas = make("canvas", { role: "img", "aria-label": label });
    this.rows.set(lane, { lane, canvas, kind: lane === QMP_LANE ? "qmp" : this.recording.lanes[lane].kind });
    return canvas;
  }

  addRow(canvas, name, classes, note = "") {
    const value = make("span", { class: "value" });
    const label = make("div", { class: "label", title: note || null }, make("b", {}, name), value);
    const row = make("div", { class: `row ${classes}` }, label, canvas);
    this.body.append(row);
    return value;
  }

  /** Lay out the rows, if there are other lanes than before. */
  addLanes() {
    const { recording } = this;
    const groups = recording.groups(this.app.internal);
    if (this.laid === groups) return;
    this.laid = groups;
    for (const element of this.body.querySelectorAll("[data-lane], .group")) element.remove();
    for (const lane of [...this.rows.keys()]) if (lane !== QMP_LANE) this.rows.delete(lane);
    for (const { name, lanes } of groups) {
      const named = recording.lanes[lanes[0]].kind === "disk";
      if (groups.length > 1) this.body.append(make("div", { class: "group" }, named ? "" : name || "other"));
      for (const index of lanes) this.addLane(index);
    }
    const cells = [...this.rows.values()].filter(({ kind }) => kind === "disk" || kind === "bitmap").length;
    this.stretch = cells <= 2 ? 1.8 : cells <= 4 ? 1.2 : 1;
  }

  addLane(index) {
    const lane = this.recording.lanes[index];
    const name = this.recording.nameOf(index);
    const canvas = this.canvasOf(index, `${lane.kind} ${name} over time`);
    const short = lane.kind === "successor" ? "↳ successor" : name;
    const note = lane.cell ? `${lane.kind}, ${lane.size ? exactSize(lane.size) : "of unknown size"} in cells of ${exactSize(lane.cell)}` : `${lane.type} job`;
    this.rows.get(index).value = this.addRow(canvas, short, `lane ${lane.kind}`, note);
    canvas.closest(".row").dataset.lane = index;
  }

  /** Sort the moments that came since the last time to the lanes that show them. */
  sortMarks() {
    for (; this.marked < this.recording.length; this.marked += 1) {
      const { kind } = this.recording.moments[this.marked];
      if (!MARKED_KINDS.has(kind) && !this.recording.isFailure(this.marked)) continue;
      const place = this.recording.places[this.marked];
      if (!this.marks.has(place)) this.marks.set(place, []);
      this.marks.get(place).push(this.marked);
    }
  }

  draw() {
    this.addLanes();
    this.sortMarks();
    this.width = this.body.clientWidth;
    for (const { canvas, kind } of this.rows.values()) canvas.style.height = `${this.heightOf(kind)}px`;
    let sheet = null;
    for (const [lane, row] of this.rows) {
      const height = this.heightOf(row.kind);
      if (sheet && this.rows.size > FEW_ROWS && !isNear(row.canvas)) continue;
      const drawing = canvasContext(row.canvas, height);
      if (!drawing) return;
      sheet ??= new Sheet(this.app.axis, this.run, this.app.view, drawing.width, drawing.scale);
      this.drawLane(drawing.context, sheet, lane, row.kind, height);
    }
    this.drawScale(sheet);
    this.sheet = sheet;
    this.nameEnds();
    this.moveCursor();
  }

  /** Say of each job's lane how its lives ended, for those who cannot see it. */
  nameEnds() {
    for (const { lane, canvas, kind } of this.rows.values()) {
      if (kind !== "job") continue;
      const { lives } = this.recording.tracks[lane];
      const ends = lives.slice(-NAMED_ENDS).map((life) => outcome(life).text || "at work");
      canvas.setAttribute("aria-label", `job ${this.recording.nameOf(lane)} over time: ${ends.join(", ")}`);
    }
  }

  heightOf(kind) {
    if (kind === "qmp") return QMP_HEIGHT;
    return kind === "job" ? LANE_HEIGHTS.job : Math.round(LANE_HEIGHTS[kind] * this.stretch);
  }

  drawLane(context, sheet, lane, kind, height) {
    const marks = this.marks.get(lane) ?? [];
    if (kind === "qmp") {
      drawMarks(context, sheet, marks, this.recording, height / 2);
      return;
    }
    const track = this.recording.tracks[lane];
    const draw = kind === "job" ? drawJob : this.recording.bits ? drawCells : drawCounts;
    draw(context, sheet, track, height);
    drawMarks(context, sheet, marks, this.recording, 6);
  }

  drawScale(sheet) {
    const ruler = canvasContext(this.ruler, RULER_HEIGHT);
    drawRuler(ruler.context, sheet, RULER_HEIGHT);
    const { context, width, scale } = canvasContext(this.overview, OVERVIEW_HEIGHT);
    const whole = new Sheet(this.app.axis, this.run, new View(this.app.axis), width, scale);
    const all = [...this.marks.values()].flat().sort((one, other) => one - other);
    drawMarks(context, whole, all, this.recording, OVERVIEW_HEIGHT / 2);
    context.strokeStyle = Paint.colour("accent");
    context.lineWidth = 2;
    const { view } = this.app;
    const shown = Math.max(4, whole.x(view.to) - whole.x(view.from) - 2);
    context.strokeRect(whole.x(view.from) + 1, 1, shown, OVERVIEW_HEIGHT - 2);
  }

  /** Put the cursor where the page's place is, without drawing the lanes again. */
  moveCursor() {
    const { sheet, moment } = this;
    if (!sheet) return;
    const left = sheet.start(moment);
    const width = Math.max(2, this.app.axis.byTime ? 2 : sheet.until(moment + 1) - left);
    this.cursor.style.setProperty("--x", `${left}px`);
    this.cursor.style.width = `${width}px`;
    this.cursor.hidden = left + width < 0 || left > sheet.width;
    this.ruler.setAttribute("aria-valuemax", this.recording.last);
    this.ruler.setAttribute("aria-valuenow", moment);
    this.ruler.setAttribute("aria-valuetext", this.recording.describe(moment));
    this.showDifference();
    for (const [lane, row] of this.rows) if (row.value) say(row.value, this.valueText(lane));
  }

  showDifference() {
    const { difference } = this.app.payload;
    if (!difference) return;
    const at = this.sheet.start(difference.moments[this.run]);
    this.flag.hidden = at < -1 || at > this.sheet.width;
    this.flag.style.setProperty("--x", `${at}px`);
    this.flag.classList.toggle("late", at > this.sheet.width / 2);
  }

  /** What the label says of a lane at the cursor. */
  valueText(lane) {
    const track = this.recording.tracks[lane];
    const record = track.record(this.moment);
    if (!record) return "";
    if (track instanceof JobTrack) return [record.status, percent(record.done, record.total)].filter(Boolean).join(" ");
    return roundSize(bytesOf(record, track.lane.cell));
  }

  /** What is under the pointer, in words. */
  explain(moment, lane, share) {
    const { recording } = this;
    const lines = [recording.describe(moment)];
    const track = recording.tracks[lane];
    const record = track?.record(moment);
    if (!record) return lines;
    if (track instanceof JobTrack) {
      lines.push(`${track.lane.name}: ${track.lane.type}, ${record.status} ${percent(record.done, record.total)}`);
      if (record.error) lines.push(record.error);
      return lines;
    }
    const cells = track.cellsOf(record.size);
    const count = cells || recording.bits ? `${grouped(record.count)} of ${plural(cells, "cell")}` : plural(record.count, "cell");
    lines.push([`${recording.nameOf(lane)}: ${count}`, ...record.flags.map(flagWord)].join(", "));
    if (!recording.bits) return lines;
    const height = this.heightOf(track.lane.kind);
    const depth = clamp((share * height - PICTURE_TOP) / (height - PICTURE_TOP), 0, 1);
    lines.push(`at this height: from ${placeText(Math.floor(depth * track.greatest) * track.lane.cell)}`);
    return lines;
  }
}

/** Whether an element is on the screen or not far from it; on paper everything is. */
function isNear(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return (bottom > -NEAR && top < innerHeight + NEAR) || document.documentElement.classList.contains("printing");
}

const NEAR = 300;
const FEW_ROWS = 40; // these are drawn wherever they are, so that a picture of the whole page has them
const MARKED_KINDS = new Set(["request", "error", "event", "write", "nbd", "fault"]);

// What the machine was at the cursor: its jobs as a table, and each disk, bitmap and successor as a strip.

const OVER = new Set(["waiting", "pending", "concluded", "null"]);
const RANGES_IN_A_LINE = 6;
const RANGES_IN_A_LIST = 500;

class StatePanel extends RunPart {
  constructor(app, run) {
    super(app, run);
    this.jobs = make("tbody");
    const heads = ["job", "status", "progress", ""].map((text) => make("th", { scope: "col" }, text));
    this.table = make("table", { class: "jobs" }, make("caption", {}, "Jobs"), make("thead", {}, make("tr", {}, ...heads)), this.jobs);
    this.where = make("p", { class: "where" });
    this.body = make("div", { class: "state-body" });
    this.element = make(
      "section", { class: "state panel", "aria-label": `State at the cursor${app.ofRun(run)}` },
      make("h2", {}, "State", app.markOf(run)), this.where, this.table, this.body,
    );
    this.groups = new Map();
    new ResizeObserver(() => this.body.clientWidth !== this.width && this.show()).observe(this.body);
  }

  show() {
    const { recording, moment } = this;
    this.width = this.body.clientWidth;
    const over = this.app.place - this.app.axis.shifts[this.run] > recording.last ? " (this run has ended)" : "";
    say(this.where, `After ${recording.describe(moment)}${over}`);
    this.showJobs(moment);
    for (const { name, lanes } of recording.groups(this.app.internal)) {
      const cells = lanes.filter((lane) => CELL_KINDS.has(recording.lanes[lane].kind));
      if (!cells.length) continue;
      if (!this.groups.has(name)) this.groups.set(name, new DriveStrips(this, name));
      this.groups.get(name).show(cells, moment);
    }
  }

  showJobs(moment) {
    const { recording } = this;
    const rows = [];
    recording.lanes.forEach((lane, index) => {
      const record = lane.kind === "job" ? recording.tracks[index].record(moment) : null;
      if (record) rows.push(this.jobRow(lane, record, recording.tracks[index], moment));
    });
    this.table.hidden = !rows.length;
    this.jobs.replaceChildren(...rows);
  }

  /** The words for the progress of a job that has nothing to do, as far as is known. */
  noProgress(status) {
    if (!this.recording.bits) return "its progress is not known";
    return OVER.has(status) ? "nothing to copy" : "nothing done yet";
  }

  jobRow(lane, { status, done, total, error }, track, moment) {
    const life = track.lives.findLast(({ from }) => from <= moment);
    const { sign, text, end } = outcome(life);
    const bar = total ? make("progress", { max: total, value: done, "aria-label": `progress of ${lane.name}` }) : "";
    const progress = total ? `${percent(done, total)}, ${roundSize(done)} of ${roundSize(total)}` : this.noProgress(status);
    const future = end && track.records.at(-1).moment > moment ? `${sign} will end: ${text}` : `${sign} ${text}`;
    return make(
      "tr", {}, make("th", { scope: "row" }, `${lane.name} `, make("small", {}, lane.type)),
      make("td", {}, make("span", { class: `status status-${status}` }, status)),
      make("td", {}, bar, make("small", {}, progress)),
      make("td", { class: error ? "bad" : "faint" }, error ?? (end ? future : "")),
    );
  }
}

/** The strips of one drive: they show the same range of bytes, one below the other. */
class DriveStrips {
  constructor(panel, name) {
    this.panel = panel;
    this.view = null;
    this.strips = new Map();
    const { bits } = panel.recording;
    this.scale = make("canvas", { class: "scale", "aria-hidden": "true", hidden: !bits });
    this.range = make("input", {
      type: "text", class: "range", "aria-label": `Range of ${name || "the disk"} that is shown, as offset + length`,
      spellcheck: "false", onchange: () => this.typed(), title: "offset + length, such as 0 + 64k",
    });
    const button = (text, label, action) => make("button", { type: "button", "aria-label": label, title: label, onclick: action }, text);
    const tools = [
      button("−", "show more of the disk", () => this.zoom(2)), button("+", "show less of the disk", () => this.zoom(0.5)),
      button("◂", "towards the beginning of the disk", () => this.pan(-0.5)), button("▸", "towards the end of the disk", () => this.pan(0.5)),
      button("all", "all of the disk", () => this.look(null)),
    ];
    this.element = make(
      "section", { class: "drive", "aria-label": `Disk and bitmaps of ${name}${panel.app.ofRun(panel.run)}` },
      make(
        "div", { class: "drive-head" }, make("h3", {}, name || "no drive"), ...(bits ? [this.range, ...tools] : []),
      ),
      this.scale,
    );
    panel.body.append(this.element);
  }

  show(lanes, moment) {
    const { recording } = this.panel;
    const states = lanes.map((lane) => [lane, recording.tracks[lane].at(moment)]).filter(([, state]) => state);
    this.element.hidden = !states.length;
    if (!states.length) return;
    this.size = Math.max(...states.map(([, state]) => state.size), 1);
    this.grain = Math.max(...states.map(([lane]) => recording.lanes[lane].cell));
    if (document.activeElement !== this.range) this.range.value = this.rangeText();
    drawByteScale(this.scale, this.shown);
    if (states.some(([lane]) => !this.strips.has(lane))) this.addStrips(lanes);
    for (const [lane, strip] of this.strips) strip.element.hidden = !states.some(([shown]) => shown === lane);
    for (const [lane, state] of states) this.strips.get(lane).show(state, moment);
  }

  /** Make the strips that are missing, and put all in order. */
  addStrips(lanes) {
    for (const lane of lanes) {
      if (!this.strips.has(lane)) this.strips.set(lane, new LaneStrip(this, lane));
      this.element.append(this.strips.get(lane).element);
    }
  }

  /** The bytes that are shown. */
  get shown() {
    return this.view ?? { from: 0, to: this.size };
  }

  rangeText() {
    const { from, to } = this.shown;
    return `${placeText(from)} + ${exactSize(to - from)}`;
  }

  typed() {
    const [from, length] = this.range.value.split("+").map(parseSize);
    if (from >= 0 && length > 0) this.look({ from, to: from + length });
    this.range.value = this.rangeText();
  }

  /** Show a range of bytes, widened to whole cells; null for the whole disk. */
  look(range) {
    if (range) {
      const grain = this.grain;
      const from = clamp(Math.floor(range.from / grain) * grain, 0, Math.max(0, this.size - grain));
      const to = clamp(Math.ceil(range.to / grain) * grain, from + grain, Math.max(this.size, from + grain));
      this.view = from > 0 || to < this.size ? { from, to } : null;
    } else this.view = null;
    this.panel.show();
  }

  zoom(factor) {
    const { from, to } = this.shown;
    const half = (Math.max((to - from) * factor, this.grain) - (to - from)) / 2;
    this.look({ from: Math.max(0, from - half), to: to + half });
  }

  pan(share) {
    const { from, to } = this.shown;
    const by = clamp((to - from) * share, -from, Math.max(0, this.size - to));
    this.look({ from: from + by, to: to + by });
  }
}

// One strip of the state: its name, its flags, how much is dirty, its cells, and their ranges in bytes as text.

class LaneStrip {
  constructor(drive, lane) {
    this.drive = drive;
    this.lane = lane;
    this.recording = drive.panel.recording;
    this.track = this.recording.tracks[lane];
    const { kind } = this.track.lane;
    this.flags = make("span", { class: "flags" });
    this.count = make("span", { class: "count" });
    this.change = make("span", { class: "change" });
    this.canvas = make("canvas", { class: "strip", role: "img" });
    this.selection = make("div", { class: "selection", hidden: true });
    this.ranges = make("p", { class: "ranges" });
    this.readout = make("div", { class: "readout", hidden: true });
    this.element = make(
      "div", { class: `lane-strip ${kind}` },
      make(
        "div", { class: "lane-head" }, make("b", {}, this.recording.nameOf(lane)), make("span", { class: `kind ${kind}` }, kind),
        this.flags, this.count, this.change,
      ),
      make("div", { class: "strip-box" }, this.canvas, this.selection), this.readout, this.ranges,
    );
    if (this.recording.bits) this.listen();
  }

  show(state, moment) {
    this.state = state;
    this.moment = moment;
    const { cell, kind } = this.track.lane;
    const flags = state.flags.join(" ");
    if (this.flags.dataset.shown !== flags) {
      this.flags.dataset.shown = flags;
      this.flags.replaceChildren(...state.flags.map((flag) => make("span", { class: `flag flag-${flag}` }, flagWord(flag))));
    }
    say(this.count, this.countText());
    const change = this.recording.bits ? this.track.changeAt(moment) : null;
    say(this.change, this.changeText(change));
    drawStrip(this.canvas, { kind, state, change, range: this.drive.shown, cell, exact: this.recording.bits });
    this.canvas.setAttribute("aria-label", `${this.recording.nameOf(this.lane)}: ${this.countText()}`);
    this.showRanges();
    this.showReadout();
  }

  get word() {
    return wordOf(this.track.lane.kind);
  }

  countText() {
    const { count, cells, size } = this.state;
    const { cell } = this.track.lane;
    if (!size && !this.recording.bits) return `${plural(count, "cell")} ${this.word} of ${exactSize(cell)} each`;
    const bytes = bytesOf(this.state, cell);
    return `${grouped(count)} of ${plural(cells, "cell")} ${this.word}, ${exactSize(bytes)} of ${exactSize(size)}, ${exactSize(cell)} each`;
  }

  changeText(edges) {
    if (!edges) return "";
    let [more, less] = [0, 0];
    eachStretch(edges, 0, Infinity, (from, to, level) => {
      if (level > 0) more += to - from;
      else less += to - from;
    });
    const parts = [more && `▲ ${grouped(more)} more`, less && `▽ ${grouped(less)} fewer`];
    return parts.filter(Boolean).join("  ");
  }

  /** The dirty ranges of what is shown, in bytes. */
  showRanges() {
    const { state } = this;
    const { cell } = this.track.lane;
    if (!this.recording.bits) {
      const all = state.count === state.cells ? "All of them." : "It is not known which cells.";
      say(this.ranges, state.count ? all : emptyWord(this.track.lane.kind));
      return;
    }
    if (state.heat) {
      say(this.ranges, "About: this picture was made of sums, the number of cells is exact.");
      return;
    }
    const { from, to } = this.drive.shown;
    const runs = runsOf(state.edges, Math.floor(from / cell), Math.min(Math.ceil(to / cell), state.cells));
    const key = `${runs.length} ${runs.slice(0, 2 * RANGES_IN_A_LIST).join()} ${this.open}`;
    if (this.ranges.dataset.key === key) return;
    this.ranges.dataset.key = key;
    const most = this.open ? RANGES_IN_A_LIST : RANGES_IN_A_LINE;
    const total = runs.length / 2;
    const shown = [];
    for (let i = 0; i < Math.min(total, most); i += 1) {
      const start = runs[2 * i] * cell;
      const length = Math.min((runs[2 * i] + runs[2 * i + 1]) * cell, state.size) - start;
      shown.push(make("span", { class: "span" }, `${placeText(start)}+${exactSize(length)}`));
    }
    const more = total > most ? [`… and ${grouped(total - most)} more`] : [];
    this.ranges.classList.toggle("open", Boolean(this.open));
    this.ranges.replaceChildren(...this.rangesButton(total), ...shown, ...more);
  }

  rangesButton(total) {
    if (total < 2) return [];
    const toggle = () => {
      this.open = !this.open;
      this.showRanges();
    };
    const options = { type: "button", class: "link span", onclick: toggle, "aria-expanded": String(Boolean(this.open)) };
    return [make("button", options, plural(total, "range"))];
  }

  // -- a cell that was clicked, a range that was dragged

  listen() {
    const { canvas } = this;
    let from = null;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return clamp((event.clientX - box.left) / box.width, 0, 0.999999);
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      from = at(event);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (from !== null) this.select(from, at(event));
    });
    canvas.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const [low, high] = [from, at(event)].sort((one, other) => one - other);
      from = null;
      this.selection.hidden = true;
      if ((high - low) * canvas.clientWidth > 5) this.drive.look({ from: this.byte(low), to: this.byte(high) });
      else this.pick(this.byte(low));
    });
    canvas.addEventListener("pointercancel", () => {
      from = null;
      this.selection.hidden = true;
    });
    canvas.addEventListener("dblclick", () => this.drive.look(null));
  }

  byte(share) {
    const { from, to } = this.drive.shown;
    return from + share * (to - from);
  }

  select(one, other) {
    this.selection.hidden = false;
    this.selection.style.left = `${100 * Math.min(one, other)}%`;
    this.selection.style.width = `${100 * Math.abs(one - other)}%`;
  }

  pick(byte) {
    this.picked = Math.min(Math.floor(byte / this.track.lane.cell), this.state.cells - 1);
    this.showReadout();
  }

  /** Say of the cell that was picked what it is and since when. */
  showReadout() {
    this.readout.hidden = this.picked === undefined || !this.recording.bits;
    if (this.readout.hidden) return;
    const { cell } = this.track.lane;
    const dirty = levelAt(this.state.edges, this.picked) > 0;
    const since = this.state.heat ? null : this.track.since(this.picked, this.moment);
    const what = this.state.heat ? "about here" : dirty ? this.word : emptyWord(this.track.lane.kind);
    const where = `cell ${grouped(this.picked)}: ${placeText(this.picked * cell)}+${exactSize(cell)}, ${what}`;
    const parts = [where];
    if (this.track.lane.kind !== "disk") parts.push(...this.reasons());
    else if (since !== null) parts.push(" since ", ...this.atMoment(since, this.recording.moments[since].text));
    const close = () => {
      this.picked = undefined;
      this.showReadout();
    };
    this.readout.replaceChildren(...parts, " ", make("button", { type: "button", class: "link", onclick: close }, "close"));
  }

  /** Why the cell that was picked is dirty, or clean. */
  reasons() {
    const { dirty, causes, successor, cleared, copied, unfinished } = whyOf(this.recording, this.lane, this.picked, this.moment);
    const clean = cleared ? [` ${dirty ? "clean before since" : "since"} `, ...this.atMoment(cleared.moment, cleared.text)] : [];
    const set = causes.length ? [dirty ? " since " : " dirty before since ", ...this.because(causes)] : [];
    const held = successor.length ? [" dirty in its successor since ", ...this.because(successor)] : [];
    const copy = ({ moment, job, sync, target, outcome }) => this.atMoment(moment, `backup ${job} (sync=${sync}, to ${target}): ${outcome}`);
    const copies = copied ? [" last good copy at ", ...copy(copied)] : [" no backup that was seen here has copied it and completed"];
    const unfinishedCopy = unfinished ? [copied ? " copied again at " : " copied at ", ...copy(unfinished)] : [];
    return [...(dirty ? [...set, ...held, ...clean] : [...clean, ...set, ...held]), ...copies, ...unfinishedCopy];
  }

  /** Causes, and below each those of its sources. */
  because(causes) {
    return causes.flatMap(({ moment, text, sources }) => [
      ...this.atMoment(moment, text), sources.length ? make("div", { class: "because" }, "as it was dirty since ", ...this.because(sources)) : "",
    ]);
  }

  /** What happened at a moment, with a way there. */
  atMoment(moment, text) {
    const { app, run } = this.drive.panel;
    const go = () => app.gotoMoment(run, moment);
    return [`moment ${moment}: ${text} `, make("button", { type: "button", class: "link", onclick: go }, "go there")];
  }
}

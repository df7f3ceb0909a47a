// The page: its place in time, which all parts follow, and the part of the axis that the timelines show.

const THEMES = ["auto", "light", "dark"];

class App {
  constructor(payload) {
    this.payload = payload;
    this.runs = payload.runs.map((history) => new Recording(history));
    this.axis = new Axis(this.runs, payload.difference, false);
    this.view = new View(this.axis);
    this.place = this.beginning();
    this.internal = false;
    this.tip = new Tip();
    this.timelines = this.runs.map((_, run) => new Timeline(this, run));
    this.states = this.runs.map((_, run) => new StatePanel(this, run));
    this.conversations = this.runs.map((_, run) => new Conversation(this, run));
    this.draw = oncePerFrame(() => this.timelines.forEach((timeline) => timeline.draw()));
    this.follow = oncePerFrame(() => this.show());
    this.player = new Player(this);
    this.header = new Header(this);
    this.build();
  }

  /** Where the page opens: where its address says, at the first difference, the first failure, or the start; a live one at its end. */
  beginning() {
    const { difference, live } = this.payload;
    if (live) return clamp(this.addressed() ?? this.axis.last, 0, this.axis.last);
    const [run] = this.runs;
    const first = difference ? difference.moments[0] : run.moments.findIndex(({ kind, failed }) => failed || kind === "error");
    return clamp(this.addressed() ?? this.axis.placeOf(0, Math.max(0, first)), 0, this.axis.last);
  }

  addressed() {
    const match = /^#m=(\d+)$/.exec(location.hash);
    return match ? this.axis.placeOf(0, Number(match[1])) : null;
  }

  build() {
    document.getElementById("timelines").append(...this.timelines.map(({ element }) => element));
    const columns = document.getElementById("columns");
    document.body.classList.toggle("two", this.runs.length > 1);
    this.runs.forEach((_, run) => {
      columns.append(make("div", { class: "column" }, this.states[run].element, this.conversations[run].element));
    });
    const scrolled = (event) => !event.target.closest?.(".list, .state, .detail") && this.draw();
    addEventListener("scroll", scrolled, { capture: true, passive: true });
    addEventListener("hashchange", () => {
      const place = this.addressed();
      if (place !== null) this.goto(place);
    });
    listenForPrint(this);
  }

  /** What people call one of two runs: its number, and what it was read from. */
  labelOf(run) {
    const name = this.payload.names?.[run] ?? this.runs[run].title;
    return `${run + 1}: ${name || "run"}`;
  }

  /** The run that a part belongs to if there are two, to be put behind its name. */
  ofRun(run) {
    return this.runs.length > 1 ? `, run ${this.labelOf(run)}` : "";
  }

  /** The same where it can be seen. */
  markOf(run) {
    return this.runs.length > 1 ? make("span", { class: "run-name" }, this.labelOf(run)) : "";
  }

  // -- the place

  /** Go to a place; the timelines move along unless `reveal` is false. */
  goto(place, { reveal = true } = {}) {
    this.place = clamp(Math.round(place), 0, this.axis.last);
    if (reveal) {
      const before = this.view.from;
      const { starts, ends } = this.extent();
      this.view.reveal(starts, ends);
      if (this.view.from !== before) this.draw();
    }
    this.follow();
  }

  gotoMoment(run, moment) {
    this.goto(this.axis.placeOf(run, moment));
  }

  /** Where the cursor begins and ends on the axis. */
  extent() {
    const run = Math.max(0, this.runs.findIndex((_, i) => this.place - this.axis.shifts[i] <= this.runs[i].last));
    const moment = this.axis.momentAt(run, this.place);
    const starts = this.axis.start(run, moment);
    return { starts, ends: this.axis.byTime ? starts : this.axis.end(run, moment) };
  }

  /** Let everything show the place. */
  show() {
    this.timelines.forEach((timeline) => timeline.moveCursor());
    for (const part of [...this.states, ...this.conversations]) part.show();
    this.header.show();
  }

  /** Go to the nearest place ahead, or behind with `step` -1, at which a moment of any run fulfils `test`. */
  seek(step, test) {
    for (let place = this.place + step; place >= 0 && place <= this.axis.last; place += step) {
      const found = this.runs.some((run, i) => {
        const moment = place - this.axis.shifts[i];
        return moment >= 0 && moment < run.length && test(run, moment);
      });
      if (found) return this.goto(place);
    }
    return undefined;
  }

  seekDifference() {
    const { difference } = this.payload;
    if (difference) this.gotoMoment(0, difference.moments[0]);
  }

  // -- the view

  setView(change) {
    change();
    this.draw();
  }

  zoom(factor) {
    this.setView(() => this.view.zoom(factor, (this.extent().starts + this.extent().ends) / 2));
  }

  /** Let the x axis be moments or virtual time. */
  turnAxis() {
    this.axis = new Axis(this.runs, this.payload.difference, !this.axis.byTime);
    this.view = new View(this.axis);
    this.header.show();
    this.draw();
  }

  /** Show or hide the bitmaps that jobs keep for themselves. */
  turnInternal() {
    this.internal = !this.internal;
    this.draw();
    this.follow();
    this.header.show();
  }

  /** Add to a run what happened since; a page that showed its end goes on showing its end. */
  append(run, lanes, moments) {
    const atEnd = this.place >= this.axis.last;
    const whole = this.view.isWhole;
    const atRight = this.view.to >= this.axis.total;
    this.runs[run].append(lanes, moments);
    if (whole) this.view.whole();
    else if (atRight) this.view.set(this.axis.total - this.view.span, this.axis.total);
    this.conversations[run].extend();
    if (atEnd) this.place = this.axis.last;
    this.draw();
    this.follow();
  }
}

/** Plays the moments one after the other: the whole in about 20 seconds, but never too fast to see. */
class Player {
  constructor(app) {
    this.app = app;
    this.timer = null;
  }

  get playing() {
    return this.timer !== null;
  }

  toggle() {
    if (this.playing) this.stop();
    else this.start();
  }

  start() {
    const { app } = this;
    if (app.place >= app.axis.last) app.goto(0);
    const rate = clamp(app.axis.last / 20, 3, 600);
    const began = performance.now();
    const from = app.place;
    const step = () => {
      const place = from + Math.floor(((performance.now() - began) / 1000) * rate);
      if (place !== app.place) app.goto(place);
      if (app.place >= app.axis.last) this.stop();
    };
    this.timer = setInterval(step, Math.max(30, 1000 / rate));
    app.header.show();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.app.header.show();
  }
}

/** Canvases are drawn anew for paper: wide as the paper is, and in light colours. */
function listenForPrint(app) {
  const root = document.documentElement;
  const turn = (printing) => {
    if (root.classList.contains("printing") === printing) return;
    root.classList.toggle("printing", printing);
    app.header.paint();
    app.timelines.forEach((timeline) => timeline.draw());
    app.show();
  };
  addEventListener("beforeprint", () => turn(true));
  addEventListener("afterprint", () => turn(false));
  matchMedia("print").addEventListener("change", (event) => turn(event.matches));
}

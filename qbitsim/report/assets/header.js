// The head of the page: what it shows, what must be known about it, and the buttons.

const NAMED_ENDS = 6;

class Header {
  constructor(app) {
    this.app = app;
    this.opened = app.place;
    this.theme = stored("qbitsim-theme") ?? "auto";
    this.now = document.getElementById("now");
    this.live = document.getElementById("live");
    this.help = document.getElementById("help");
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => this.paint());
    this.showFacts();
    this.showNotes();
    this.buttons();
    this.legend();
    this.paint();
  }

  showFacts() {
    const { runs } = this.app;
    const facts = runs.map((run, i) => {
      const { request = 0, error = 0, event = 0, write = 0, fault = 0 } = run.counts;
      const parts = [
        run.profile && `QEMU ${run.profile}`, run.epoch === null ? "times are not known" : timeText(run.duration), plural(request, "command"),
        `${grouped(error)} refused`, plural(event, "event"),
        write && plural(write, "guest write"), fault && plural(fault, "fault"),
      ];
      return make("p", { class: "facts" }, runs.length > 1 ? make("b", {}, this.titleOf(i)) : "", runs.length > 1 ? " " : "", parts.filter(Boolean).join(" · "));
    });
    document.getElementById("facts").replaceChildren(...facts.map((fact, run) => make("div", {}, fact, this.ends(run))));
  }

  /** What one of two runs is called, and its title if that says more. */
  titleOf(i) {
    const label = this.app.labelOf(i);
    const { title } = this.app.runs[i];
    return label.endsWith(title) ? label : `${label}, ${title}`;
  }

  /** How the jobs of a run ended: those that failed or were cancelled by name. */
  ends(run) {
    const { app } = this;
    const outcomes = app.runs[run].outcomes();
    const bad = outcomes.filter(({ end }) => end !== "completed");
    const buttons = bad.slice(0, NAMED_ENDS).map(({ lane, moment, end, sign, text }) => {
      const go = () => app.gotoMoment(run, moment);
      return make("button", { type: "button", class: `end ${end}`, onclick: go, title: "go there" }, `${sign} ${lane.name} ${text}`);
    });
    const more = bad.length > NAMED_ENDS ? ` and ${plural(bad.length - NAMED_ENDS, "job")} more ` : "";
    const good = outcomes.length - bad.length;
    return make("p", { class: "ends" }, ...buttons, more, good ? make("span", { class: "good" }, `✔ ${plural(good, "job")} completed`) : "");
  }

  showNotes() {
    const { runs, payload } = this.app;
    const notes = runs.flatMap((run, i) => run.notes.map((note) => (runs.length > 1 ? `${this.app.labelOf(i)}: ${note}` : note)));
    const banners = notes.map((note) => make("p", { class: "banner" }, make("span", { "aria-hidden": "true" }, "⚠ "), note));
    if (payload.difference) {
      const go = make("button", { type: "button", onclick: () => this.app.seekDifference() }, "show (d)");
      banners.push(make("p", { class: "banner difference" }, make("b", {}, "≠ first difference: "), payload.difference.text, " ", go));
    } else if (runs.length > 1) banners.push(make("p", { class: "banner equal" }, make("b", {}, "= The two runs are equal.")));
    document.getElementById("banners").replaceChildren(...banners);
  }

  buttons() {
    const { app } = this;
    const actions = {
      first: () => app.goto(0), back: () => app.goto(app.place - 1), play: () => app.player.toggle(),
      forward: () => app.goto(app.place + 1), end: () => app.goto(app.axis.last),
      failure: () => app.seek(1, (run, moment) => run.isFailure(moment)) ?? undefined,
      "zoom-in": () => app.zoom(0.5), "zoom-out": () => app.zoom(2), whole: () => app.setView(() => app.view.whole()),
      axis: () => app.turnAxis(), internal: () => app.turnInternal(), theme: () => this.nextTheme(), keys: () => this.help.showModal(),
      close: () => this.help.close(),
    };
    for (const [name, action] of Object.entries(actions)) document.getElementById(name).addEventListener("click", action);
  }

  nextTheme() {
    this.theme = THEMES[(THEMES.indexOf(this.theme) + 1) % THEMES.length];
    store("qbitsim-theme", this.theme);
    this.paint();
  }

  /** Put on the theme. */
  paint() {
    const printing = document.documentElement.classList.contains("printing");
    const dark = !printing && (this.theme === "dark" || (this.theme === "auto" && this.dark.matches));
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    document.getElementById("theme").textContent = `theme: ${this.theme}`;
    Paint.reset();
    this.drawLegend();
    this.app.draw();
    this.app.follow();
  }

  show() {
    const { app } = this;
    const run = app.runs[0];
    const moment = app.axis.momentAt(0, app.place);
    say(this.now, [`moment ${grouped(moment)} of ${grouped(run.last)}`, run.timeOf(moment)].filter(Boolean).join(" · "));
    say(document.getElementById("play"), app.player.playing ? "❚❚ pause" : "▶ play");
    const axis = document.getElementById("axis");
    say(axis, app.axis.byTime ? "axis: time" : "axis: moments");
    axis.disabled = !app.axis.hasTime;
    axis.title = axis.disabled ? (run.epoch === null ? "times are not known" : "no virtual time has passed") : "moments or virtual time (t)";
    this.showInternal();
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.settle(run, moment), 250);
  }

  showInternal() {
    const { app } = this;
    const count = app.runs.reduce((sum, run) => sum + run.lanes.filter((_, lane) => run.isInternal(lane)).length, 0);
    const button = document.getElementById("internal");
    button.hidden = !count;
    button.setAttribute("aria-pressed", String(app.internal));
    say(button, `internal bitmaps ${count}`);
  }

  /** The signs and the colours, drawn as the timeline draws them. */
  legend() {
    const marks = [["request", false, "command"], ["error", true, "refused or failed"], ["event", false, "event"], ["write", false, "guest's write"], ["fault", true, "fault"]];
    if (this.app.runs.some(({ counts }) => counts.nbd)) marks.push(["nbd", false, "request of an NBD client"]);
    const entry = (draw, text, width) => ({ canvas: make("canvas", { "aria-hidden": "true" }), draw, text, width });
    this.entries = [
      ...marks.map(([kind, failed, text]) => entry((context) => drawMark(context, kind, failed, 8, 7, 4.5), text, 16)),
      ...(this.app.runs.some(({ bits }) => bits) ? ["disk", "bitmap", "successor"].map((kind) => entry((context) => {
        for (let x = 0; x < 48; x += 1) {
          context.fillStyle = Paint.shade(kind, Math.max(0, (x - 8) / 39));
          context.fillRect(x, 2, 1, 10);
        }
      }, `${kind}: none, a little … full`, 48)) : []),
      ...(this.app.runs.every(({ bits }) => bits) ? [] : [
        entry((context) => drawNowhere(context, "bitmap", true, { x: 0, y: 2, width: 24, height: 10 }), "bitmap: dirty, it is not known where", 24),
      ]),
    ];
    for (const { canvas, width } of this.entries) canvas.style.width = `${width}px`;
    document.getElementById("legend").replaceChildren(...this.entries.map(({ canvas, text }) => make("span", {}, canvas, text)));
  }

  drawLegend() {
    for (const { canvas, draw } of this.entries) {
      const drawing = canvasContext(canvas, 14);
      if (drawing) draw(drawing.context);
    }
  }

  /** When the cursor rests: say so aloud, and put it into the address. */
  settle(run, moment) {
    if (!this.app.player.playing) say(this.live, run.describe(moment));
    const hash = `#m=${this.app.place - this.app.axis.shifts[0]}`;
    const moved = this.app.place !== this.opened || location.hash;
    if (moved && location.hash !== hash && location.protocol !== "about:") history.replaceState(null, "", hash);
  }
}

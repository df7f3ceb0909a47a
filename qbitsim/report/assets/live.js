// The page of a live machine: it follows what happens, says whether the server is there, and has the controls.

const OPEN = "qbitsim-controls";

class Live {
  constructor(app, { control, cursor, commands: names }) {
    this.app = app;
    this.control = control;
    this.commands = new Commands();
    this.controls = new Controls(app, this.commands, names);
    this.state = make("b", { class: "live-state", role: "status" });
    this.about = make("span", { class: "live-about" });
    this.body = make("div", { id: "live-body" });
    this.facts = oncePerFrame(() => this.showFacts());
    this.save = make("a", { href: "history.jsonl", download: "history.jsonl", title: "for qbitsim report" }, "save the history");
    this.fold = make("button", { type: "button", "aria-controls": "live-body", onclick: () => this.turn() }, "controls");
    const panel = document.getElementById("controls");
    panel.append(make("div", { class: "live-head" }, this.state, this.about, this.fold, this.save), this.body);
    panel.hidden = false;
    addEventListener("hashchange", () => this.commands.takeToken() && this.showControls());
    this.showControls();
    this.connected(true);
    this.feed = new Feed(cursor, this);
  }

  // -- news from the feed

  news(lanes, moments) {
    this.app.append(0, lanes, moments);
    this.facts();
  }

  connected(whether) {
    if (whether) this.show("on", "● live", "");
    else this.show("off", "○ no connection", "The server does not answer. What is shown is what was known; the page tries again.");
  }

  ended() {
    this.show("over", "■ QEMU has quit", "What is shown is what was known; ← goes back.");
    this.save.href = URL.createObjectURL(historyFile(this.app.runs[0]));
    this.body.hidden = true;
    this.fold.hidden = true;
  }

  /** The history began anew, or this is another server: then the page begins anew, too. */
  async reload(cursor) {
    if (cursor.split(".")[0] !== this.feed.cursor.split(".")[0]) {
      location.reload();
      return;
    }
    const response = await fetch("history").catch(() => null);
    if (!response?.ok) {
      this.connected(false);
      setTimeout(() => this.reload(cursor), TRY_AGAIN);
      return;
    }
    restart(this.app, parsed(await response.text()));
    this.facts();
    this.feed.follow(response.headers.get("Qbitsim-Cursor"));
  }

  show(style, state, about) {
    this.state.className = `live-state ${style}`;
    say(this.state, state);
    say(this.about, about);
  }

  showFacts() {
    this.app.header.showFacts();
    this.controls.showPlaces();
  }

  // -- what one may do

  showControls() {
    this.showAllowed();
    if (this.control && this.commands.token) this.checkToken();
  }

  /** Complain at once of a token that the server does not take, and ask for another. */
  async checkToken() {
    const { token } = this.commands;
    if ((await this.commands.isGood()) || token !== this.commands.token) return;
    this.commands.use(null);
    this.showAllowed(make("p", { class: "bad" }, "✖ The token is not that of this server."));
  }

  /** Show what this page allows; a complaint goes before it. */
  showAllowed(complaint = "") {
    if (!this.control) {
      const how = [make("code", {}, "qbitsim serve"), " is started with ", make("code", {}, "--control"), "."];
      this.body.replaceChildren(make("p", { class: "faint" }, "You can look, but not act: for that, ", ...how));
    } else if (!this.commands.token) this.body.replaceChildren(complaint, this.tokenForm());
    else this.body.replaceChildren(this.controls.element);
    this.fold.hidden = this.body.firstChild !== this.controls.element;
    this.body.hidden = false;
    if (!this.fold.hidden) this.unfold((stored(OPEN) ?? String(innerWidth > 640)) === "true");
  }

  /** Show the controls, or put them away. */
  unfold(open) {
    this.body.hidden = !open;
    this.fold.setAttribute("aria-expanded", String(open));
  }

  turn() {
    store(OPEN, this.body.hidden);
    this.unfold(this.body.hidden);
  }

  /** What is there instead of the controls while the token is not known. */
  tokenForm() {
    const input = make("input", { name: "token", "aria-label": "token", placeholder: "token", spellcheck: "false", autocomplete: "off" });
    const use = (event) => {
      event.preventDefault();
      const token = input.value.trim().split("#token=").at(-1);
      if (!token) return;
      this.commands.use(token);
      this.showControls();
    };
    const what = "You can look, but not act: this page does not know the token. Open the address that qbitsim printed when it began, with all that is behind the #, or type the token: ";
    return make("form", { class: "token", onsubmit: use }, make("p", {}, what), input, make("button", { type: "submit" }, "use it"));
  }
}

/** What the page knows, as the file that the server would send if it were still there. */
function historyFile({ title, profile, epoch, notes, bits, lanes, moments }) {
  const header = { kind: "qbitsim-history", format: 1, title, profile, epoch, notes, bits };
  const lines = [header, ...lanes.map((lane) => ({ lane })), ...moments];
  return new Blob(lines.map((line) => `${JSON.stringify(line)}\n`), { type: "application/jsonl" });
}

/** Show another history in place of the first run. */
function restart(app, history) {
  app.runs[0] = new Recording(history);
  app.axis = new Axis(app.runs, null, app.axis.byTime);
  app.view = new View(app.axis);
  app.place = app.axis.last;
  for (const [parts, Part] of [[app.timelines, Timeline], [app.states, StatePanel], [app.conversations, Conversation]]) {
    const fresh = new Part(app, 0);
    parts[0].element.replaceWith(fresh.element);
    parts[0] = fresh;
  }
  app.header.showNotes();
  app.draw();
  app.follow();
}

// The conversation, line by line. Only the lines that can be seen are elements; there may be many thousands.

const LINE_HEIGHT = 24;
const MANY_STEPS = 100;
const ON_PAPER = 40;
const SIGNS = {
  start: "◦", request: "▸", reply: "◂", error: "✖", event: "●", step: "·", write: "▼", nbd: "◇", fault: "↯", time: "◷", look: "◦", end: "◦",
};
const FILTERS = {
  commands: ["request", "reply", "error"], events: ["event"], guest: ["write"], clients: ["nbd"], faults: ["fault"],
  steps: ["step"], other: ["start", "time", "look", "end"],
};

class Conversation extends RunPart {
  constructor(app, run) {
    super(app, run);
    this.shownKinds = new Set(Object.values(FILTERS).flat());
    if ((this.recording.counts.step ?? 0) > MANY_STEPS) this.shownKinds.delete("step");
    this.lines = [];
    this.known = 0;
    this.texts = [];
    this.pool = [];
    this.build();
    this.filter();
  }

  build() {
    const { run, app } = this;
    const name = `Conversation${app.ofRun(run)}`;
    this.search = make("input", {
      type: "search", placeholder: "search ( / )", "aria-label": `Search in the conversation${app.ofRun(run)}`, oninput: () => this.filter(),
      onkeydown: (event) => this.searchKey(event),
    });
    this.found = make("output", { class: "found", "aria-live": "polite" });
    this.toggles = make("div", { class: "filters", role: "group", "aria-label": "Kinds of entries" });
    this.space = make("div", { class: "space" });
    this.list = make("div", {
      class: "list", role: "listbox", tabindex: "0", "aria-label": name,
      onscroll: oncePerFrame(() => this.fill()), onkeydown: (event) => this.listKey(event),
    }, this.space);
    this.detail = make("div", { class: "detail", role: "region", "aria-label": `The entry at the cursor${app.ofRun(run)}`, tabindex: "0" });
    const head = make("div", { class: "conversation-head" }, make("h2", {}, "Conversation", app.markOf(run)), this.search, this.found);
    this.paper = make("div", { class: "paper" });
    const parts = [head, this.toggles, this.list, this.detail, this.paper];
    this.element = make("section", { class: "conversation panel", "aria-label": name }, ...parts);
    this.list.addEventListener("click", (event) => this.clicked(event));
    new ResizeObserver(() => this.fill()).observe(this.list);
  }

  // -- which lines there are

  showToggles() {
    const { counts } = this.recording;
    const buttons = Object.entries(FILTERS).flatMap(([name, kinds]) => {
      if (!kinds.some((kind) => counts[kind])) return [];
      const asked = name === "commands" && counts.request;
      const count = asked || kinds.reduce((sum, kind) => sum + (counts[kind] ?? 0), 0);
      const noun = name === "commands" && !asked ? "replies" : name;
      const on = this.shownKinds.has(kinds[0]);
      const turn = () => {
        for (const kind of kinds) this.shownKinds[on ? "delete" : "add"](kind);
        this.filter();
      };
      return make("button", { type: "button", "aria-pressed": String(on), onclick: turn }, `${noun} ${grouped(count)}`);
    });
    this.toggles.replaceChildren(...buttons);
  }

  /** What is searched in an entry: its line and its message. */
  textOf(index) {
    const { moments } = this.recording;
    this.texts[index] ??= `${moments[index].text} ${moments[index].who ?? ""} ${JSON.stringify(moments[index].data ?? "")}`.toLowerCase();
    return this.texts[index];
  }

  isShown(index) {
    if (!this.shownKinds.has(this.recording.moments[index].kind) && !this.recording.isFailure(index)) return false;
    return !this.wanted || this.textOf(index).includes(this.wanted);
  }

  filter() {
    this.wanted = this.search.value.trim().toLowerCase();
    this.lines = [];
    this.known = 0;
    this.extend();
    this.show();
  }

  /** Take up what has come since the last time. */
  extend() {
    for (; this.known < this.recording.length; this.known += 1) if (this.isShown(this.known)) this.lines.push(this.known);
    this.showToggles();
    say(this.found, this.wanted ? `${grouped(this.lines.length)} of ${grouped(this.recording.length)}` : "");
    this.space.style.height = `${this.lines.length * LINE_HEIGHT}px`;
  }

  // -- the cursor

  /** The line of the last shown entry that is not after the cursor. */
  get line() {
    return countWhile(this.lines, (index) => index <= this.moment) - 1;
  }

  /** Follow the cursor: keep its line in view, and show its entry. */
  show() {
    this.showDetail();
    if (this.line >= 0) {
      const top = this.line * LINE_HEIGHT;
      const { scrollTop, clientHeight } = this.list;
      if (top < scrollTop + LINE_HEIGHT) this.list.scrollTop = top - LINE_HEIGHT;
      else if (top + 2 * LINE_HEIGHT > scrollTop + clientHeight) this.list.scrollTop = top + 2 * LINE_HEIGHT - clientHeight;
    }
    this.fill();
    if (document.documentElement.classList.contains("printing")) this.print();
  }

  /** The lines around the cursor, for paper, and how many others there are. */
  print() {
    const first = Math.max(0, this.line - ON_PAPER);
    const around = this.lines.slice(first, Math.max(0, this.line) + ON_PAPER);
    const line = (index) => {
      const { kind, text, data } = this.recording.moments[index];
      const more = kind === "event" ? ` ${eventDetails(data?.data ?? {})}` : "";
      const failed = this.recording.isFailure(index) ? "bad" : "";
      const here = index === this.moment ? "here" : "";
      return make("p", { class: `${failed} ${here}` }, `${index} ${SIGNS[kind] ?? "◦"} ${text}${more}`);
    };
    const left = this.leftOut(first, this.lines.length - first - around.length);
    this.paper.replaceChildren(...around.map(line), make("p", { class: "left-out", hidden: !left }, left));
  }

  /** How many entries are not on paper. */
  leftOut(earlier, later) {
    const hidden = this.recording.length - this.lines.length;
    const near = [earlier && `${grouped(earlier)} earlier`, later && `${grouped(later)} later`].filter(Boolean).join(" and ");
    const parts = [near && `${near} entries are left out.`, hidden && `${plural(hidden, "entry", "entries")} ${hidden === 1 ? "is" : "are"} hidden by the filter.`];
    return parts.filter(Boolean).join(" ");
  }

  /** Put elements where lines can be seen. */
  fill() {
    const { scrollTop, clientHeight } = this.list;
    const first = Math.max(0, Math.floor(scrollTop / LINE_HEIGHT) - 4);
    const count = Math.min(this.lines.length - first, Math.ceil(clientHeight / LINE_HEIGHT) + 8);
    while (this.pool.length < count) this.pool.push(this.space.appendChild(new Line(this).element));
    this.pool.forEach((element, i) => {
      element.hidden = i >= count;
      if (i < count) element.line.show(first + i);
    });
    const active = this.pool.find((element) => !element.hidden && element.getAttribute("aria-selected") === "true");
    if (active) this.list.setAttribute("aria-activedescendant", active.id);
    else this.list.removeAttribute("aria-activedescendant");
  }

  showDetail() {
    const { recording, moment } = this;
    const entry = recording.moments[moment];
    if (!entry) return;
    const facts = [`${moment}`, entry.kind, entry.who, recording.timeOf(moment), recording.dateOf(moment)].filter(Boolean).join(" · ");
    const data = entry.data === undefined ? [] : [make("pre", {}, JSON.stringify(entry.data, null, 2))];
    const expected = entry.expected === undefined ? [] : [
      make("p", { class: "bad" }, `≠ QEMU ${recording.profile} answers:`), make("pre", {}, JSON.stringify(entry.expected, null, 2)),
    ];
    this.detail.replaceChildren(
      make("p", { class: `detail-line ${recording.isFailure(moment) ? "bad" : ""}` }, make("b", {}, `${SIGNS[entry.kind] ?? "◦"} ${entry.text}`)),
      make("p", { class: "faint" }, facts, ...this.links(entry, moment)), ...expected, ...data,
    );
    this.detail.scrollTop = 0;
  }

  links(entry, moment) {
    const link = (text, to) => [" · ", make("button", { type: "button", class: "link", onclick: () => this.goto(to) }, `${text} ${to}`)];
    const reply = this.recording.replies.get(moment);
    if (reply !== undefined) return link(this.recording.moments[reply].kind === "error" ? "refused at" : "reply at", reply);
    return entry.of === undefined ? [] : link("request at", entry.of);
  }

  goto(moment) {
    this.app.gotoMoment(this.run, moment);
  }

  // -- keys and clicks

  clicked(event) {
    const element = event.target.closest(".line");
    if (element) this.goto(Number(element.dataset.moment));
  }

  listKey(event) {
    const page = Math.max(1, Math.floor(this.list.clientHeight / LINE_HEIGHT) - 2);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page }[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.moveLines(by);
  }

  moveLines(by) {
    if (this.lines.length) this.goto(this.lines[clamp(this.line + by, 0, this.lines.length - 1)]);
  }

  /** Enter goes to the next line that was found, with shift to the one before; Escape ends the search. */
  searchKey(event) {
    if (event.key === "Enter") {
      const exact = this.lines[this.line] === this.moment;
      this.moveLines(event.shiftKey ? (exact ? -1 : 0) : 1);
    } else if (event.key === "Escape") {
      this.search.value = "";
      this.filter();
      this.list.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/** What an event is about, and what it says of it. */
function eventDetails(details) {
  const name = details.id ?? details.device ?? details["node-name"] ?? "";
  return [name, details.status, details.operation, details.error].filter((part) => typeof part === "string" && part).join(" ");
}

/** An element of the list that shows one line after the other. */
class Line {
  static made = 0;

  constructor(conversation) {
    this.conversation = conversation;
    this.sign = make("span", { class: "sign", "aria-hidden": "true" });
    this.number = make("span", { class: "number" });
    this.text = make("span", {});
    this.more = make("span", { class: "more" });
    this.who = make("span", { class: "who" });
    this.element = make("div", { class: "line", role: "option", id: `line-${(Line.made += 1)}` }, this.number, this.sign, make("span", { class: "text" }, this.text, this.more), this.who);
    this.element.line = this;
  }

  show(line) {
    const { conversation, element } = this;
    const { recording, app, run, moment } = conversation;
    const index = conversation.lines[line];
    const entry = recording.moments[index];
    const pair = recording.moments[moment]?.of ?? recording.replies.get(moment);
    const differs = app.payload.difference?.moments[run] === index;
    element.style.transform = `translateY(${line * LINE_HEIGHT}px)`;
    element.dataset.moment = index;
    element.className = `line ${entry.kind}`;
    element.classList.toggle("failed", recording.isFailure(index));
    element.classList.toggle("near", index < moment && line === conversation.line);
    element.classList.toggle("pair", index === pair);
    element.classList.toggle("differs", differs);
    element.setAttribute("aria-selected", String(index === moment));
    element.setAttribute("aria-posinset", line + 1);
    element.setAttribute("aria-setsize", conversation.lines.length);
    say(this.sign, differs || entry.expected ? "≠" : SIGNS[entry.kind] ?? "◦");
    say(this.number, String(index));
    say(this.text, entry.text);
    say(this.more, entry.kind === "event" ? eventDetails(entry.data?.data ?? {}) : "");
    say(this.who, entry.expected ? "unexpected" : recording.saysFailed(index) ? "failed" : entry.who ?? entry.machine ?? "");
  }
}

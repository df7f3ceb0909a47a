// The controls of a live machine: each is a form that sends one command. The reply is shown at the end of its row, so that
// no button moves under the pointer.

const SNAPSHOT = "page";
const OPERATIONS = ["read", "write", "write-zeroes", "discard", "flush"];
const ERRNOS = ["EIO", "ENOSPC", "EPERM", "EROFS"];
const LONGEST_REPLY = 300;
const NUMBER = /^\s*(0x[0-9a-f]+|[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)\s*$/i;

class Controls {
  constructor(app, commands, names) {
    this.app = app;
    this.commands = commands;
    this.drive = make("select", { name: "drive" });
    this.where = make("input", { name: "where", list: "places", size: 7, spellcheck: "false", title: "a drive, a node or a file" });
    this.places = make("datalist", { id: "places" });
    this.element = make(
      "div", { class: "controls" }, this.places, listOf("errnos", ERRNOS), listOf("command-names", names),
      this.group("Time", () => [this.steps(), this.idle(), this.advance(), this.pacing()]),
      this.group("Guest", () => [this.write()]),
      this.group("Space", () => [this.capacity()]),
      this.group("Failures", () => [this.fault()]),
      this.group("Undo", () => [this.undo()]),
      this.group("QMP", () => [this.line()]),
    );
    this.showPlaces();
  }

  /** Forms in a row, with a place for their results. */
  group(title, forms) {
    this.output = make("output", { class: "said", "aria-live": "polite" });
    const name = title.toLowerCase();
    return make("div", { class: `control-group ${name}`, role: "group", "aria-label": title }, make("h3", {}, title), ...forms(), this.output);
  }

  /** A form. Each button is [text, what it does with the fields, the words for what was returned]. */
  form(label, fields, buttons) {
    const { output } = this;
    const form = make("form", { "aria-label": label, autocomplete: "off" }, ...fields);
    const made = buttons.map(([text, act, describe], i) => {
      const button = make("button", { type: i ? "button" : "submit" }, text);
      const run = () => this.run({ form, output, button }, act, describe);
      if (i) button.addEventListener("click", run);
      else form.addEventListener("submit", (event) => {
        event.preventDefault();
        run();
      });
      return button;
    });
    form.append(...made);
    return form;
  }

  /** Do what a button says, and show how it went; the button waits meanwhile. */
  async run({ form, output, button }, act, describe) {
    if (button.getAttribute("aria-disabled")) return;
    button.setAttribute("aria-disabled", "true");
    for (const other of this.element.querySelectorAll(".said.bad")) say(other, "");
    const show = (text, bad) => {
      output.className = bad ? "said bad" : "said";
      say(output, `${bad ? "✖" : "✔"} ${text}`);
    };
    try {
      show(describe(await act(valuesOf(form))), false);
    } catch (error) {
      show(error.message, true);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }

  // -- the forms

  /** Run one of qbitsim's own commands. */
  control(name, given) {
    return this.commands.run(`x-qbitsim-${name}`, given);
  }

  steps() {
    const step = ({ count }) => this.control("step", { count: whole(count, "steps") });
    return this.form("Steps", [field("count", "steps", "1", 4)], [["step", step, progressWords]]);
  }

  idle() {
    return this.form("Run to idle", [], [["run to idle", () => this.control("run-until-idle"), progressWords]]);
  }

  advance() {
    const advance = ({ seconds }) => this.control("advance", { seconds: number(seconds, "seconds") });
    return this.form("Advance", [field("seconds", "seconds", "1", 4)], [["advance", advance, progressWords]]);
  }

  pacing() {
    const set = (pacing) => () => this.control("set-pacing", { pacing });
    return this.form("Pacing", [], [
      ["pause", set("manual"), () => "nothing goes on by itself"],
      ["go", set("realtime"), () => "time goes on by itself"],
    ]);
  }

  write() {
    const fields = [labelled("drive", this.drive), field("offset", "offset", "0", 6), field("length", "length", "64k", 5), field("pattern", "pattern", "0x41", 4)];
    const write = ({ drive, offset, length, pattern }) =>
      this.control("write", { drive, offset: size(offset, "offset"), length: size(length, "length"), pattern: whole(pattern, "pattern") });
    return this.form("Guest write", fields, [["write", write, () => "written"]]);
  }

  fault() {
    const operation = make("select", { name: "operation" }, ...OPERATIONS.map((name) => make("option", {}, name)));
    const fields = [
      labelled("where", this.where), labelled("operation", operation), field("offset", "offset", "", 4, null, "any"),
      field("length", "length", "", 4, null, "1"), field("errno", "errno", "EIO", 5, "errnos"),
      make("label", {}, make("input", { type: "checkbox", name: "once", checked: true }), "once"),
    ];
    return this.form("Fault", fields, [["let it fail", (given) => this.injectError(given), ({ id }) => `${id}; x-qbitsim-lift id=${id} ends it`]]);
  }

  injectError({ where, operation, offset, length, errno, once }) {
    const range = { ...optional("offset", offset), ...optional("length", length) };
    return this.control("inject-error", { where: text(where, "where"), operation, ...range, errno: text(errno, "errno"), once });
  }

  capacity() {
    const limit = ({ file, capacity }) => this.control("limit-capacity", { file: text(file, "file"), ...optional("capacity", capacity) });
    const fields = [field("file", "file", "", 8), field("capacity", "room", "", 4, null, "any")];
    return this.form("Capacity", fields, [["limit", limit, () => "done"]]);
  }

  undo() {
    const snapshot = () => this.control("snapshot", { name: SNAPSHOT });
    const restore = () => this.control("restore", { name: SNAPSHOT });
    return this.form("Undo", [], [
      ["keep this", snapshot, () => "kept"],
      ["back to what was kept", restore, () => "the machine is what it was"],
    ]);
  }

  line() {
    const input = make("input", { name: "line", list: "command-names", spellcheck: "false", placeholder: "NAME key=value …, or JSON" });
    const send = ({ line }) => this.commands.send(requestOf(line));
    return this.form("QMP command", [labelled("command", input)], [["send", send, (value) => shortened(JSON.stringify(value))]]);
  }

  /** Offer the drives and nodes that are there now. */
  showPlaces() {
    const [run] = this.app.runs;
    const disks = run.lanes.filter((lane, i) => lane.kind === "disk" && run.tracks[i].record(run.last));
    const names = disks.map(({ name }) => name);
    if (this.shown === names.join("\n")) return;
    this.shown = names.join("\n");
    const chosen = this.drive.value;
    this.drive.replaceChildren(...names.map((name) => make("option", {}, name)));
    if (names.includes(chosen)) this.drive.value = chosen;
    this.where.value ||= this.drive.value;
    this.places.replaceChildren(...disks.flatMap(({ name, node }) => [name, node]).map((name) => make("option", { value: name })));
  }
}

function labelled(label, input) {
  return make("label", {}, label, input);
}

function field(name, label, value, width, list = null, placeholder = null) {
  return labelled(label, make("input", { name, value, list, placeholder, size: width, spellcheck: "false" }));
}

function listOf(id, names) {
  return make("datalist", { id }, ...names.map((name) => make("option", { value: name })));
}

/** What is in the fields of a form, by name. */
function valuesOf(form) {
  const named = [...form.elements].filter(({ name }) => name);
  return Object.fromEntries(named.map((each) => [each.name, each.type === "checkbox" ? each.checked : each.value]));
}

// What people type as numbers, sizes and names; each throws an Error in words if it is none.

function whole(value, what) {
  const found = plainNumber(value);
  return checked(found === Math.floor(found) ? found : NaN, value, what, "whole number");
}

function number(value, what) {
  return checked(plainNumber(value), value, what, "number");
}

function size(value, what) {
  return checked(NUMBER.test(value) ? Math.round(Number(value)) : parseSize(value), value, what, "size, such as 64k");
}

function plainNumber(value) {
  return NUMBER.test(value) ? Number(value) : NaN;
}

function checked(found, value, what, noun) {
  if (Number.isNaN(found)) throw new Error(`${what}: '${value}' is no ${noun}`);
  if (found < 0 || found > Number.MAX_SAFE_INTEGER) throw new Error(`${what}: '${value}' is out of range`);
  return found;
}

function text(value, what) {
  if (!value.trim()) throw new Error(`${what}: there is none`);
  return value.trim();
}

/** A size that may be left out. */
function optional(name, value) {
  return value.trim() ? { [name]: size(value, name) } : {};
}

function progressWords({ steps, now }) {
  return `${plural(steps, "step")}, now at ${timeText(now)}`;
}

function shortened(value) {
  return value.length <= LONGEST_REPLY ? value : `${value.slice(0, LONGEST_REPLY)}…`;
}

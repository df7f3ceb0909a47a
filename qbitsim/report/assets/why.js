// Why a cell of a bitmap is dirty, or clean: what set it, what cleared it before, and which backup copied it last.
//
// This is what qbitsim/history/why.py does, in which the rules stand. A cause is `{moment, kind, text, sources}`.

const HEAT_PARTS = 1024;
const CONTEXTS = new Set(["start", "request", "write", "nbd", "step", "fault", "look"]);
const CAUSE_KINDS = { write: "write", nbd: "write", step: "job", request: "command" };
const OVER_JOBS = new Set(["waiting", "pending", "concluded", "null"]);

/** Why a cell of a bitmap's lane is as it is after a moment: `{dirty, causes, successor, cleared, copied, unfinished}`. */
function whyOf(recording, lane, cell, moment) {
  const { cell: grain } = recording.lanes[lane];
  const size = recording.tracks[lane].record(moment)?.size ?? 0;
  const trace = new CauseTrace(recording, cell * grain, Math.min((cell + 1) * grain, size));
  for (let index = 0; index <= moment; index += 1) trace.add(index, recording.moments[index]);
  return trace.answer(lane);
}

/** The cells of a bitmap, or a successor, that overlap the one that is asked for: why each dirty one is dirty. */
class CausedCells {
  constructor(lane, start, stop) {
    this.lane = lane;
    this.first = Math.floor(start / lane.cell);
    this.stop = Math.ceil(stop / lane.cell);
    this.size = lane.size;
    this.exists = false;
    this.known = true;
    this.causes = new Map();
    this.former = new Map();
    this.cleared = null;
  }

  all() {
    return this.causes.size ? uniqueCauses(this.causes) : uniqueCauses(this.former);
  }

  /** The cells of runs that overlap. */
  cellsOf(runs = []) {
    const found = new Set();
    for (let i = 0, place = 0; i < runs.length && place < this.stop; i += 2) {
      const start = place + runs[i];
      place = start + runs[i + 1];
      for (let cell = Math.max(start, this.first); cell < Math.min(place, this.stop); cell += 1) found.add(cell);
    }
    return found;
  }
}

function uniqueCauses(causes) {
  return [...new Map([...causes.values()].flat().map((cause) => [JSON.stringify(cause), cause])).values()];
}

/** A backup, and what it did to the cell. */
class CopyingBackup {
  constructor(lane) {
    this.lane = lane;
    this.about = {};
    this.copied = null;
    this.aborted = false;
    this.exists = true;
  }

  get failed() {
    return this.aborted || Boolean(this.about.error);
  }

  get outcome() {
    const { error, status = "created" } = this.about;
    if (this.aborted && (!error || /cancell?ed/i.test(error))) return "cancelled";
    if (this.failed) return `failed: ${error || "aborted"}`;
    return !this.exists || OVER_JOBS.has(status) ? "completed" : status;
  }

  copy() {
    const { sync = "", target = "" } = this.about;
    return { moment: this.copied, job: this.lane.name, sync, target, outcome: this.outcome };
  }
}

/** Goes through the moments with all that may have changed the bytes from `start` to `stop`. */
class CauseTrace {
  constructor(recording, start, stop) {
    this.recording = recording;
    this.start = start;
    this.stop = stop;
    this.cells = new Map();
    this.successors = new Map();
    this.backups = [];
    this.context = 0;
    recording.lanes.forEach((lane, number) => {
      if (lane.kind !== "bitmap" && lane.kind !== "successor") return;
      this.cells.set(number, new CausedCells(lane, start, stop));
      if (lane.of !== undefined) this.successors.set(lane.of, number);
    });
  }

  add(index, moment) {
    if (CONTEXTS.has(moment.kind)) this.context = index;
    const context = Math.min(moment.of ?? this.context, index);
    const changes = new Map(Object.entries(moment.changes ?? {}).map(([number, change]) => [Number(number), change]));
    for (const [number, change] of changes) {
      const lane = this.recording.lanes[number];
      if (lane.kind === "job") this.changeBackup(lane, change, this.context);
    }
    const bitmaps = [...changes].filter(([number]) => this.cells.has(number));
    const updates = bitmaps.map(([number, change]) => this.changed(number, change, changes, context, index));
    for (const [cells, causes, cleared] of updates) {
      for (const [cell, why] of cells.causes) if (!causes.has(cell)) cells.former.set(cell, why);
      cells.causes = causes;
      cells.cleared = cleared;
    }
  }

  changeBackup(lane, change, context) {
    if (lane.type !== "backup") return;
    let backup = this.backups.findLast((each) => each.lane === lane && each.exists);
    if (!change) {
      if (backup) backup.exists = false;
      return;
    }
    if (!backup) this.backups.push((backup = new CopyingBackup(lane)));
    const { copied = [], ...about } = change;
    Object.assign(backup.about, about);
    backup.aborted ||= change.status === "aborting";
    if (overlaps(copied, this.start, this.stop)) backup.copied = context;
  }

  /** What a bitmap is after a change: its cells, why they are dirty, and what cleared them last. */
  changed(number, change, changes, context, index) {
    const cells = this.cells.get(number);
    const born = !cells.exists;
    cells.exists = change !== null;
    if (!change) return [cells, new Map(), null];
    if (born) {
      cells.known = true;
      cells.former = new Map();
    }
    const [added, removed] = [cells.cellsOf(change["+"]), cells.cellsOf(change["-"])];
    let causes = new Map(born ? [] : [...cells.causes].filter(([cell]) => !removed.has(cell)));
    let cleared = cells.cleared;
    if (born || [...removed].some((cell) => !added.has(cell))) cleared = this.cause(context, "command");
    for (const cell of added) causes.set(cell, [this.reason(cells, cell, context, born)]);
    cells.size = change.size ?? cells.size;
    if (change.heat) causes = this.blurred(cells, change, causes, context);
    else if (added.size || removed.size) cells.known = true;
    const successor = this.cells.get(this.successors.get(number));
    if (successor?.exists && changes.get(this.successors.get(number)) === null) {
      [causes, cleared] = this.handedOver(number, successor, causes, cleared, index);
    }
    return [cells, causes, cleared];
  }

  /** What is known of cells if only the number of dirty ones in each part is. */
  blurred(cells, change, causes, context) {
    const count = Math.ceil(cells.size / cells.lane.cell);
    const bound = (part) => Math.floor((part * count) / HEAT_PARTS);
    const found = new Map();
    cells.known = true;
    for (let cell = cells.first; cell < cells.stop; cell += 1) {
      const part = Math.floor(((cell + 1) * HEAT_PARTS - 1) / count);
      const dirty = change.heat[part] ?? 0;
      if (dirty && dirty !== bound(part + 1) - bound(part)) cells.known = false;
      if (dirty) found.set(cell, causes.get(cell) ?? cells.causes.get(cell) ?? [this.cause(context, "unknown")]);
    }
    return found;
  }

  /** The end of the job that held a bitmap, whose successor goes. */
  handedOver(number, successor, dirty, cleared, index) {
    const before = this.cells.get(number).causes;
    const job = this.backups.findLast((each) => each.about.bitmap === number);
    const name = job ? `backup ${job.lane.name}` : "the job that held the bitmap";
    const failed = job ? job.failed : [...before.keys()].some((cell) => dirty.has(cell));
    const mode = job?.about.mode;
    const keeps = mode === "never" || (failed && mode !== "always");
    const end = `${name} ${job ? job.outcome : "is over"}`;
    const whyKept = mode === "never" ? "with bitmap-mode=never it takes nothing" : "its bits stay";
    const text = `${end}: ${keeps ? whyKept : "not copied"}`;
    const causes = new Map();
    for (const cell of dirty.keys()) {
      const recorded = successor.causes.get(cell) ?? [];
      const kept = this.cause(index, "backup", text, before.get(cell) ?? []);
      causes.set(cell, (keeps && before.has(cell)) || !recorded.length ? [kept, ...recorded] : recorded);
    }
    const took = [...before.keys()].some((cell) => !keeps || !dirty.has(cell));
    return [causes, took && !failed ? this.cause(index, "backup", end) : cleared];
  }

  /** Why a cell has become dirty. */
  reason(cells, cell, context, born) {
    const moment = this.recording.moments[context];
    const kind = CAUSE_KINDS[moment.kind] ?? "look";
    const sources = kind === "command" ? this.merged(cells, moment.data) : [];
    if (sources.length) return this.cause(context, "merge", null, sources);
    if (born && kind !== "write") return this.cause(context, "loaded", `it was dirty when it appeared: ${moment.text}`);
    return this.cause(context, kind, null, kind === "look" ? cells.former.get(cell) ?? [] : []);
  }

  /** Why the sources of a merge into a bitmap were dirty. */
  merged(target, request) {
    const merges = actionsOf(request).filter(([name, given]) => name === "block-dirty-bitmap-merge" && given.target === target.lane.name);
    const sources = merges.flatMap(([, given]) => this.sourcesOf(given, target));
    return sources.filter((each) => each !== target && each.exists && each.causes.size).flatMap((each) => each.all());
  }

  sourcesOf(given, target) {
    const named = Array.isArray(given.bitmaps) ? given.bitmaps : [];
    return named.flatMap((each) => {
      const { name, node } = typeof each === "object" && each ? each : { name: each, node: given.node };
      const called = [...this.cells.values()].filter(({ lane }) => lane.name === name);
      const there = called.filter(({ lane }) => node === lane.node || node === lane.drive);
      return there.length ? there : called.filter(({ lane }) => lane.node === target.lane.node);
    });
  }

  cause(moment, kind, text = null, sources = []) {
    return { moment, kind, text: text ?? this.recording.moments[moment].text, sources };
  }

  answer(number) {
    const cells = this.cells.get(number);
    const successor = this.cells.get(this.successors.get(number));
    const copies = this.backups.filter((each) => each.copied !== null && isOf(each, cells.lane)).map((each) => each.copy());
    copies.sort((one, other) => one.moment - other.moment);
    const copied = copies.findLast(({ outcome }) => outcome === "completed") ?? null;
    const last = copies.at(-1) ?? null;
    return {
      dirty: cells.known ? cells.causes.size > 0 : null,
      causes: cells.all(),
      successor: successor?.causes.size ? successor.all() : [],
      cleared: cells.cleared,
      copied,
      unfinished: last === copied ? null : last,
    };
  }
}

/** A request as [name, arguments]; a transaction as one of each action. */
function actionsOf(request) {
  const name = request?.execute ?? request?.["exec-oob"];
  const given = request?.arguments;
  if (typeof name !== "string" || typeof given !== "object" || !given) return [];
  if (name !== "transaction") return [[name, given]];
  const actions = Array.isArray(given.actions) ? given.actions : [];
  return actions.filter((action) => action?.data && typeof action.data === "object").map(({ type, data }) => [type, data]);
}

function overlaps(runs, start, stop) {
  for (let i = 0, place = 0; i < runs.length; i += 2) {
    place += runs[i] + runs[i + 1];
    if (place > start) return place - runs[i + 1] < stop;
  }
  return false;
}

/** Whether a backup is of the disk that a bitmap is on. */
function isOf(backup, lane) {
  const { drive } = backup.lane;
  return backup.about.node === lane.node || (Boolean(drive) && drive === lane.drive);
}

// One lane over time: the changes of a disk, a bitmap or a successor, and those of a job.

const CACHED_STATES = 64;
const CACHED_EDGES = 2_000_000;

/** The last of a lane's records that is not after a moment, as an index; -1 if there is none. */
function lastRecord(records, moment) {
  return countWhile(records, (record) => record.moment <= moment) - 1;
}

/** The stretches of moments whose records have the same `value`, by its `key`: `{from, to, value}`; `to` is null for the last one. */
function stretchesOf(records, value, key = (each) => each) {
  const stretches = [];
  for (const record of records) {
    const found = record.exists ? value(record) : null;
    const last = stretches.at(-1);
    if (last && (last.value && key(last.value)) === (found && key(found))) continue;
    if (last) last.to = record.moment;
    stretches.push({ from: record.moment, to: null, value: found });
  }
  return stretches.filter((stretch) => stretch.value !== null);
}

/** The cells of a disk, a bitmap or a successor. */
class CellTrack {
  constructor(lane) {
    this.lane = lane;
    this.records = [];
    this.greatest = this.cellsOf(lane.size);
    this.cache = new Map();
    this.load = [];
  }

  cellsOf(size) {
    return Math.ceil(size / this.lane.cell);
  }

  /** Note what is different after a moment. A record that starts anew does not build on the one before. */
  add(moment, change) {
    const index = this.records.length;
    const before = this.records[index - 1];
    const born = change !== null && !before?.exists;
    const { count, flags, size } = born ? { count: 0, flags: [], size: this.lane.size } : before ?? {};
    const anew = !change || born || change.heat;
    const record = {
      moment,
      exists: change !== null,
      anew,
      base: anew ? index : before.base,
      edges: change ? edgesOfChange(change["+"], change["-"]) : NO_EDGES,
      heat: change?.heat ?? null,
      count: change?.count ?? (change ? count : 0),
      flags: change?.flags ?? (change ? flags : []),
      size: change?.size ?? size ?? this.lane.size,
    };
    this.records.push(record);
    this.greatest = Math.max(this.greatest, this.cellsOf(record.size));
    this.load.push((this.load[index - 1] ?? 0) + record.edges.length);
  }

  /** The record that holds after a moment, null if the lane does not exist then. */
  record(moment) {
    const record = this.records[lastRecord(this.records, moment)];
    return record?.exists ? record : null;
  }

  /** The edges after a moment; with heat below them if `heat` is not null. */
  at(moment) {
    const index = lastRecord(this.records, moment);
    const record = this.records[index];
    if (!record?.exists) return null;
    return { ...record, edges: this.edges(index), heat: this.records[record.base].heat, cells: this.cellsOf(record.size) };
  }

  /** The sum of all edges since the lane began anew, from the nearest state in the cache, forwards or backwards. */
  edges(index) {
    const { base } = this.records[index];
    let from = base;
    let state = this.records[base].edges;
    for (const [known, edges] of this.cache) {
      if (known < base || this.records[known]?.base !== base) continue;
      if (Math.abs(this.load[known] - this.load[index]) > Math.abs(this.load[from] - this.load[index])) continue;
      from = known;
      state = edges;
    }
    const [low, high] = from < index ? [from, index] : [index, from];
    const changes = this.records.slice(low + 1, high + 1).map((record) => record.edges);
    state = mergedAll(state, changes, from < index ? 1 : -1);
    this.remember(index, state);
    return state;
  }

  remember(index, state) {
    this.cache.delete(index);
    this.cache.set(index, state);
    let total = [...this.cache.values()].reduce((sum, edges) => sum + edges.length, 0);
    for (const [old, edges] of this.cache) {
      if (old === index || (this.cache.size <= CACHED_STATES && total <= CACHED_EDGES)) break;
      this.cache.delete(old);
      total -= edges.length;
    }
  }

  /** The moment of the last change of a cell that is not after `moment`, null if there is none or it is not known. */
  since(cell, moment) {
    for (let index = lastRecord(this.records, moment); index >= 0; index -= 1) {
      const record = this.records[index];
      if (levelAt(record.edges, cell)) return record.moment;
      if (record.heat) return null;
      if (record.anew) return record.moment;
    }
    return null;
  }

  /** What becomes dirty and clean at exactly this moment, null if nothing does. */
  changeAt(moment) {
    const index = lastRecord(this.records, moment);
    const record = this.records[index];
    return record?.exists && record.moment === moment && record.edges.length ? record.edges : null;
  }

  /** The stretches of moments with the same flags. */
  flagged() {
    return stretchesOf(this.records, ({ flags }) => flags, (flags) => flags.join());
  }

  /** The stretches of moments at which as much is dirty, for runs without bits. */
  levels() {
    return stretchesOf(this.records, (record) => levelOf(record, this.lane), ({ long }) => long);
  }

  /** How full each of `rows` parts of the lane is in each column of a picture, as `fullness` has it, at its fullest.
   *
   * Column i shows the moments after `until[i - 1]` (`before` for the first) up to `until[i]`, or what holds after
   * `until[i]` if no moment is its own. Where the lane does not exist the value is -1, and so it is behind `until`.
   */
  picture(before, until, columns, rows) {
    const shades = new Float32Array(columns * rows).fill(-1);
    const sizes = partSizes(0, this.greatest, rows);
    const bins = new Float64Array(rows);
    const peak = new Float64Array(rows);
    const shown = new Float64Array(rows);
    const values = new Float32Array(rows);
    let next = 0;
    let seen = false;
    const due = () => this.records[next]?.moment ?? Infinity;
    const play = () => this.fold(this.records[next++], bins);
    const look = () => {
      if (!this.records[next - 1]?.exists) return;
      for (let row = 0; row < rows; row += 1) peak[row] = seen ? Math.max(peak[row], bins[row]) : bins[row];
      seen = true;
    };
    while (due() <= before) play();
    for (let column = 0, past = before; column < until.length; past = until[column++]) {
      seen = false;
      if (until[column] === past || due() > past + 1) look();
      for (; due() <= until[column]; look()) play();
      if (!seen) continue;
      for (let row = 0; row < rows; row += 1) {
        if (shown[row] !== peak[row]) values[row] = fullness((shown[row] = peak[row]), sizes[row]);
        shades[row * columns + column] = values[row];
      }
    }
    return shades;
  }

  /** Play a record on how many cells of each part are dirty. */
  fold(record, bins) {
    if (record.anew) bins.fill(0);
    if (record.heat) spreadHeat(record.heat, this.cellsOf(record.size), 0, this.greatest, bins);
    spread(record.edges, 0, this.greatest, bins);
  }

  /** The state after a moment for tests: exact runs, or a number for each part. */
  stateAt(moment) {
    const state = this.at(moment);
    if (!state) return null;
    const { count, flags, size, heat } = state;
    return { count, flags, size, runs: heat ? null : runsOf(state.edges), heat };
  }
}

/** How much is dirty where only the number of cells is known, and not their places: a few words, and all of them. */
function levelOf({ count, size }, { kind, cell }) {
  const word = wordOf(kind);
  if (!count) return { dirty: false, short: emptyWord(kind), long: emptyWord(kind) };
  const cells = Math.ceil(size / cell);
  const short = cells ? percent(count, cells) : plural(count, "cell");
  return { dirty: true, short, long: `${short} ${word}${count === cells ? "" : ", it is not known where"}` };
}

/** A flag of a bitmap in the words of the replies of QMP. */
function flagWord(flag) {
  return flag === "disabled" ? "not recording" : flag;
}

/** What a cell of a lane is if its bit is set. */
function wordOf(kind) {
  return kind === "disk" ? "written" : "dirty";
}

/** What a cell is otherwise. */
function emptyWord(kind) {
  return kind === "disk" ? "not written" : "clean";
}

/** Bytes of so many cells; the last one may be a part of one. A size of 0 is not known. */
function bytesOf({ count, size }, cell) {
  return size ? Math.min(count * cell, size) : count * cell;
}

/** A job: its status and progress, and how each of its lives ended. */
class JobTrack {
  constructor(lane) {
    this.lane = lane;
    this.records = [];
    this.lives = [];
  }

  add(moment, change) {
    const before = this.records.at(-1);
    const born = change !== null && !before?.exists;
    const known = born || !before ? { status: "created", done: 0, total: 0, error: null } : before;
    const record = { ...known, ...change, moment, exists: change !== null };
    this.records.push(record);
    if (born) this.lives.push({ from: moment, to: null, end: null, error: null, aborted: false });
    const life = this.lives.at(-1);
    if (!life) return;
    if (record.status === "aborting") life.aborted = true;
    if (change?.error) life.error = change.error;
    if (!record.exists) life.to = moment;
  }

  record(moment) {
    const record = this.records[lastRecord(this.records, moment)];
    return record?.exists ? record : null;
  }

  /** The stretches of moments with the same status. */
  stretches() {
    return stretchesOf(this.records, ({ status }) => status);
  }

  /** An event said how the last life ended. */
  ended(end, error, moment) {
    const life = this.lives.at(-1);
    if (!life || life.end) return;
    life.eventMoment = moment;
    life.end = end;
    life.error = error ?? life.error;
  }

  stateAt(moment) {
    const record = this.record(moment);
    return record && { status: record.status, done: record.done, total: record.total, error: record.error };
  }
}

/** How a life of a job ended: `{end, sign, text}`, with end `completed`, `failed`, `cancelled` or null. */
function outcome(life) {
  const cancelled = life.end === "cancelled" || (!life.end && life.aborted && /^$|cancell?ed/i.test(life.error ?? ""));
  if (cancelled) return { end: "cancelled", sign: "⊘", text: "cancelled" };
  if (life.error || life.aborted) return { end: "failed", sign: "✖", text: `failed: ${life.error ?? "aborted"}` };
  if (life.end === "completed") return { end: "completed", sign: "✔", text: "completed" };
  return { end: null, sign: "", text: life.to === null ? "" : "gone" };
}

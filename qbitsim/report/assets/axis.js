// Where the moments of the runs lie on the x axis. A place is a moment of all runs at once.
//
// By moment, a unit is a moment, and two runs are shifted so that their first difference is at the same place. By time, a
// unit is a nanosecond of virtual time since the run's beginning.

class Axis {
  constructor(runs, difference, byTime) {
    this.runs = runs;
    const [one, other] = difference?.moments ?? [0, 0];
    this.shifts = [Math.max(0, other - one), Math.max(0, one - other)];
    this.byTime = byTime && this.hasTime;
  }

  get hasTime() {
    return this.runs.some((run) => run.duration > 0);
  }

  /** The last place. */
  get last() {
    return Math.max(...this.runs.map((run, i) => run.last + this.shifts[i]));
  }

  /** Units in all. */
  get total() {
    if (!this.byTime) return this.last + 1;
    return Math.max(...this.runs.map((run) => run.duration)) * 1.02;
  }

  /** The moment of run `i` at a place: its first before it has begun, its last when it has ended. */
  momentAt(i, place) {
    return clamp(place - this.shifts[i], 0, this.runs[i].last);
  }

  placeOf(i, moment) {
    return moment + this.shifts[i];
  }

  /** The unit at which a moment begins. */
  start(i, moment) {
    if (!this.byTime) return moment + this.shifts[i];
    const { moments } = this.runs[i];
    return moment < moments.length ? moments[moment].at - moments[0].at : this.total;
  }

  /** The unit at which the next moment begins. */
  end(i, moment) {
    return this.start(i, moment + 1);
  }

  /** The last moment that begins at a unit or before it; -1 before the run begins. */
  at(i, unit) {
    const run = this.runs[i];
    if (!this.byTime) return clamp(Math.floor(unit) - this.shifts[i], -1, run.last);
    const start = run.moments[0]?.at ?? 0;
    return countWhile(run.moments, (moment) => moment.at - start <= unit) - 1;
  }

  /** The first moment that begins at a unit or after it. */
  next(i, unit) {
    const run = this.runs[i];
    if (!this.byTime) return clamp(Math.ceil(unit) - this.shifts[i], 0, run.length);
    const start = run.moments[0]?.at ?? 0;
    return countWhile(run.moments, (moment) => moment.at - start < unit);
  }

  /** The unit at which a run is over. */
  over(i) {
    return this.byTime ? this.total : this.runs[i].length + this.shifts[i];
  }
}

/** The part of the axis that is shown, from unit `from` to unit `to`. */
class View {
  constructor(axis) {
    this.axis = axis;
    this.whole();
  }

  whole() {
    this.from = 0;
    this.to = this.axis.total;
  }

  get span() {
    return this.to - this.from;
  }

  get isWhole() {
    return this.span >= this.axis.total;
  }

  /** A span that can be shown. */
  fitting(span) {
    return clamp(span, Math.min(this.axis.total, this.axis.byTime ? 1000 : 6), this.axis.total);
  }

  set(from, to) {
    const span = this.fitting(to - from);
    this.from = clamp(from, 0, this.axis.total - span);
    this.to = this.from + span;
  }

  /** Show `factor` times as much, with `unit` staying where it is. */
  zoom(factor, unit) {
    const before = (unit - this.from) / this.span;
    const span = this.fitting(this.span * factor);
    this.set(unit - before * span, unit - before * span + span);
  }

  pan(units) {
    this.set(this.from + units, this.to + units);
  }

  /** Move as little as is needed to show from `start` to `end`. */
  reveal(start, end) {
    if (start < this.from) this.pan(start - this.from - this.span * 0.1);
    else if (end > this.to) this.pan(end - this.to + this.span * 0.1);
  }
}

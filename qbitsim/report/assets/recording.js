// One run: its lanes and moments, how they belong together, and the state after any moment.

/** The lane for moments that belong to no lane: what was said on the monitors. */
const QMP_LANE = -1;

const FAILURES = new Set(["error", "fault"]);
const CELL_KINDS = new Set(["disk", "bitmap", "successor"]);

class Recording {
  constructor(history) {
    this.title = history.title;
    this.profile = history.profile;
    this.epoch = history.epoch;
    this.notes = history.notes ?? [];
    this.bits = history.bits !== false;
    this.lanes = [];
    this.moments = [];
    this.tracks = [];
    this.places = [];
    this.replies = new Map();
    this.counts = {};
    this.append(history.lanes, history.moments);
  }

  get length() {
    return this.moments.length;
  }

  get last() {
    return Math.max(0, this.moments.length - 1);
  }

  /** Nanoseconds from the first moment to the last. */
  get duration() {
    return this.length ? this.moments.at(-1).at - this.moments[0].at : 0;
  }

  /** Add what has happened since: new lanes, and moments that may change old and new ones. */
  append(lanes, moments) {
    for (const lane of lanes) {
      this.lanes.push(lane);
      this.tracks.push(lane.kind === "job" ? new JobTrack(lane) : new CellTrack(lane));
    }
    for (const moment of moments) this.add(moment);
  }

  add(moment) {
    const index = this.moments.length;
    this.moments.push(moment);
    for (const [lane, change] of Object.entries(moment.changes ?? {})) this.tracks[lane].add(index, change);
    if (moment.of !== undefined) this.replies.set(moment.of, index);
    this.counts[moment.kind] = (this.counts[moment.kind] ?? 0) + 1;
    if (moment.kind === "event") this.hear(moment);
    this.places.push(this.place(moment));
  }

  /** Learn from an event how a job ended. */
  hear(moment) {
    const end = { BLOCK_JOB_CANCELLED: "cancelled", BLOCK_JOB_COMPLETED: "completed" }[moment.text];
    const details = moment.data?.data;
    const lane = end && this.jobLane(details?.device);
    if (lane >= 0) this.tracks[lane].ended(details.error ? "failed" : end, details.error ?? null);
  }

  /** The lane of the job that had the name last; -1 if there is none. */
  jobLane(name) {
    let found = -1;
    this.lanes.forEach((lane, index) => {
      if (lane.kind !== "job" || lane.name !== name || !this.tracks[index].lives.length) return;
      if (found < 0 || this.tracks[index].records.at(-1).moment >= this.tracks[found].records.at(-1).moment) found = index;
    });
    return found;
  }

  /** The lane that a moment's mark is drawn on. */
  place(moment) {
    if (moment.kind === "event") return this.placeOf(moment.data?.data ?? {});
    if (moment.kind !== "write" && moment.kind !== "fault") return QMP_LANE;
    const named = this.placeOf(moment.data ?? {});
    if (named !== QMP_LANE) return named;
    const changed = Object.keys(moment.changes ?? {}).map(Number);
    return changed.find((lane) => this.lanes[lane].kind === "disk") ?? QMP_LANE;
  }

  /** The lane of the job or the disk that the members of a message name. */
  placeOf(details) {
    const names = [details.id, details.device, details.job, details.drive, details["node-name"], details.node];
    for (const name of names) {
      if (typeof name !== "string" || !name) continue;
      const job = this.jobLane(name);
      if (job >= 0) return job;
      const disk = this.lanes.findIndex((lane) => lane.kind === "disk" && (lane.name === name || lane.node === name));
      if (disk >= 0) return disk;
    }
    return QMP_LANE;
  }

  /** Whether a moment must catch the eye. */
  isFailure(index) {
    const moment = this.moments[index];
    return Boolean(moment && (moment.failed || FAILURES.has(moment.kind)));
  }

  /** The state after a moment, a member for each lane; null where the lane does not exist. */
  at(moment) {
    return this.tracks.map((track) => track.tell(moment));
  }

  /** Lanes as they are shown: drives in order, each with its disk, its bitmaps (successors behind them) and its jobs. */
  groups() {
    const groups = new Map();
    this.lanes.forEach((lane, index) => {
      const name = this.groupOf(lane);
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(index);
    });
    const rank = (index) => {
      const lane = this.lanes[index];
      const kind = ["disk", "bitmap", "successor", "job"].indexOf(lane.kind);
      return kind === 2 ? [1, lane.of, 1, index] : [kind, index, 0, index];
    };
    const before = (one, other) => rank(one).map((part, i) => part - rank(other)[i]).find(Boolean) ?? 0;
    return [...groups].map(([name, lanes]) => ({ name, lanes: lanes.sort(before) }));
  }

  groupOf(lane) {
    if (lane.kind === "disk") return lane.name;
    const disk = this.lanes.find(
      (other) => other.kind === "disk" && ((lane.drive && other.name === lane.drive) || (lane.node && other.node === lane.node)),
    );
    return disk?.name ?? lane.drive ?? lane.node ?? "";
  }

  /** What people call a lane. */
  nameOf(index) {
    if (index === QMP_LANE) return "QMP";
    const lane = this.lanes[index];
    if (lane.kind === "successor") return `successor of ${lane.name ?? this.nameOf(lane.of)}`;
    return lane.name ?? (lane.kind === "bitmap" ? "bitmap without a name" : lane.kind);
  }

  /** One line that says where and what a moment is. */
  describe(index) {
    const moment = this.moments[index];
    if (!moment) return "nothing was recorded";
    const failed = this.isFailure(index) && moment.kind !== "error" ? " (failed)" : "";
    return `moment ${index} of ${this.last}, ${timeText(moment.at)}, ${moment.kind}: ${moment.text}${failed}`;
  }
}

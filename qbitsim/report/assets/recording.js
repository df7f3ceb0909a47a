// One run: its lanes and moments, how they belong together, and the state after any moment.

/** The lane for moments that belong to no lane: messages on the monitors. */
const QMP_LANE = -1;

const FAILURES = new Set(["error", "fault"]);
const CELL_KINDS = new Set(["disk", "bitmap", "successor"]);

/** What a thing is called that a moment names, where there are several machines. */
function calledIn({ machine }, name) {
  return machine && typeof name === "string" && name ? `${machine} ${name}` : name;
}

class Recording {
  constructor(history) {
    this.title = history.title;
    this.profile = history.profile;
    this.epoch = history.epoch ?? null;
    this.notes = history.notes ?? [];
    this.bits = history.bits !== false;
    this.lanes = [];
    this.moments = [];
    this.tracks = [];
    this.places = [];
    this.replies = new Map();
    this.devices = new Map();
    this.early = new Map();
    this.jobs = new Map();
    this.disks = [];
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

  /** When a moment was, in virtual time; no text if times are not known. */
  timeOf(index) {
    return this.epoch === null ? "" : timeText(this.moments[index]?.at ?? 0);
  }

  /** When a moment was on a clock on the wall; no text if that is not known. */
  dateOf(index) {
    if (this.epoch === null) return "";
    const date = new Date(this.epoch * 1000 + this.moments[index].at / 1e6);
    return Number.isNaN(date.getTime()) ? "" : date.toISOString().replace("T", " ").replace("Z", " UTC");
  }

  /** Add what has happened since: new lanes, and moments that may change old and new ones. */
  append(lanes, moments) {
    for (const lane of lanes) this.addLane(lane);
    for (const moment of moments) this.add(moment);
  }

  addLane(lane) {
    const index = this.lanes.length;
    this.lanes.push(lane);
    this.tracks.push(lane.kind === "job" ? new JobTrack(lane) : new CellTrack(lane));
    if (lane.kind === "disk") this.disks.push(index);
    if (lane.kind === "job") this.jobs.set(lane.name, [...(this.jobs.get(lane.name) ?? []), index]);
    this.grouped = null;
  }

  add(moment) {
    const index = this.moments.length;
    this.moments.push(moment);
    for (const [lane, change] of Object.entries(moment.changes ?? {})) this.change(index, Number(lane), change);
    if (moment.of !== undefined) this.replies.set(moment.of, index);
    this.counts[moment.kind] = (this.counts[moment.kind] ?? 0) + 1;
    if (moment.kind === "event") this.hear(moment);
    if (moment.kind === "request") this.learn(moment.data, moment);
    this.places.push(this.place(moment));
  }

  /** Note a change of a lane; a job that comes into being takes over the events that spoke of it before. */
  change(index, lane, change) {
    this.tracks[lane].add(index, change);
    const { kind, name } = this.lanes[lane];
    if (kind !== "job" || !this.early.has(name)) return;
    for (const event of this.early.get(name)) this.places[event] = lane;
    this.early.delete(name);
  }

  /** Learn from a request, or the actions in it, which device a job is of. */
  learn(value, moment) {
    if (!value || typeof value !== "object") return;
    if (typeof value["job-id"] === "string") {
      const [job, device] = [calledIn(moment, value["job-id"]), calledIn(moment, value.device)];
      if (this.devices.get(job) !== device) this.grouped = null;
      this.devices.set(job, device);
    }
    for (const member of Object.values(value)) this.learn(member, moment);
  }

  /** Learn from an event how a job ended. */
  hear(moment) {
    const end = { BLOCK_JOB_CANCELLED: "cancelled", BLOCK_JOB_COMPLETED: "completed" }[moment.text];
    const details = moment.data?.data;
    const lane = end && this.jobLane(calledIn(moment, details?.device));
    if (lane >= 0) this.tracks[lane].ended(details.error ? "failed" : end, details.error ?? null, this.moments.length - 1);
  }

  /** The lane of the job that had the name last; -1 if there is none. */
  jobLane(name) {
    const latest = (index) => this.tracks[index].records.at(-1)?.moment ?? -1;
    const lanes = (this.jobs.get(name) ?? []).filter((index) => latest(index) >= 0);
    return lanes.reduce((found, index) => (found >= 0 && latest(found) > latest(index) ? found : index), -1);
  }

  /** The lane that a moment's mark is drawn on. */
  place(moment) {
    if (moment.kind === "event") return this.placeOfEvent(moment.data?.data ?? {}, moment);
    if (moment.kind !== "write" && moment.kind !== "fault") return QMP_LANE;
    const named = this.placeOf(moment.data ?? {}, moment);
    if (named !== QMP_LANE) return named;
    const changed = Object.keys(moment.changes ?? {}).map(Number);
    return changed.find((lane) => this.lanes[lane].kind === "disk") ?? QMP_LANE;
  }

  placeOfEvent(details, moment) {
    const place = this.placeOf(details, moment);
    if (place === QMP_LANE && details.id) {
      const job = calledIn(moment, details.id);
      this.early.set(job, [...(this.early.get(job) ?? []), this.places.length]);
    }
    return place;
  }

  /** The lane of the job or the disk that the members of a message name. */
  placeOf(details, moment) {
    const names = [details.id, details.device, details.job, details.drive, details["node-name"], details.node];
    for (const given of names) {
      if (typeof given !== "string" || !given) continue;
      const name = calledIn(moment, given);
      const job = this.jobLane(name);
      if (job >= 0) return job;
      const disk = this.diskOf([name]);
      if (disk !== undefined) return disk;
    }
    return QMP_LANE;
  }

  /** Whether a moment must catch the eye. */
  isFailure(index) {
    const moment = this.moments[index];
    return Boolean(moment && (moment.failed || moment.expected || FAILURES.has(moment.kind)));
  }

  /** Whether a moment has failed and its kind does not say so. */
  saysFailed(index) {
    const { failed, kind } = this.moments[index];
    return Boolean(failed) && !FAILURES.has(kind);
  }

  /** The state after a moment, a member for each lane; null where the lane does not exist. */
  at(moment) {
    return this.tracks.map((track) => track.stateAt(moment));
  }

  /** Lanes as they are shown, those of internal bitmaps only if wanted: drives in order, each with its disk, its bitmaps (successors behind them) and its jobs. */
  groups(internal) {
    if (this.grouped?.internal !== internal) this.grouped = { internal, groups: this.makeGroups(internal) };
    return this.grouped.groups;
  }

  makeGroups(internal) {
    const groups = new Map();
    this.lanes.forEach((lane, index) => {
      if (!internal && this.isInternal(index)) return;
      const name = this.groupOf(lane);
      groups.set(name, [...(groups.get(name) ?? []), index]);
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
    const names = lane.kind === "job" ? [lane.drive, this.devices.get(lane.name), lane.name] : [lane.drive, lane.node];
    return this.lanes[this.diskOf(names)]?.name ?? lane.drive ?? lane.node ?? "";
  }

  /** The lane of the disk that has one of the names, or whose node has. */
  diskOf(names) {
    const isNamed = ({ name, node }) => names.some((wanted) => wanted && (wanted === name || wanted === node));
    return this.disks.find((index) => isNamed(this.lanes[index]));
  }

  /** Whether a lane is of what a job keeps for itself: a bitmap without a name. */
  isInternal(index) {
    const lane = this.lanes[index];
    return Boolean(lane.internal) || (lane.kind === "successor" && this.isInternal(lane.of));
  }

  /** How the jobs have ended: `{lane, moment, end, sign, text}`, in the order of their ends. */
  outcomes() {
    const ends = this.lanes.flatMap((lane, index) => {
      if (lane.kind !== "job") return [];
      return this.tracks[index].lives.map((life) => ({ lane, moment: life.eventMoment ?? life.to ?? life.from, ...outcome(life) }));
    });
    return ends.filter(({ end }) => end).sort((one, other) => one.moment - other.moment);
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
    const failed = this.saysFailed(index) ? " (failed)" : "";
    const when = [`moment ${index} of ${this.last}`, this.timeOf(index), moment.kind].filter(Boolean).join(", ");
    return `${when}: ${moment.text}${failed}`;
  }
}

// The pointer on a timeline: it scrubs, pans, zooms, and explains what it is on.

/** Which lane an event hit, at which x of its canvas, and how far down in it. */
function hit(timeline, event) {
  const box = timeline.ruler.getBoundingClientRect();
  const row = event.target.closest?.(".row");
  const canvas = row?.querySelector("canvas");
  const inside = canvas?.getBoundingClientRect();
  const share = inside ? clamp((event.clientY - inside.top) / inside.height, 0, 0.9999) : 0;
  return { x: event.clientX - box.left, width: box.width, canvas, lane: Number(row?.dataset.lane ?? QMP_LANE), share };
}

function unitAt(timeline, x, width, view = timeline.app.view) {
  return view.from + (x / width) * view.span;
}

function scrubTo(timeline, x, width) {
  const { app, run } = timeline;
  const moment = app.axis.at(run, unitAt(timeline, x, width));
  app.goto(app.axis.placeOf(run, clamp(moment, 0, timeline.recording.last)), { reveal: false });
}

/** Move the window of the overview to the pointer. */
function slideTo(timeline, x, width) {
  const { app } = timeline;
  const unit = (x / width) * app.axis.total;
  app.setView(() => app.view.set(unit - app.view.span / 2, unit + app.view.span / 2));
}

/** A finger or a button that is down; two of them pinch. */
class Gesture {
  constructor(timeline) {
    this.timeline = timeline;
    this.pointers = new Map();
  }

  down(event) {
    const { x, width, canvas } = hit(this.timeline, event);
    if (!canvas || x < 0 || event.button > 0) return;
    this.pointers.set(event.pointerId, x);
    canvas.setPointerCapture(event.pointerId);
    this.canvas = canvas;
    this.moved = 0;
    if (canvas === this.timeline.overview) slideTo(this.timeline, x, width);
    else if (this.scrubs) scrubTo(this.timeline, x, width);
  }

  /** Dragging scrubs on the ruler, and on the lanes while all of the run is shown; else it pans. */
  get scrubs() {
    return this.canvas === this.timeline.ruler || this.timeline.app.view.isWhole;
  }

  move(event) {
    if (!this.pointers.has(event.pointerId)) return;
    const { x, width } = hit(this.timeline, event);
    const before = this.pointers.get(event.pointerId);
    const { app } = this.timeline;
    this.moved += Math.abs(x - before);
    if (this.pointers.size > 1) this.pinch(event.pointerId, x, width);
    else if (this.canvas === this.timeline.overview) slideTo(this.timeline, x, width);
    else if (this.scrubs) scrubTo(this.timeline, x, width);
    else app.setView(() => app.view.pan(((before - x) / width) * app.view.span));
    this.pointers.set(event.pointerId, x);
  }

  pinch(moved, x, width) {
    const [other] = [...this.pointers].filter(([id]) => id !== moved).map(([, at]) => at);
    const factor = Math.max(8, Math.abs(this.pointers.get(moved) - other)) / Math.max(8, Math.abs(x - other));
    const { app } = this.timeline;
    app.setView(() => app.view.zoom(factor, unitAt(this.timeline, other, width)));
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { x, width } = hit(this.timeline, event);
    if (event.type === "pointerup" && this.moved < 4 && this.canvas !== this.timeline.overview) scrubTo(this.timeline, x, width);
  }
}

/** The wheel zooms where the pointer is, and pans with shift; zooming out of the whole scrolls the page. */
function onWheel(timeline, event) {
  const { app } = timeline;
  const { x, width } = hit(timeline, event);
  if (x < 0) return;
  const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
  if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
    event.preventDefault();
    app.setView(() => app.view.pan((sideways / width) * app.view.span));
  } else if (event.deltaY < 0 || !app.view.isWhole) {
    event.preventDefault();
    app.setView(() => app.view.zoom(Math.exp(clamp(event.deltaY, -100, 100) / 300), unitAt(timeline, x, width)));
  }
}

function listenForPointer(timeline) {
  const { body, app, run } = timeline;
  const gesture = new Gesture(timeline);
  const explain = (event) => {
    const { x, width, canvas, lane, share } = hit(timeline, event);
    const moment = app.axis.at(run, unitAt(timeline, x, width));
    const onLanes = canvas && x >= 0 && x < width && moment >= 0 && canvas !== timeline.overview;
    app.tip.show(onLanes ? timeline.explain(moment, lane, share) : [], event.clientX, event.clientY);
  };
  body.addEventListener("pointerdown", (event) => gesture.down(event));
  body.addEventListener("pointermove", (event) => {
    gesture.move(event);
    if (event.pointerType === "mouse") explain(event);
  });
  for (const end of ["pointerup", "pointercancel"]) body.addEventListener(end, (event) => gesture.up(event));
  body.addEventListener("pointerleave", () => app.tip.show([]));
  body.addEventListener("wheel", (event) => onWheel(timeline, event), { passive: false });
}

/** What is under the pointer, in words beside it. */
class Tip {
  constructor() {
    this.element = make("div", { class: "tip", hidden: true, "aria-hidden": "true" });
    document.body.append(this.element);
  }

  show(lines, x = 0, y = 0) {
    this.element.hidden = !lines.length;
    if (!lines.length) return;
    this.element.replaceChildren(...lines.map((line) => make("div", {}, line)));
    const { offsetWidth, offsetHeight } = this.element;
    this.element.style.left = `${clamp(x + 14, 4, Math.max(4, innerWidth - offsetWidth - 4))}px`;
    this.element.style.top = `${y + 18 + offsetHeight > innerHeight ? y - offsetHeight - 10 : y + 18}px`;
  }
}

// Colours, patterns and shapes. Colours come from the style sheet; whatever a colour says, a shape or a word says too.

const Paint = {
  table: null,

  /** Forget the colours: the theme has changed, or the page is about to be printed. */
  reset() {
    this.table = null;
  },

  get colours() {
    if (!this.table) {
      const style = getComputedStyle(document.documentElement);
      const list = (name) => style.getPropertyValue(name).trim().split(/\s+/);
      this.table = {
        one: new Proxy({}, { get: (known, name) => (known[name] ??= style.getPropertyValue(`--${name}`).trim()) }),
        ramps: Object.fromEntries(["disk", "bitmap", "successor"].map((kind) => [kind, ramp(list(`--ramp-${kind}`))])),
      };
    }
    return this.table;
  },

  /** A colour of the style sheet. */
  colour(name) {
    return this.colours.one[name];
  },

  /** The colours for how full a part is, as [red, green, blue]: 0 is nothing, 1 to 255 can be told from it. */
  ramp(kind) {
    return this.colours.ramps[kind];
  },

  /** The colour for a fullness from 0 to 1, for a context. */
  shade(kind, value) {
    return `rgb(${this.ramp(kind)[step(value)].join(" ")})`;
  },
};

/** The colour of a ramp for a fullness. */
function step(value) {
  return value > 0 ? 1 + Math.floor(254 * value) : 0;
}

/** An image whose pixels have the fullness that `values` gives, row by row; those below 0 stay clear. */
function shadedImage(kind, values, width, height) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const table = Uint32Array.from(Paint.ramp(kind), ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0);
  for (let i = 0; i < pixels.length; i += 1) if (values[i] >= 0) pixels[i] = table[step(values[i])];
  return image;
}

function parseColour(text) {
  const number = parseInt(text.slice(1), 16);
  return [number >> 16, (number >> 8) & 255, number & 255];
}

/** 256 colours: the first stop for nothing, then evenly from the second stop to the last. */
function ramp(stops) {
  const colours = stops.map(parseColour);
  const table = [colours[0]];
  for (let i = 0; i < 255; i += 1) {
    const place = 1 + (i / 254) * (colours.length - 2);
    const low = Math.min(Math.floor(place), colours.length - 2);
    table.push(colours[low].map((value, part) => Math.round(value + (colours[low + 1][part] - value) * (place - low))));
  }
  return table;
}

/** A canvas made as big as it is on the screen, and its context in pixels of the screen's layout; null if it is hidden. */
function canvasContext(canvas, height) {
  const width = canvas.clientWidth;
  if (!width) return null;
  const scale = document.documentElement.classList.contains("printing") ? 3 : window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return { context, width, height, scale };
}

/** Fill a rectangle with a pattern: `hatch`, `back`, `cross`, `dots`, `bars` or `solid`. */
function fillPattern(context, pattern, x, y, width, height, colour) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 1.2;
  context.beginPath();
  const step = 6;
  const begin = Math.floor((x - height) / step) * step;
  if (pattern === "solid") context.fillRect(x, y, width, height);
  for (let at = begin; at < x + width + height && pattern !== "solid"; at += step) {
    if (pattern === "hatch" || pattern === "cross") lineTo(context, at, y + height, at + height, y);
    if (pattern === "back" || pattern === "cross") lineTo(context, at, y, at + height, y + height);
    if (pattern === "bars") lineTo(context, at + 0.5, y, at + 0.5, y + height);
    if (pattern === "dots") for (let dot = y + 2; dot < y + height; dot += 4) context.fillRect(at, dot, 1.6, 1.6);
  }
  context.stroke();
  context.restore();
}

function lineTo(context, x, y, toX, toY) {
  context.moveTo(x, y);
  context.lineTo(toX, toY);
}

const POLYGONS = {
  request: [[-0.7, -1], [0.9, 0], [-0.7, 1]],
  write: [[-1, -0.8], [1, -0.8], [0, 1]],
  nbd: [[0, -1.15], [1.15, 0], [0, 1.15], [-1.15, 0]],
  fault: [[0.3, -1.3], [-0.9, 0.25], [-0.1, 0.25], [-0.4, 1.3], [0.9, -0.35], [0.1, -0.35]],
};

/** Draw a mark of a kind of moment; a failed one is a crossed square whatever it was, around its own shape. */
function drawMark(context, kind, failed, x, y, size) {
  context.save();
  context.translate(x, y);
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.strokeStyle = Paint.colour("panel");
  context.fillStyle = Paint.colour(failed ? "failure" : `mark-${MARK_COLOURS[kind] ?? "other"}`);
  context.beginPath();
  if (failed && kind !== "fault" && kind !== "write") {
    context.rect(-size, -size, 2 * size, 2 * size);
  } else if (POLYGONS[kind]) {
    POLYGONS[kind].forEach(([px, py]) => context.lineTo(px * size, py * size));
    context.closePath();
  } else if (kind === "event") {
    context.arc(0, 0, size * 0.85, 0, 2 * Math.PI);
  } else {
    context.rect(-size * 0.3, -size * 0.8, size * 0.6, size * 1.6);
  }
  context.stroke();
  context.fill();
  if (failed && kind !== "fault") {
    context.lineWidth = 1.4;
    context.beginPath();
    const arm = size * 0.5;
    lineTo(context, -arm, -arm, arm, arm);
    lineTo(context, -arm, arm, arm, -arm);
    context.stroke();
  }
  context.restore();
}

const MARK_COLOURS = { request: "request", reply: "reply", event: "event", write: "write", nbd: "request", fault: "failure", error: "failure" };

/** Text with a seam in the colour of the ground, so that it can be read on anything. */
function drawText(context, text, x, y, colour, align = "left", font = "11px system-ui, sans-serif") {
  context.font = font;
  context.textAlign = align;
  context.textBaseline = "middle";
  context.lineWidth = 3;
  context.lineJoin = "round";
  context.strokeStyle = Paint.colour("panel");
  context.strokeText(text, x, y);
  context.fillStyle = colour;
  context.fillText(text, x, y);
}

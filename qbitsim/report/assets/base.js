// What all parts of the page use: elements, numbers, sizes and times as text. Text from outside is only ever a text node.

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** An element with attributes, listeners (`onclick`) and children; null, undefined and false leave an attribute out. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Set a text only if it differs, so that nothing is laid out in vain. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** `1234567` as `1,234,567`. */
function grouped(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `3 cells`, `1 cell`. */
function plural(number, noun, many = `${noun}s`) {
  return `${grouped(number)} ${number === 1 ? noun : many}`;
}

/** Bytes in the greatest unit in which they are a whole number: exact. */
function exactSize(bytes) {
  let unit = 0;
  let value = bytes;
  while (value && value % 1024 === 0 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit || bytes !== 1 ? `${grouped(value)} ${UNITS[unit]}` : "1 byte";
}

/** A place in bytes. */
function placeText(bytes) {
  return bytes ? exactSize(bytes) : "0";
}

/** Bytes to about three digits; exact where that is as short. */
function roundSize(bytes) {
  const exact = exactSize(bytes);
  if (bytes < 1024 || exact.length < 9) return exact;
  const unit = Math.min(Math.floor(Math.log2(bytes) / 10), UNITS.length - 1);
  return `${(bytes / 1024 ** unit).toPrecision(3)} ${UNITS[unit]}`;
}

/** A size as people type it, `64k`, `1.5 GiB`; NaN if it is none. */
function parseSize(text) {
  const match = /^\s*(0x[0-9a-f]+|\d+(?:\.\d+)?)\s*([kmgtpe]?)(?:i?b|bytes?)?\s*$/i.exec(text.replaceAll(",", ""));
  if (!match) return NaN;
  return Math.round(Number(match[1]) * 1024 ** "_kmgtpe".indexOf(match[2].toLowerCase() || "_"));
}

/** Nanoseconds as text, exact and without needless zeros. */
function timeText(nanoseconds) {
  if (nanoseconds === 0) return "0 s";
  for (const [unit, size] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) {
    if (Math.abs(nanoseconds) >= size) return `${Number((nanoseconds / size).toFixed(9))} ${unit}`;
  }
  return `${nanoseconds} ns`;
}

/** `part` of `whole` in percent: never 0 % for something and never 100 % for less than all. */
function percent(part, whole) {
  if (!whole) return "";
  const value = (100 * part) / whole;
  if (part > 0 && value < 0.1) return "< 0.1 %";
  if (part < whole && value > 99.9) return "> 99.9 %";
  return `${Number(value.toFixed(1))} %`;
}

/** A part of the page that shows one run. */
class RunPart {
  constructor(app, run) {
    this.app = app;
    this.run = run;
    this.recording = app.runs[run];
  }

  /** The moment at the cursor. */
  get moment() {
    return this.app.axis.momentAt(this.run, this.app.place);
  }
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/** How many of the ascending `values` fulfil `test`, which holds for the first ones only. */
function countWhile(values, test) {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (test(values[middle])) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Call `action` once for all calls before the next frame. */
function oncePerFrame(action) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      action();
    });
  };
}

/** What the browser has stored, for this tab or for later visits; it may refuse to, for a file. */
function stored(name, storage = () => localStorage) {
  try {
    return storage().getItem(name);
  } catch {
    return null;
  }
}

/** Store a text, or forget it if it is null; if the browser refuses, it is known as long as the page is open. */
function store(name, value, storage = () => localStorage) {
  try {
    if (value === null) storage().removeItem(name);
    else storage().setItem(name, value);
  } catch {
    // It is known as long as the page is open.
  }
}

/** What `text`, base64 of deflated JSON, says. */
async function unpack(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return parsed(await new Response(stream).text());
}

/** A whole number that is too great to be a Number: it counts as the nearest one, and is written as it was. */
class Exact extends Number {
  constructor(value, source) {
    super(value);
    this.source = source;
  }

  toJSON() {
    return JSON.rawJSON(this.source);
  }
}

/** What a text of JSON says. Whole numbers keep all their digits if the browser tells them. */
function parsed(text) {
  if (!JSON.rawJSON || !/\d{16}/.test(text)) return JSON.parse(text);
  return JSON.parse(text, (_, value, context) => {
    const great = typeof value === "number" && Math.abs(value) > Number.MAX_SAFE_INTEGER;
    return great && /^-?\d+$/.test(context.source) ? new Exact(value, context.source) : value;
  });
}

// Commands to the live machine, and the token without which it takes none.

const TOKEN = "qbitsim-token";
const ARGUMENT = /([^\s=]+)=("(?:[^"\\]|\\.)*"|\S*)\s*/y;

const ofThisTab = () => sessionStorage;

class Commands {
  constructor() {
    this.token = this.takeToken() ?? stored(TOKEN, ofThisTab);
  }

  /** The token in the address, which is stored for this tab and removed from where others may see it. */
  takeToken() {
    const token = /^#token=([\w-]+)$/.exec(location.hash)?.[1] ?? null;
    if (!token) return null;
    history.replaceState(null, "", location.pathname + location.search);
    this.use(token);
    return token;
  }

  /** Use a token from now on; null forgets the one that was used. */
  use(token) {
    this.token = token;
    store(TOKEN, token, ofThisTab);
  }

  /** What a command returns. Throws an Error in words if it is refused, or cannot be sent. */
  async run(name, given = {}) {
    return this.send(JSON.stringify({ execute: name, arguments: given }));
  }

  /** Whether the server takes the token; true if it does not answer, for then nothing is known against it. */
  async isGood() {
    const response = await fetch("token", { headers: this.authorization }).catch(() => null);
    return !response || response.status !== 401;
  }

  get authorization() {
    return { Authorization: `Bearer ${this.token}` };
  }

  async send(text) {
    const headers = { ...this.authorization, "Content-Type": "application/json" };
    const response = await fetch("command", { method: "POST", headers, body: text }).catch(() => null);
    if (!response) throw new Error("the server does not answer");
    const reply = await response.text().then(parsed).catch(() => null);
    if (reply?.error) throw new Error(reply.error.desc);
    if (!reply || !("return" in reply)) throw new Error("the reply is not one that this page understands");
    return reply.return;
  }
}

/** A line as people type it, `NAME key=value ...` or a JSON object, as the text of a request. */
function requestOf(line) {
  const text = line.trim();
  if (text.startsWith("{")) return text;
  const name = /^\S+\s*/.exec(text)?.[0] ?? "";
  if (!name) throw new Error("write a command, such as query-block");
  const given = [];
  ARGUMENT.lastIndex = name.length;
  while (ARGUMENT.lastIndex < text.length) {
    const from = ARGUMENT.lastIndex;
    const match = ARGUMENT.exec(text);
    if (!match) throw new Error(`'${text.slice(from)}' is not key=value: write NAME key=value ..., or a JSON object`);
    given.push(`${JSON.stringify(match[1])}: ${jsonOf(match[2])}`);
  }
  return `{"execute": ${JSON.stringify(name.trim())}, "arguments": {${given.join(", ")}}}`;
}

/** A value as JSON: as it is if it is JSON (numbers keep all their digits), otherwise as a text. */
function jsonOf(value) {
  try {
    JSON.parse(value);
    return value;
  } catch {
    return JSON.stringify(value);
  }
}

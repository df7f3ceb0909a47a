// A client of QEMU's machine protocol, with nothing but the standard library of Node.js.

import { EventEmitter, once } from "node:events";
import { createConnection } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const PATIENCE = 30_000; // milliseconds

export class QmpError extends Error {
  constructor({ class: errorClass, desc }) {
    super(desc);
    this.errorClass = errorClass;
  }
}

/** A connection. Events are kept from the start, so that none is missed between a command and the wait for its end. */
export class Qmp extends EventEmitter {
  #socket;
  #replies = new Map();
  #number = 0;
  events = [];

  /** Connect to the UNIX socket of a program that has just been started, and leave negotiation mode. */
  static async connect(path) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const socket = createConnection(path);
      try {
        await once(socket, "connect");
        const client = new Qmp(socket);
        await once(client, "greeting", { signal: AbortSignal.timeout(PATIENCE) });
        await client.execute("qmp_capabilities");
        return client;
      } catch (error) {
        if (!["ENOENT", "ECONNREFUSED"].includes(error.code) || Date.now() > deadline) throw error;
        await sleep(20);
      }
    }
  }

  constructor(socket) {
    super();
    this.#socket = socket;
    createInterface({ input: socket })
      .on("line", (line) => this.#receive(JSON.parse(line)))
      .on("error", (error) => this.#end(error))
      .on("close", () => this.#end(new Error("the connection has ended")));
  }

  /** Nobody answers any more. */
  #end(error) {
    for (const { reject } of this.#replies.values()) reject(error);
    this.#replies.clear();
  }

  #receive(message) {
    if (message.QMP) {
      this.emit("greeting", message.QMP);
    } else if (message.event) {
      this.events.push(message);
      this.emit("event", message);
    } else {
      const { resolve, reject } = this.#replies.get(message.id);
      this.#replies.delete(message.id);
      if (message.error) reject(new QmpError(message.error));
      else resolve(message.return);
    }
  }

  /** Run a command; what it returns. Commands may be sent while others are under way. */
  execute(command, args = {}) {
    const id = ++this.#number;
    return new Promise((resolve, reject) => {
      this.#replies.set(id, { resolve, reject });
      this.#socket.write(JSON.stringify({ execute: command, arguments: args, id }) + "\n");
    });
  }

  /** The first event, of those that came and those to come, for which `wanted` holds. */
  async event(wanted) {
    const deadline = AbortSignal.timeout(PATIENCE);
    let found;
    while (!(found = this.events.find(wanted))) await once(this, "event", { signal: deadline });
    return found;
  }
}

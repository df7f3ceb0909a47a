// What happens to the live machine, as the server sends it. A page that nobody sees does not listen; it comes back later.

const TRY_AGAIN = 1000;

/** Reads the feed from a cursor on, and calls `hear`: news(lanes, moments), reload(), ended(), connected(whether). */
class Feed {
  constructor(cursor, hear) {
    this.cursor = cursor;
    this.hear = hear;
    this.source = null;
    this.over = false;
    document.addEventListener("visibilitychange", () => this.turn());
    this.turn();
  }

  /** Listen if the page is seen, and only then. */
  turn() {
    if (document.hidden) this.close();
    else if (!this.over && !this.source) this.open();
  }

  open() {
    const source = new EventSource(`feed?from=${encodeURIComponent(this.cursor)}`);
    this.source = source;
    source.addEventListener("news", ({ data, lastEventId }) => {
      this.cursor = lastEventId;
      const { lanes, moments } = parsed(data);
      this.hear.news(lanes, moments);
    });
    source.addEventListener("reload", ({ lastEventId }) => {
      this.close();
      this.hear.reload(lastEventId);
    });
    source.addEventListener("end", () => {
      this.over = true;
      this.close();
      this.hear.ended();
    });
    source.addEventListener("open", () => this.hear.connected(true));
    source.addEventListener("error", () => this.lost(source));
  }

  /** Try again soon, from where the page is. (The browser would do so too, but not after a refusal, and ever later.) */
  lost(source) {
    if (source !== this.source) return;
    this.hear.connected(false);
    this.close();
    setTimeout(() => this.turn(), TRY_AGAIN);
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  /** Go on from another cursor. */
  follow(cursor) {
    this.close();
    this.cursor = cursor;
    this.turn();
  }
}

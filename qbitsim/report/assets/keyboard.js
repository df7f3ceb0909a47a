// The keys of the page. They do nothing while something is typed, and none is taken from the browser.

function keysOf(app) {
  const seek = (step, test) => () => app.seek(step, test);
  const kind = (name) => (run, moment) => run.moments[moment].kind === name;
  const failure = (run, moment) => run.isFailure(moment);
  const go = (by) => () => app.goto(app.place + by);
  const page = () => Math.max(1, Math.round(app.axis.last / 20));
  return {
    ArrowLeft: go(-1), ArrowRight: go(1), "shift ArrowLeft": go(-10), "shift ArrowRight": go(10),
    PageUp: () => go(-page())(), PageDown: () => go(page())(), Home: () => app.goto(0), End: () => app.goto(app.axis.last),
    e: seek(1, kind("event")), E: seek(-1, kind("event")), r: seek(1, kind("request")), R: seek(-1, kind("request")),
    f: seek(1, failure), F: seek(-1, failure), d: () => app.seekDifference(), t: () => app.axis.hasTime && app.turnAxis(),
    "+": () => app.zoom(0.5), "=": () => app.zoom(0.5), "-": () => app.zoom(2), 0: () => app.setView(() => app.view.whole()),
    " ": () => app.player.toggle(), "/": () => app.conversations[0].search.focus(), "?": () => app.header.help.showModal(),
    Escape: () => app.player.stop(),
  };
}

function listenForKeys(app) {
  const keys = keysOf(app);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || app.header.help.open) return;
    if (event.target.closest("input, textarea, select")) return;
    if ((event.key === " " || event.key === "Enter") && event.target.closest("button, a, summary")) return;
    const name = event.shiftKey && event.key.startsWith("Arrow") ? `shift ${event.key}` : event.key;
    const slides = event.target.closest("[role=slider]") && { ArrowUp: "ArrowRight", ArrowDown: "ArrowLeft" }[event.key];
    const action = Object.hasOwn(keys, slides || name) ? keys[slides || name] : null;
    if (!action) return;
    event.preventDefault();
    action();
  });
}

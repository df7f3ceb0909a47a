// Unpacks the data, shows it, and offers `window.qbitsim` to tests and to the live page.
//
// ready: a promise of this object; runs[i]: at(moment), why(lane, cell, moment), append(lanes, moments) and more; goto(moment): of the first run;
// controls: an empty element for the controls of a live machine, hidden until used; live: what the page knows of it.

async function begin() {
  const payload = await unpack(document.getElementById("data").textContent.trim());
  const app = new App(payload);
  listenForKeys(app);
  app.draw();
  app.show();
  const offered = {
    app,
    runs: app.runs.map((_, run) => ({
      get recording() {
        return app.runs[run];
      },
      at: (moment) => app.runs[run].at(moment),
      why: (lane, cell, moment) => whyOf(app.runs[run], lane, cell, moment),
      append: (lanes, moments) => app.append(run, lanes, moments),
    })),
    goto: (moment) => app.gotoMoment(0, moment),
    get moment() {
      return app.axis.momentAt(0, app.place);
    },
    live: payload.live ?? null,
    controls: document.getElementById("controls"),
  };
  Object.defineProperties(window.qbitsim, Object.getOwnPropertyDescriptors(offered));
  if (payload.live) window.qbitsim.feed = new Live(app, payload.live).feed;
  document.documentElement.classList.add("ready");
  return window.qbitsim;
}

window.qbitsim = {};
window.qbitsim.ready = begin();
window.qbitsim.ready.catch((error) => {
  document.getElementById("banners").append(make("p", { class: "banner" }, `The page cannot be shown: ${error.message}`));
});

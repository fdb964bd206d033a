// The live stream of a page: <body data-live-topics="tasks,task:12" data-live-after="<event id>">.
//
// One EventSource while the page is visible; a hidden tab closes it (a browser has six connections per server) and
// comes back after the last event it had. Parts arrive as out-of-band fragments for htmx; what only some pages
// understand is passed on as events of the document: live:log, live:new, live:changed, live:reload, live:state.
// Without a stream, live:poll and live:changed come every 5 s, and parts with data-poll-url are fetched again.
(() => {
  const FIRST_BEAT_MS = 10000; // a proxy that holds the stream back lets nothing through
  const SILENCE_MS = 40000; // the server says something every 15 s
  const RETRY_MS = 500;
  const MAX_RETRY_MS = 15000;
  const TRIES_UNTIL_OFFLINE = 3;
  const POLL_MS = 5000;
  const PATIENCE_MS = 1000; // a quick reconnect is not worth a word
  const RELOAD_PAUSE_MS = 10000;
  const WORDS = { live: "Live", connecting: "Connecting…", offline: "Offline since " };

  const topics = document.body.dataset.liveTopics;
  if (!topics) return;

  let lastId = document.body.dataset.liveAfter || "";
  let source = null;
  let failures = 0;
  let state = "";
  let watchdog = 0;
  let retry = 0;
  let patience = 0;
  let poll = 0;

  function tell(name, detail) {
    return document.dispatchEvent(new CustomEvent(`live:${name}`, { detail, cancelable: true }));
  }

  function show(next) {
    clearTimeout(patience);
    if (state === next) return;
    state = next;
    const now = new Date();
    const clock = now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    for (const badge of document.querySelectorAll("[data-live-badge]")) {
      badge.hidden = false;
      badge.dataset.state = state;
      badge.textContent = state === "offline" ? WORDS.offline + clock : WORDS[state];
    }
    clearInterval(poll);
    if (state === "offline") poll = setInterval(askForParts, POLL_MS);
    tell("state", { state });
  }

  function askForParts() {
    if (document.hidden) return;
    for (const part of document.querySelectorAll("[data-poll-url]")) {
      htmx.ajax("GET", part.dataset.pollUrl, { target: part, swap: "outerHTML" }).catch(() => {});
    }
    tell("poll", {});
    tell("changed", { poll: true });
  }

  function open() {
    if (source || document.hidden) return;
    clearTimeout(retry);
    clearTimeout(patience);
    if (state !== "offline") patience = setTimeout(() => show("connecting"), PATIENCE_MS);
    source = new EventSource(`/live/?topics=${encodeURIComponent(topics)}&after=${lastId}`);
    source.onerror = fail;
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (message) => {
        expectMore(SILENCE_MS);
        if (message.lastEventId) lastId = message.lastEventId;
        handle(message.data);
      });
    }
    expectMore(FIRST_BEAT_MS);
  }

  function close() {
    clearTimeout(watchdog);
    clearTimeout(retry);
    clearTimeout(patience);
    if (source) source.close();
    source = null;
  }

  // Always a new EventSource: the browser's own way back would forget the position after an error of a proxy.
  function fail() {
    close();
    failures += 1;
    if (failures >= TRIES_UNTIL_OFFLINE) show("offline");
    else if (state === "live") patience = setTimeout(() => show("connecting"), PATIENCE_MS);
    const wait = Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (failures - 1));
    retry = setTimeout(open, wait / 2 + (Math.random() * wait) / 2);
  }

  function expectMore(milliseconds) {
    clearTimeout(watchdog);
    watchdog = setTimeout(fail, milliseconds);
  }

  function passOn(name) {
    return (data) => tell(name, JSON.parse(data));
  }

  const handlers = {
    beat() {
      failures = 0;
      show("live");
    },
    fragment(html) {
      const parsed = document.createElement("template");
      parsed.innerHTML = html;
      // A page may listen to more than it shows; htmx would report each missing target as an error.
      const isShown = [...parsed.content.children].some((part) => part.id && document.getElementById(part.id));
      if (!isShown) return;
      htmx.swap(document.body, html, { swapStyle: "none", swapDelay: 0, settleDelay: 0 });
    },
    progress(data) {
      const { id, percent, text } = JSON.parse(data);
      for (const bar of document.querySelectorAll(`progress[data-progress="${Number(id)}"]`)) {
        if (percent === null) bar.removeAttribute("value");
        else bar.value = percent;
      }
      for (const words of document.querySelectorAll(`[data-progress-text="${Number(id)}"]`)) {
        words.textContent = text;
      }
    },
    log: passOn("log"),
    new: passOn("new"),
    changed: passOn("changed"),
    reload() {
      // A page that wants to keep what somebody is typing prevents it.
      if (!tell("reload", {}) || wasJustReloaded()) return;
      close();
      location.reload();
    },
  };

  function wasJustReloaded() {
    try {
      const at = Number(sessionStorage.getItem("live-reloaded-at"));
      if (Date.now() - at < RELOAD_PAUSE_MS) return true;
      sessionStorage.setItem("live-reloaded-at", String(Date.now()));
    } catch {
      return true; // without storage a loop could not be noticed
    }
    return false;
  }

  function resume() {
    failures = 0;
    open();
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : resume()));
  addEventListener("pagehide", close); // also lets the page go into the browser's back-forward cache
  addEventListener("pageshow", (event) => event.persisted && resume());
  addEventListener("online", resume);
  open();
})();

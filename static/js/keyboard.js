// Keys that work on every page, and the ones of lists. No single key destroys: `c` opens a dialog that asks.
(() => {
  const places = { d: "/", t: "/tasks/", h: "/history/", a: "/audit/", v: "/guests/", s: "/sources/" };
  let waitingForPlace = 0;

  const isTyping = (target) => target.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");

  function rows() {
    return [...document.querySelectorAll("[data-rows] [data-row]")];
  }

  function move(step) {
    const all = rows();
    if (!all.length) return;
    const now = all.findIndex((row) => row.contains(document.activeElement));
    const next = all[now < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, now + step))];
    const link = next.querySelector("[data-open]");
    link.focus();
    next.scrollIntoView({ block: "nearest" });
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape" && isTyping(event.target)) return event.target.blur();
    if (isTyping(event.target)) return;

    if (Date.now() - waitingForPlace < 1500 && places[event.key]) {
      waitingForPlace = 0;
      event.preventDefault();
      location.assign(places[event.key]);
      return;
    }
    waitingForPlace = 0;
    const found = {
      "?": () => document.getElementById("keys")?.showModal(),
      "/": () => document.querySelector("[data-search]")?.focus(),
      "g": () => { waitingForPlace = Date.now(); },
      "j": () => move(1),
      "k": () => move(-1),
      "o": () => document.activeElement.closest("[data-row]")?.querySelector("[data-open]").click(),
      "c": () => document.querySelector("[data-key=c]")?.click(),
    }[event.key];
    if (!found) return;
    event.preventDefault();
    found();
  });
})();

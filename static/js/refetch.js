// Parts with data-refetch ask for themselves again when something changed: at most every 3 s, never in a hidden tab.
(() => {
  const PAUSE_MS = 3000;
  let due = false;
  let timer = 0;

  function refetch() {
    timer = 0;
    if (!due || document.hidden) return;
    due = false;
    for (const part of document.querySelectorAll("[data-refetch]")) {
      // not under somebody's hands
      if (!part.contains(document.activeElement) || !part.dataset.refetchGently) htmx.trigger(part, "refetch");
      else due = true;
    }
    timer = setTimeout(refetch, PAUSE_MS);
  }
  function want() {
    due = true;
    if (!timer) timer = setTimeout(refetch, 300);
  }

  document.addEventListener("live:changed", want);
  document.addEventListener("visibilitychange", () => { if (due && !timer) want(); });
})();

// A task's page: what a person may do is asked for again when the state moved; the link can be copied.
(() => {
  const status = () => document.getElementById("task-status");
  const seen = () => `${status()?.dataset.state} ${status()?.dataset.sign ?? ""} ${status()?.hasAttribute("data-acknowledged")}`;
  let before = seen();

  function moved() {
    for (const part of ["#task-actions", "#task-side", "#generation"]) if (document.querySelector(part)) htmx.trigger(part, "task-moved");
  }
  function look() {
    if (seen() === before) return;
    before = seen();
    moved();
    const words = status().querySelector(".state")?.textContent.trim();
    document.getElementById("state-words").textContent = words; // spoken: the state, never every percent
  }
  document.addEventListener("htmx:oobAfterSwap", look);
  document.addEventListener("htmx:afterSettle", look);
  document.addEventListener("task-changed", moved);

  document.addEventListener("click", async (event) => {
    if (!event.target.closest("[data-copy-link]")) return;
    try {
      await navigator.clipboard.writeText(location.href);
      portal.notice("Link copied.", "success");
    } catch {
      portal.notice("The browser did not allow copying. Take the link from the address bar.");
    }
  });
})();

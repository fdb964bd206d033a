// The task list: filters apply by themselves, new tasks are announced and never move what is under the pointer.
(() => {
  const list = () => document.querySelector("[data-task-list]");

  // A changed choice applies at once; typed text after a pause.
  const form = document.querySelector("[data-filters]");
  form?.addEventListener("change", (event) => { if (event.target.matches("select")) submit(); });
  let typing = 0;
  form?.addEventListener("input", (event) => {
    if (!event.target.matches("input")) return;
    clearTimeout(typing);
    typing = setTimeout(submit, 600);
  });
  form?.addEventListener("submit", (event) => { event.preventDefault(); submit(); });

  function submit() {
    clearTimeout(typing);
    const chosen = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value.trim()) chosen.append(name, value.trim());
    const address = chosen.size ? `${form.action}?${chosen}` : form.action;
    if (address === location.href) return;
    sessionStorage.setItem("focus-search", document.activeElement === form.elements.q ? "yes" : "");
    location.assign(address);
  }
  if (sessionStorage.getItem("focus-search")) {
    sessionStorage.removeItem("focus-search");
    const box = form?.elements.q;
    box?.focus();
    box?.setSelectionRange(box.value.length, box.value.length);
  }

  // New tasks
  const WAIT_MS = 700;
  let waiting = 0;
  document.addEventListener("live:new", () => { if (!waiting) waiting = setTimeout(ask, WAIT_MS + Math.random() * WAIT_MS); });

  async function ask() {
    waiting = 0;
    const now = list();
    const place = now?.querySelector("[data-new-place]");
    if (!place || document.hidden) return;
    const address = now.dataset.newCount;
    await htmx.ajax("GET", `${address}${address.endsWith("?") ? "" : "&"}newest=${now.dataset.newest}`, { target: place, swap: "innerHTML" });
    const pill = place.querySelector("[data-new-tasks]");
    const isIdle = scrollY < 40 && !now.querySelector("table")?.matches(":hover") && !now.contains(document.activeElement);
    const isFirstPage = !new URLSearchParams(location.search).has("before") && !now.querySelector("[data-page-loaded]");
    if (pill && isIdle && isFirstPage) pill.click();
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden && list()) ask(); });

  // Rows are asked for again only while nobody is at them.
  function refetchRows() {
    const now = list();
    if (!now || now.matches(":hover") || now.contains(document.activeElement) || now.querySelector("[data-page-loaded]")) return false;
    htmx.ajax("GET", location.pathname + location.search, { target: "#task-list", swap: "outerHTML" });
    return true;
  }
  document.addEventListener("live:poll", refetchRows); // there is no stream

  // A source that falls silent, or answers again, changes all of its rows.
  const LATER_MS = 3000;
  const silent = () => document.getElementById("task-summary")?.dataset.staleSources;
  let knownSilent = silent();
  let later = 0;
  function followSilence() {
    clearTimeout(later);
    if (silent() === knownSilent) return;
    const wanted = silent();
    if (refetchRows()) knownSilent = wanted;
    else later = setTimeout(followSilence, LATER_MS);
  }
  document.addEventListener("htmx:afterSettle", followSilence);

  // A task that ended between two pages comes a second time: the row that is there stays.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target?.id !== "task-more") return;
    const fresh = document.createElement("template");
    fresh.innerHTML = event.detail.serverResponse;
    for (const row of fresh.content.querySelectorAll("tr[data-row]")) {
      if (document.getElementById(row.id)) row.remove();
    }
    event.detail.serverResponse = fresh.innerHTML;
    list().querySelector("[data-rows]").dataset.pageLoaded = "";
  });

  // `c` on a row opens the dialog that asks; nothing is cancelled by a key.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "c" || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const row = document.activeElement.closest?.("[data-row][data-cancel]");
    if (row) htmx.ajax("GET", row.dataset.cancel, { target: "#dialog", swap: "innerHTML" });
  });
})();

// The history: choices of the panel apply at once, empty fields stay out of the address, `x` ticks a failure.
(() => {
  const form = document.querySelector("[data-history-search]");

  function search() {
    const chosen = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value.trim()) chosen.append(name, value.trim());
    location.assign(`?${chosen}`);
  }
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  form?.addEventListener("change", (event) => { if (event.target.matches("select")) search(); });

  for (const range of document.querySelectorAll("form.range")) {
    range.addEventListener("submit", () => {
      for (const field of range.elements) if (field.name && !field.value) field.disabled = true;
    });
  }

  // How many are ticked
  document.addEventListener("change", (event) => { if (event.target.matches(".task-tick")) count(); });
  function count() {
    const words = document.querySelector("[data-ticked]");
    if (words) words.textContent = `${document.querySelectorAll(".task-tick:checked").length} ticked`;
  }

  document.addEventListener("keydown", (event) => {
    if (event.key !== "x" || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input:not([type=checkbox]), textarea, select")) return;
    document.activeElement.closest?.("[data-row]")?.querySelector(".task-tick")?.click();
  });

  // A row that the stream draws anew keeps its tick.
  let ticked = new Set();
  document.addEventListener("htmx:oobBeforeSwap", () => {
    ticked = new Set([...document.querySelectorAll(".task-tick:checked")].map((box) => box.value));
  });
  document.addEventListener("htmx:oobAfterSwap", () => {
    for (const box of document.querySelectorAll(".task-tick")) if (ticked.has(box.value)) box.checked = true;
    count();
  });
  addEventListener("pageshow", count);
})();

// Forms of orders: what was typed survives a reload of the tab, and an answer never overwrites newer typing.
(() => {
  const form = document.querySelector("[data-order-form]");
  if (!form) return;
  const key = `draft ${location.pathname}`;
  const secret = new Set(["csrfmiddlewaretoken", "idempotency_key", "filled", "suggested"]);
  const checks = document.querySelectorAll("[hx-sync]");

  let typed = 0;
  let asked = 0;
  let sent = false;
  form.addEventListener("input", () => { typed += 1; save(); });
  document.addEventListener("htmx:beforeRequest", (event) => { if ([...checks].includes(event.target)) asked = typed; });
  document.addEventListener("htmx:beforeSwap", (event) => {
    // the request that belongs to the newer typing follows
    if ([...checks].includes(event.target) && asked !== typed) event.detail.shouldSwap = false;
  });

  function save() {
    const kept = [...new FormData(form)].filter(([name]) => !secret.has(name));
    try { sessionStorage.setItem(key, JSON.stringify(kept)); } catch { /* full or forbidden: there is no draft then */ }
  }

  function restore() {
    let kept;
    try { kept = JSON.parse(sessionStorage.getItem(key)); } catch { kept = null; }
    if (!Array.isArray(kept)) return;
    for (const [name, value] of kept) {
      const field = form.elements.namedItem(name);
      if (!field) continue;
      if (field instanceof RadioNodeList) {
        for (const each of field) if (each.type === "radio") each.checked = each.value === value;
      } else if (field.type !== "hidden") field.value = value;
    }
    for (const check of checks) htmx.trigger(check, "check");
  }

  form.addEventListener("submit", (event) => {
    if (event.submitter?.hasAttribute("hx-post")) return;
    if (sent) event.preventDefault(); // the second half of a double click
    sent = true;
    try { sessionStorage.removeItem(key); } catch { /* nothing to remove */ }
  });
  addEventListener("pageshow", (event) => { if (event.persisted) sent = false; });

  if (form.hasAttribute("data-draft")) addEventListener("load", restore);
})();

// The frame of every page: notices, dialogs, menus, copy buttons, and times that stay current.
(() => {
  const notices = () => document.getElementById("notices");

  function notice(text, level = "error") {
    const part = document.getElementById("notice-template").content.firstElementChild.cloneNode(true);
    part.dataset.level = level;
    part.querySelector(".notice-text").textContent = text;
    notices().append(part);
  }

  document.addEventListener("click", (event) => {
    const at = (selector) => event.target.closest(selector);
    if (at("[data-close-notice]")) at(".notice").remove();
    if (at("[data-close-dialog]") && at("dialog")) {
      event.preventDefault(); // without a script it is a link
      at("dialog").close();
    }
    if (at("[data-open-dialog]")) document.getElementById(at("[data-open-dialog]").dataset.openDialog).showModal();
    if (at("[data-copy]")) copy(at("[data-copy]"));
    if (event.target.matches("dialog")) closeByBackdrop(event);
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      if (!menu.contains(event.target) || at("[data-open-dialog]")) menu.open = false;
    }
  });

  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector("details[data-menu][open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  function closeByBackdrop(event) {
    const box = event.target.getBoundingClientRect();
    const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    if (!inside) event.target.close();
  }

  // data-copy="text", or data-copy="#id" for the text of an element
  async function copy(button) {
    const wanted = button.dataset.copy;
    const text = wanted.startsWith("#") ? document.querySelector(wanted).textContent : wanted;
    try {
      await navigator.clipboard.writeText(text);
      notice("Copied.", "success");
      const last = notices().lastElementChild;
      setTimeout(() => last.remove(), 2000);
    } catch {
      notice("The browser did not allow copying. Select the text and copy it by hand.");
    }
  }

  // A partial swapped into #dialog opens it. [autofocus] inside decides where the focus goes.
  document.addEventListener("htmx:afterSwap", (event) => {
    const dialog = document.getElementById("dialog");
    if (event.detail.target === dialog && !dialog.open && dialog.childElementCount) dialog.showModal();
  });
  // Emptied at once: the swap that follows must not find something to open.
  function closeDialog() {
    const dialog = document.getElementById("dialog");
    dialog.close();
    dialog.replaceChildren();
  }
  document.addEventListener("close-dialog", closeDialog);

  // A signed-out person gets the sign-in page; a refusal (403, 409) is shown as the notice the server wrote.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr } = event.detail;
    if (xhr.responseURL && new URL(xhr.responseURL).pathname.startsWith("/account/login")) {
      event.detail.shouldSwap = false;
      location.reload();
    } else if (xhr.status === 403 || xhr.status === 409) {
      event.detail.shouldSwap = true;
      event.detail.isError = false;
      event.detail.target = notices();
      event.detail.swapOverride = "beforeend";
      closeDialog();
    }
  });
  document.addEventListener("htmx:responseError", (event) => {
    const { status } = event.detail.xhr;
    if (status === 404) notice("This is not there any more. Reload the page to see what is.");
    else if (status === 429) notice("Too many requests. Wait a moment and try again.", "warning");
    else notice(`The portal could not answer (${status}). Nothing was changed; try again.`);
  });
  let silent = false; // one notice per outage
  document.addEventListener("htmx:sendError", () => {
    if (!silent) notice("The portal cannot be reached. The page shows what was last known.");
    silent = true;
  });
  document.addEventListener("htmx:afterOnLoad", () => { silent = false; });

  // The badge is shown on pages that listen.
  document.querySelector("[data-live-badge]")?.toggleAttribute("hidden", !document.body.dataset.liveTopics?.trim());

  // Same words as the server's `ago`.
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  function ago(at, today) {
    const seconds = (today - at) / 1000;
    if (seconds < 1) return "just now";
    if (seconds < 60) return `${Math.floor(seconds)} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    const two = (number) => String(number).padStart(2, "0");
    const day = `${two(at.getDate())} ${months[at.getMonth()]}`;
    return at.getFullYear() === today.getFullYear() ? `${day} ${two(at.getHours())}:${two(at.getMinutes())}` : `${day} ${at.getFullYear()}`;
  }
  function took(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    if (whole >= 172800) return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
    const two = (number) => String(number).padStart(2, "0");
    const hours = Math.floor(whole / 3600);
    const minutes = Math.floor((whole % 3600) / 60);
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  }
  function tick() {
    const today = new Date();
    for (const part of document.querySelectorAll("time[data-ago]")) {
      const words = ago(new Date(part.dateTime), today);
      if (part.textContent !== words) part.textContent = words;
    }
    for (const part of document.querySelectorAll("[data-since]")) {
      const words = took((today - new Date(part.dataset.since)) / 1000);
      if (part.textContent !== words) part.textContent = words;
    }
    for (const part of document.querySelectorAll("[data-minutes]")) {
      const whole = Math.max(0, Math.floor((today - new Date(part.dataset.minutes)) / 60000));
      const words = whole < 60 ? `${whole} min` : `${Math.floor(whole / 60)} h ${whole % 60} min`;
      if (part.textContent !== words) part.textContent = words;
    }
  }
  setInterval(() => { if (!document.hidden) tick(); }, 1000);

  window.portal = { notice };
})();

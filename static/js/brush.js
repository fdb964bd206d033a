// A histogram is brushed: drag over its bars, or move with the arrow keys and hold Shift, to choose a stretch of time.
// One bar is a link of its own; without a script the two fields below choose the stretch.
(() => {
  const CLICK_PIXELS = 4;

  for (const plot of document.querySelectorAll("[data-brush]")) {
    const svg = plot.querySelector(".bars");
    const range = plot.querySelector("[data-range]");
    const words = plot.parentElement.querySelector("[data-chosen]");
    const bars = [...plot.querySelectorAll("[data-bucket]")];
    let first = -1; // where it began, or -1
    let last = -1;
    let startX = null; // of the pointer that is down
    let dragged = false;

    const span = () => [Math.min(first, last), Math.max(first, last)];

    function show() {
      if (first < 0) {
        range.setAttribute("width", "0");
        words.textContent = "";
        return;
      }
      const [from, to] = span();
      const share = 100 / bars.length;
      range.setAttribute("x", `${from * share}%`);
      range.setAttribute("width", `${(to - from + 1) * share}%`);
      const names = from === to ? bars[from].dataset.name : `${bars[from].dataset.name} to ${bars[to].dataset.name}`;
      words.textContent = names;
    }

    function clear() {
      first = last = -1;
      show();
    }

    function go() {
      const [from, to] = span();
      const query = new URLSearchParams(plot.dataset.brush);
      query.set("since", bars[from].dataset.from);
      query.set("until", bars[to].dataset.until);
      location.assign(`?${query}`);
    }

    function at(event) {
      const box = svg.getBoundingClientRect();
      const place = Math.floor(((event.clientX - box.left) / box.width) * bars.length);
      return Math.min(bars.length - 1, Math.max(0, place));
    }

    // By pointer
    svg.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      startX = event.clientX;
      dragged = false;
    });
    svg.addEventListener("pointermove", (event) => {
      if (startX === null || !bars.length) return;
      if (!dragged) {
        if (Math.abs(event.clientX - startX) < CLICK_PIXELS) return;
        dragged = true;
        svg.setPointerCapture(event.pointerId); // from here on it is no click
        first = at({ clientX: startX });
      }
      last = at(event);
      show();
    });
    svg.addEventListener("pointerup", () => {
      startX = null;
      if (dragged) go();
    });
    svg.addEventListener("pointercancel", () => {
      startX = null;
      if (dragged) clear();
    });
    svg.addEventListener("click", (event) => {
      if (dragged) event.preventDefault();
      dragged = false;
    }, true);
    svg.addEventListener("dragstart", (event) => event.preventDefault());

    // By keys: one bar is in the order of Tab, the arrows move among them
    svg.addEventListener("keydown", (event) => {
      const now = bars.indexOf(event.target.closest("[data-bucket]"));
      if (now < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Enter" && first >= 0) {
        event.preventDefault();
        go();
        return;
      }
      if (event.key === "Escape" && first >= 0) {
        event.stopPropagation();
        clear();
        return;
      }
      const next = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: bars.length - 1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      const to = Math.min(bars.length - 1, Math.max(0, next));
      if (event.shiftKey) {
        if (first < 0) first = now;
        last = to;
      } else {
        first = last = -1;
      }
      show();
      bars[now].setAttribute("tabindex", "-1");
      bars[to].setAttribute("tabindex", "0");
      bars[to].focus();
    });
  }
})();

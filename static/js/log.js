// The log viewer of a task's page: takes the lines the page came with, adds what the stream brings, listens to keys.
import { CHUNK, ask, box, keep, lines, log, part, view } from "./log/lines.js";
import { shown } from "./log/folds.js";
import { grow, place, redraw, toEnd } from "./log/window.js";
import { added, follow, markFromAddress, showFollowing } from "./log/place.js";
import { findBox, lookForErrors, next } from "./log/find.js";

// ---- new lines -----------------------------------------------------------------------------------------------------

function arrived(from, to) {
  grow(to);
  added(from, to);
}

document.addEventListener("live:log", async ({ detail }) => {
  if (String(detail.id) !== box.dataset.task) return;
  const known = log.total;
  if (detail.lines.length && detail.first <= known + 1) {
    keep(detail.lines.map((text, at) => ({ n: detail.first + at, text, kind: detail.kinds[at] })));
    arrived(known, detail.total);
  } else {
    await catchUp(known, detail.total);
  }
});

let isCatchingUp = false;
let wasAskedAgain = false;
async function catchUp(from, to) {
  wasAskedAgain = isCatchingUp;
  if (isCatchingUp) return;
  isCatchingUp = true;
  try {
    // far behind: the end is enough, what lies between is loaded when it comes into sight
    const after = Math.max(Math.max(0, from - 1), to - 2 * CHUNK);
    const answer = await ask({ after, limit: 2 * CHUNK });
    keep(answer.lines);
    arrived(from, Math.max(answer.total, answer.lines.at(-1)?.n ?? 0));
  } catch { /* the next event or the reload brings them */ } finally { isCatchingUp = false; }
  if (wasAskedAgain) await catchUp(log.total, log.total);
}

// A page without stream, or one that slept, asks for itself what is new.
document.addEventListener("visibilitychange", () => { if (!document.hidden && box.hasAttribute("data-running")) catchUp(log.total, log.total); });
// The end brings the last lines and the errors.
document.addEventListener("htmx:oobAfterSwap", (event) => {
  if (event.target.id !== "task-status" || !event.target.hasAttribute("data-final")) return;
  box.removeAttribute("data-running");
  catchUp(log.total, log.total).then(lookForErrors);
});

// ---- switches and keys ---------------------------------------------------------------------------------------------

function wrap() {
  box.toggleAttribute("data-wrap");
  part("wrap").setAttribute("aria-pressed", box.hasAttribute("data-wrap"));
  redraw();
  if (place.isFollowing) toEnd();
}
part("wrap").addEventListener("click", wrap);
part("raw").addEventListener("click", () => {
  shown.raw = !shown.raw;
  part("raw").setAttribute("aria-pressed", shown.raw);
  redraw();
  if (place.isFollowing) toEnd();
});

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const inLog = box.contains(document.activeElement);
  if ((event.ctrlKey || event.metaKey) && event.key === "f" && inLog) {
    event.preventDefault();
    findBox.select();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  const found = { f: follow, End: follow, w: wrap, n: () => next(1), N: () => next(-1) }[event.key];
  if (!found) return;
  event.preventDefault();
  found();
});

// ---- start ---------------------------------------------------------------------------------------------------------

for (const el of view.querySelectorAll(".log-line")) {
  lines.set(Number(el.id.slice(1)), { text: el.querySelector(".log-text").textContent, kind: el.dataset.kind });
}
view.replaceChildren();
part("earlier")?.remove();
part("tools").hidden = false;
grow(Math.max(Number(box.dataset.total), ...lines.keys(), 0));
if (location.hash.startsWith("#L")) {
  view.scrollIntoView({ block: "nearest" });
  markFromAddress();
} else if (box.hasAttribute("data-running")) follow();
showFollowing();
lookForErrors();

// Search over the whole log, and the way from error to error. The server looks; the page gets line numbers.
import { ask, part, view } from "./lines.js";
import { shown } from "./folds.js";
import { redraw } from "./window.js";
import { goTo, markFromAddress } from "./place.js";

export const findBox = part("find");
let typing = 0;
let asked = 0;
let errors = { numbers: [], count: 0 };

findBox.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, 200); });
findBox.addEventListener("keydown", (event) => {
  if (event.key === "Enter") { event.preventDefault(); step(event.shiftKey ? -1 : 1); }
  if (event.key === "Escape" && findBox.value) { findBox.value = ""; search(); }
});

async function search() {
  const text = findBox.value;
  asked += 1;
  const mine = asked;
  let answer = { count: 0, lines: [] };
  if (text) {
    try { answer = await ask({ find: text }); } catch { portal.notice("The log could not be searched. Try again."); }
  }
  if (mine !== asked) return;
  shown.find = { text, numbers: answer.lines, count: answer.count, at: -1 };
  redraw();
  if (text && answer.lines.length) step(1);
  else showHits();
}

function step(by) {
  const { find } = shown;
  if (!find.numbers.length) return;
  if (find.at < 0 && by > 0) {
    const top = firstInSight();
    find.at = Math.max(0, find.numbers.findIndex((n) => n >= top));
  } else find.at = (find.at + by + find.numbers.length) % find.numbers.length;
  showHits();
  goTo(find.numbers[find.at], redraw);
}
function showHits() {
  const { find } = shown;
  part("hits").hidden = !find.text;
  part("hit-words").textContent = find.count ? `${find.at + 1} of ${find.count.toLocaleString("en-GB")}` : "No hit";
}
function firstInSight() {
  const top = view.getBoundingClientRect().top;
  for (const el of view.querySelectorAll(".log-line")) if (el.getBoundingClientRect().bottom > top) return Number(el.id.slice(1));
  return 1;
}

export async function lookForErrors() {
  try { const answer = await ask({ only_errors: 1 }); errors = { numbers: answer.lines, count: answer.count }; } catch { return; }
  part("error").hidden = !errors.count;
  part("error-words").textContent = errors.count === 1 ? "Go to the error" : `First of ${errors.count} errors`;
}
function stepError(by) {
  if (!errors.numbers.length) return;
  const now = shown.marked[0];
  const ahead = errors.numbers.filter((n) => (by > 0 ? n > now : n < now));
  const n = by > 0 ? ahead[0] ?? errors.numbers[0] : ahead.at(-1) ?? errors.numbers.at(-1);
  history.replaceState(null, "", `#L${n}`);
  markFromAddress();
}

// To the next hit while something is searched for, else to the next error.
export const next = (by) => (shown.find.text ? step(by) : stepError(by));

part("error").addEventListener("click", () => { shown.marked = [0, 0]; stepError(1); });
part("next").addEventListener("click", () => step(1));
part("previous").addEventListener("click", () => step(-1));

// Where the log stands: following its end until a person scrolls up, or at the lines of the address.
import { chunkOf, isLoaded, log, part, view } from "./lines.js";
import { fold, shown, unfold } from "./folds.js";
import { chunks, draw, load, place, redraw, toEnd } from "./window.js";

let unseen = 0;

export function follow() {
  place.isFollowing = true;
  unseen = 0;
  showFollowing();
  if (chunks.length) { chunks.at(-1).isNear = true; draw(chunks.length - 1); }
  toEnd();
}
export function release() {
  if (!place.isFollowing) return;
  place.isFollowing = false;
  showFollowing();
}
export function showFollowing() {
  part("follow").setAttribute("aria-pressed", place.isFollowing);
  part("pill").hidden = place.isFollowing || !unseen;
  part("pill-words").textContent = `${unseen.toLocaleString("en-GB")} new line${unseen === 1 ? "" : "s"}`;
}

const isAtEnd = () => view.scrollHeight - view.scrollTop - view.clientHeight < 4;

// Lines between `from` and `to` have come. What fits into the log without scrolling is seen, and so is a log that was
// fetched after the page.
export function added(from, to) {
  if (!place.isFollowing && from) unseen += Math.max(0, to - from);
  for (let index = chunkOf(Math.max(1, from)); index <= chunkOf(Math.max(1, to)); index += 1) {
    if (place.isFollowing && index === chunks.length - 1) chunks[index].isNear = true;
    draw(index);
  }
  if (place.isFollowing) toEnd();
  else if (view.scrollHeight <= view.clientHeight) unseen = 0;
  showFollowing();
}

let userAt = 0;
let isDragging = false;
for (const sign of ["wheel", "touchmove", "keydown"]) view.addEventListener(sign, () => { userAt = Date.now(); }, { passive: true });
view.addEventListener("pointerdown", () => { isDragging = true; });
addEventListener("pointerup", () => { isDragging = false; });
view.addEventListener("scroll", () => {
  const isUp = view.scrollTop < place.top - 1;
  place.top = view.scrollTop;
  // only a person lets go; heights that change move the place too
  if (isUp && (isDragging || Date.now() - userAt < 600)) release();
  if (isAtEnd() && unseen && !place.isFollowing) { unseen = 0; showFollowing(); }
}, { passive: true });

part("follow").addEventListener("click", () => (place.isFollowing ? release() : follow()));
part("pill").addEventListener("click", follow);

export async function goTo(number, after) {
  if (number < 1 || number > log.total) return;
  release();
  const index = chunkOf(number);
  if (!isLoaded(index)) await load(index);
  after?.();
  chunks[index].isNear = true;
  center(chunks[index].el);
  for (let at = Math.max(0, index - 1); at <= Math.min(chunks.length - 1, index + 1); at += 1) draw(at);
  const line = () => document.getElementById(`L${number}`) ?? chunks[index].el.lastElementChild;
  center(line());
  // chunks above may get their true height now
  requestAnimationFrame(() => center(line()));
}

// Moves the log, not the page around it.
function center(el) {
  if (!el) return;
  const [inner, outer] = [el.getBoundingClientRect(), view.getBoundingClientRect()];
  view.scrollTop += inner.top - outer.top - Math.max(0, outer.height - inner.height) / 2;
  place.top = view.scrollTop;
}

export function markFromAddress() {
  const match = /^#L(\d{1,9})(?:-L?(\d{1,9}))?$/.exec(location.hash);
  const old = shown.marked;
  shown.marked = match ? [Number(match[1]), Number(match[2] ?? match[1])].sort((a, b) => a - b) : [0, 0];
  for (const n of [...old, ...shown.marked]) if (n) draw(chunkOf(n));
  if (match) goTo(shown.marked[0], redraw);
}
addEventListener("hashchange", markFromAddress);

view.addEventListener("click", (event) => {
  const run = event.target.closest(".log-fold");
  if (run) toggle(Number(run.dataset.first), Number(run.dataset.end), run.getAttribute("aria-expanded") === "true");
  const number = event.target.closest(".log-number");
  if (!number) return;
  event.preventDefault();
  const n = Number(number.textContent);
  const old = shown.marked;
  const range = event.shiftKey && old[0] ? [Math.min(old[0], n), Math.max(old[0], n)] : [n, n];
  history.replaceState(null, "", range[0] === range[1] ? `#L${n}` : `#L${range[0]}-L${range[1]}`);
  shown.marked = range;
  for (let index = chunkOf(Math.max(1, Math.min(old[0] || n, range[0]))); index <= chunkOf(Math.max(old[1], range[1])); index += 1) draw(index);
});

function toggle(first, end, isOpen) {
  if (isOpen) fold(first, end);
  else unfold(first, end);
  release();
  for (let index = chunkOf(first); index <= chunkOf(end); index += 1) { chunks[index].height = undefined; draw(index); }
}

// What a chunk shows: single lines, and runs of progress lines folded into their last. Texts of remotes are only ever
// set as text.
import { firstOf, lastOf, lines } from "./lines.js";

const FOLD_FROM = 3; // progress lines in a row

// What decides how lines look: every progress line, the search and its hit, the lines of the address.
export const shown = { raw: false, find: { text: "", numbers: [], count: 0, at: -1 }, marked: [0, 0] };

const opened = new Set(); // numbers inside runs that were unfolded
const isProgress = (n) => lines.get(n)?.kind === "progress";

function hasOpen(first, end) {
  const { find, marked } = shown;
  const hit = find.numbers[find.at];
  return opened.has(first) || opened.has(end) || (hit >= first && hit <= end) || (marked[0] >= first && marked[0] <= end);
}

export function unfold(first, end) {
  opened.add(first);
  opened.add(end);
}
export function fold(first, end) {
  for (let n = first; n <= end; n += 1) opened.delete(n);
}

// A run that goes on in the next loaded chunk is shown there.
export function groupsOf(index) {
  const groups = [];
  const { raw } = shown;
  const last = lastOf(index);
  for (let n = firstOf(index); n <= last; n += 1) {
    let end = n;
    if (!raw && isProgress(n)) while (end < last && isProgress(end + 1)) end += 1;
    let first = n;
    const goesOn = !raw && isProgress(end) && end === last && isProgress(last + 1);
    if (n === firstOf(index)) while (!raw && isProgress(n) && isProgress(first - 1)) first -= 1;
    const count = end - first + 1;
    const isFold = isProgress(end) && (count >= FOLD_FROM || goesOn);
    if (isFold && !hasOpen(first, end)) {
      if (!goesOn) groups.push({ n: end, first, count });
    } else {
      for (let single = n; single <= end; single += 1) groups.push({ n: single, first: single, count: 1, opened: isFold && single === end ? [first, end] : null });
    }
    n = end;
  }
  return groups;
}

export const isHit = ({ n }) => shown.find.numbers[shown.find.at] === n;
export const isMarked = ({ n }) => n >= shown.marked[0] && n <= shown.marked[1];

// Everything that decides how a group looks: the same signature, the same element.
export function signatureOf(group) {
  const { kind, text } = lines.get(group.n);
  return `${group.n} ${group.first} ${group.opened ?? ""} ${kind} ${shown.find.text} ${isHit(group)} ${isMarked(group)} ${text}`;
}

export function make(group) {
  const line = lines.get(group.n);
  const el = document.createElement("div");
  el.className = "log-line";
  el.id = `L${group.n}`;
  el.dataset.kind = line.kind;
  if (isHit(group)) el.dataset.hit = "";
  if (isMarked(group)) el.dataset.marked = "";
  const number = document.createElement("a");
  number.className = "log-number";
  number.href = `#L${group.n}`;
  number.textContent = group.n;
  number.tabIndex = -1;
  const text = document.createElement("span");
  text.className = "log-text";
  fill(text, line.text);
  el.append(number, text);
  if (group.count > 1 || group.opened) {
    const [first, end] = group.opened ?? [group.first, group.n];
    const button = document.createElement("button");
    button.type = "button";
    button.className = "log-fold";
    button.dataset.first = first;
    button.dataset.end = end;
    button.textContent = `${end - first + 1} progress lines ${group.opened ? "▾" : "▸"}`;
    button.setAttribute("aria-expanded", Boolean(group.opened));
    el.append(button);
  }
  return el;
}

function fill(el, text) {
  const wanted = shown.find.text.toLowerCase();
  const low = wanted ? text.toLowerCase() : "";
  let from = 0;
  // lower-casing may change the length of rare letters; then nothing is marked
  for (let at = wanted && low.length === text.length ? low.indexOf(wanted) : -1; at >= 0; at = low.indexOf(wanted, from)) {
    el.append(text.slice(from, at));
    const mark = document.createElement("mark");
    mark.textContent = text.slice(at, at + wanted.length);
    el.append(mark);
    from = at + wanted.length;
  }
  el.append(text.slice(from));
}

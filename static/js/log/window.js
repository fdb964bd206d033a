// A log of any length is a column of chunks; only those in sight hold lines, and only those are asked for.
import { CHUNK, ask, chunkOf, firstOf, isLoaded, keep, lastOf, lines, log, part, view } from "./lines.js";
import { groupsOf, make, signatureOf } from "./folds.js";

const lineHeight = parseFloat(getComputedStyle(view).lineHeight);

export const chunks = []; // {el, index, height, isNear, isLoading, failedAt, timer}
export const place = { isFollowing: false, top: 0 };

export function toEnd() {
  view.scrollTop = view.scrollHeight;
  place.top = view.scrollTop;
}

export async function load(index) {
  const chunk = chunks[index];
  if (chunk.isLoading) return chunk.isLoading;
  chunk.isLoading = ask({ after: firstOf(index) - 1, limit: CHUNK })
    .then((answer) => { keep(answer.lines); grow(answer.total); })
    .catch(() => { chunk.failedAt = Date.now(); })
    .finally(() => { chunk.isLoading = null; draw(index); });
  return chunk.isLoading;
}

// What only flies past is not asked for, and a server in trouble is given a pause.
function loadSoon(chunk) {
  clearTimeout(chunk.timer);
  const wait = chunk.failedAt && Date.now() - chunk.failedAt < 5000 ? 5000 : 40;
  chunk.timer = setTimeout(() => { if (chunk.isNear && !isLoaded(chunk.index)) load(chunk.index); }, wait);
}

export function grow(to) {
  if (to <= log.total && chunks.length) return;
  log.total = Math.max(log.total, to);
  part("total").textContent = log.total.toLocaleString("en-GB").replaceAll(",", "\u202f");
  part("plural").hidden = log.total === 1;
  part("empty").hidden = log.total > 0;
  while (chunks.length <= chunkOf(log.total) && log.total) {
    const el = document.createElement("div");
    el.className = "log-chunk";
    const chunk = { el, index: chunks.length, isNear: false, isLoading: null };
    el.chunk = chunk;
    chunks.push(chunk);
    reserve(chunk); // before it is observed: without a height all of them would be in sight
    view.append(el);
    near.observe(el);
  }
  for (const chunk of chunks.slice(-2)) if (!chunk.el.firstChild) reserve(chunk);
}

const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.chunk.isNear = isIntersecting;
    if (isIntersecting) draw(target.chunk.index);
    else if (target.firstChild) {
      target.chunk.height = target.offsetHeight;
      reserve(target.chunk);
      target.replaceChildren();
    }
  }
}, { root: view, rootMargin: "600px 0px" });

function reserve(chunk) {
  const height = chunk.height ?? (lastOf(chunk.index) - firstOf(chunk.index) + 1) * lineHeight;
  chunk.el.style.minHeight = `${height}px`;
}

export function draw(index) {
  const chunk = chunks[index];
  if (!chunk?.isNear) return;
  if (!isLoaded(index)) {
    reserve(chunk);
    loadSoon(chunk);
    if (!lines.has(firstOf(index))) return;
  }
  const atEnd = place.isFollowing;
  const known = new Map([...chunk.el.children].map((el) => [el.signature, el]));
  const wanted = [];
  for (const group of groupsOf(index)) {
    if (!lines.has(group.n)) continue;
    const signature = signatureOf(group);
    const el = known.get(signature) ?? make(group);
    el.signature = signature;
    wanted.push(el);
  }
  const current = [...chunk.el.children];
  if (wanted.length !== current.length || wanted.some((el, at) => el !== current[at])) {
    for (const el of current) if (!wanted.includes(el)) el.remove();
    wanted.forEach((el, at) => { if (chunk.el.children[at] !== el) chunk.el.insertBefore(el, chunk.el.children[at] ?? null); });
  }
  if (isLoaded(index)) chunk.el.style.minHeight = "";
  if (atEnd) toEnd();
}

export function redraw() {
  for (const chunk of chunks) {
    chunk.height = undefined;
    if (!chunk.el.firstChild) reserve(chunk);
    draw(chunk.index);
  }
}

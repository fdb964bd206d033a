// The log viewer. A log of any length is a column of chunks; only those in sight hold lines. Texts of remotes are
// only ever set as text. Sorting lines into kinds is the server's: live lines come with theirs or are asked for.
(() => {
  const box = document.querySelector("[data-log]");
  if (!box) return;
  const CHUNK = 250; // lines
  const FOLD_FROM = 3; // progress lines in a row
  const view = box.querySelector("[data-log-view]");
  const part = (name) => box.querySelector(`[data-log-${name}]`);
  const lineHeight = parseFloat(getComputedStyle(view).lineHeight);

  const lines = new Map(); // number → {text, kind}
  const chunks = []; // {el, index, height, isNear, isLoading, failedAt, timer}
  let total = 0;
  let following = false;
  let unseen = 0;
  let raw = false;
  let find = { text: "", numbers: [], count: 0, at: -1 };
  let errors = { numbers: [], count: 0 };
  let marked = [0, 0];

  // ---- lines ---------------------------------------------------------------------------------------------------

  const chunkOf = (number) => Math.floor((number - 1) / CHUNK);
  const firstOf = (index) => index * CHUNK + 1;
  const lastOf = (index) => Math.min(total, (index + 1) * CHUNK);

  async function ask(query) {
    const answer = await fetch(`${box.dataset.log}?${new URLSearchParams(query)}`, { headers: { Accept: "application/json" } });
    if (!answer.ok || answer.redirected) throw new Error(`log ${answer.status}`);
    return answer.json();
  }

  function keep(found) {
    for (const { n, text, kind } of found) lines.set(n, { text, kind });
  }

  function isLoaded(index) {
    for (let n = firstOf(index); n <= lastOf(index); n += 1) if (!lines.has(n)) return false;
    return true;
  }

  async function load(index) {
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

  function grow(to) {
    if (to <= total && chunks.length) return;
    total = Math.max(total, to);
    part("total").textContent = total.toLocaleString("en-GB").replaceAll(",", "\u202f");
    part("empty").hidden = total > 0;
    while (chunks.length <= chunkOf(total) && total) {
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

  // ---- drawing ---------------------------------------------------------------------------------------------------

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

  const isProgress = (n) => lines.get(n)?.kind === "progress";

  // What a chunk shows: single lines, and runs of progress lines folded into their last. A run that goes on in the
  // next loaded chunk is shown there.
  function groupsOf(index) {
    const groups = [];
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

  const opened = new Set(); // numbers inside runs that were unfolded
  const hasOpen = (first, end) => opened.has(first) || opened.has(end) || (find.numbers[find.at] >= first && find.numbers[find.at] <= end) || (marked[0] >= first && marked[0] <= end);

  function draw(index) {
    const chunk = chunks[index];
    if (!chunk?.isNear) return;
    if (!isLoaded(index)) {
      reserve(chunk);
      loadSoon(chunk);
      if (!lines.has(firstOf(index))) return;
    }
    const atEnd = following;
    const known = new Map([...chunk.el.children].map((el) => [el.signature, el]));
    const wanted = [];
    for (const group of groupsOf(index)) {
      const line = lines.get(group.n);
      if (!line) continue;
      const isHit = find.numbers[find.at] === group.n;
      const isMarked = group.n >= marked[0] && group.n <= marked[1];
      const signature = `${group.n} ${group.first} ${group.opened ?? ""} ${line.kind} ${find.text} ${isHit} ${isMarked} ${line.text}`;
      wanted.push(known.get(signature) ?? make(group, line, isHit, isMarked, signature));
    }
    const current = [...chunk.el.children];
    if (wanted.length !== current.length || wanted.some((el, at) => el !== current[at])) {
      for (const el of current) if (!wanted.includes(el)) el.remove();
      wanted.forEach((el, at) => { if (chunk.el.children[at] !== el) chunk.el.insertBefore(el, chunk.el.children[at] ?? null); });
    }
    if (isLoaded(index)) chunk.el.style.minHeight = "";
    if (atEnd) toEnd();
  }

  function make(group, line, isHit, isMarked, signature) {
    const el = document.createElement("div");
    el.className = "log-line";
    el.id = `L${group.n}`;
    el.dataset.kind = line.kind;
    el.signature = signature;
    if (isHit) el.dataset.hit = "";
    if (isMarked) el.dataset.marked = "";
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
      const button = document.createElement("button");
      button.type = "button";
      button.className = "log-fold";
      const [first, end] = group.opened ?? [group.first, group.n];
      button.textContent = `${end - first + 1} progress lines ${group.opened ? "▾" : "▸"}`;
      button.setAttribute("aria-expanded", Boolean(group.opened));
      button.addEventListener("click", () => toggle(first, end, Boolean(group.opened)));
      el.append(button);
    }
    return el;
  }

  function fill(el, text) {
    const wanted = find.text.toLowerCase();
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

  function toggle(first, end, isOpen) {
    if (isOpen) for (let n = first; n <= end; n += 1) opened.delete(n);
    else { opened.add(first); opened.add(end); }
    release();
    for (let index = chunkOf(first); index <= chunkOf(end); index += 1) { chunks[index].height = undefined; draw(index); }
  }

  function redraw() {
    for (const chunk of chunks) {
      chunk.height = undefined;
      if (!chunk.el.firstChild) reserve(chunk);
      draw(chunk.index);
    }
  }

  // ---- following ---------------------------------------------------------------------------------------------------

  let userAt = 0;
  let isDragging = false;
  const isAtEnd = () => view.scrollHeight - view.scrollTop - view.clientHeight < 4;
  let lastTop = 0;

  function toEnd() { view.scrollTop = view.scrollHeight; lastTop = view.scrollTop; }

  function follow() {
    following = true;
    unseen = 0;
    showFollowing();
    if (chunks.length) { chunks.at(-1).isNear = true; draw(chunks.length - 1); }
    toEnd();
  }
  function release() {
    if (!following) return;
    following = false;
    showFollowing();
  }
  function showFollowing() {
    part("follow").setAttribute("aria-pressed", following);
    const pill = part("pill");
    pill.hidden = following || !unseen;
    part("pill-words").textContent = `${unseen.toLocaleString("en-GB")} new line${unseen === 1 ? "" : "s"}`;
  }

  for (const sign of ["wheel", "touchmove", "keydown"]) view.addEventListener(sign, () => { userAt = Date.now(); }, { passive: true });
  view.addEventListener("pointerdown", () => { isDragging = true; });
  addEventListener("pointerup", () => { isDragging = false; });
  view.addEventListener("scroll", () => {
    const isUp = view.scrollTop < lastTop - 1;
    lastTop = view.scrollTop;
    // only a person lets go; heights that change move the place too
    if (isUp && (isDragging || Date.now() - userAt < 600)) release();
    if (isAtEnd() && unseen && !following) { unseen = 0; showFollowing(); }
  }, { passive: true });

  // ---- new lines ---------------------------------------------------------------------------------------------------

  document.addEventListener("live:log", async ({ detail }) => {
    if (String(detail.id) !== box.dataset.task) return;
    const known = total;
    if (detail.lines.length && detail.kinds?.length === detail.lines.length && detail.first <= known + 1) {
      keep(detail.lines.map((text, at) => ({ n: detail.first + at, text, kind: detail.kinds[at] })));
      added(known, detail.total);
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
      added(from, Math.max(answer.total, answer.lines.at(-1)?.n ?? 0));
    } catch { /* the next event or the reload brings them */ } finally { isCatchingUp = false; }
    if (wasAskedAgain) await catchUp(total, total);
  }

  function added(from, to) {
    grow(to);
    if (!following) unseen += Math.max(0, to - from);
    for (let index = chunkOf(Math.max(1, from)); index <= chunkOf(Math.max(1, to)); index += 1) {
      if (following && index === chunks.length - 1) chunks[index].isNear = true;
      draw(index);
    }
    if (following) toEnd();
    showFollowing();
  }

  // A page without stream, or one that slept, asks for itself what is new.
  document.addEventListener("visibilitychange", () => { if (!document.hidden && box.hasAttribute("data-running")) catchUp(total, total); });
  // The end brings the last lines and the errors.
  document.addEventListener("htmx:oobAfterSwap", (event) => {
    if (event.target.id !== "task-status" || !event.target.hasAttribute("data-final")) return;
    box.removeAttribute("data-running");
    catchUp(total, total).then(lookForErrors);
  });

  // ---- going somewhere ---------------------------------------------------------------------------------------------

  async function goTo(number, after) {
    if (number < 1 || number > total) return;
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
    lastTop = view.scrollTop;
  }

  function markFromAddress() {
    const match = /^#L(\d{1,9})(?:-L?(\d{1,9}))?$/.exec(location.hash);
    const old = marked;
    marked = match ? [Number(match[1]), Number(match[2] ?? match[1])].sort((a, b) => a - b) : [0, 0];
    for (const n of [...old, ...marked]) if (n) draw(chunkOf(n));
    if (match) goTo(marked[0], redraw);
  }
  addEventListener("hashchange", markFromAddress);
  view.addEventListener("click", (event) => {
    const number = event.target.closest(".log-number");
    if (!number) return;
    event.preventDefault();
    const n = Number(number.textContent);
    const range = event.shiftKey && marked[0] ? [Math.min(marked[0], n), Math.max(marked[0], n)] : [n, n];
    history.replaceState(null, "", range[0] === range[1] ? `#L${n}` : `#L${range[0]}-L${range[1]}`);
    const old = marked;
    marked = range;
    for (let index = chunkOf(Math.max(1, Math.min(old[0] || n, range[0]))); index <= chunkOf(Math.max(old[1], range[1])); index += 1) draw(index);
  });

  // ---- search and errors -------------------------------------------------------------------------------------------

  let typing = 0;
  const findBox = part("find");
  findBox.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, 200); });
  findBox.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { event.preventDefault(); step(event.shiftKey ? -1 : 1); }
    if (event.key === "Escape" && findBox.value) { findBox.value = ""; search(); }
  });

  let asked = 0;
  async function search() {
    const text = findBox.value;
    asked += 1;
    const mine = asked;
    let answer = { count: 0, lines: [] };
    if (text) {
      try { answer = await ask({ find: text }); } catch { portal.notice("The log could not be searched. Try again."); }
    }
    if (mine !== asked) return;
    find = { text, numbers: answer.lines, count: answer.count, at: -1 };
    redraw();
    if (text && find.numbers.length) step(1);
    else showHits();
  }

  function step(by) {
    if (!find.numbers.length) return;
    if (find.at < 0 && by > 0) {
      const top = firstInSight();
      find.at = Math.max(0, find.numbers.findIndex((n) => n >= top));
    } else find.at = (find.at + by + find.numbers.length) % find.numbers.length;
    showHits();
    goTo(find.numbers[find.at], redraw);
  }
  function showHits() {
    part("hits").hidden = !find.text;
    const of = find.count.toLocaleString("en-GB");
    part("hit-words").textContent = find.count ? `${find.at + 1} of ${of}` : "No hit";
  }
  function firstInSight() {
    const top = view.getBoundingClientRect().top;
    for (const el of view.querySelectorAll(".log-line")) if (el.getBoundingClientRect().bottom > top) return Number(el.id.slice(1));
    return 1;
  }

  async function lookForErrors() {
    try { const answer = await ask({ only_errors: 1 }); errors = { numbers: answer.lines, count: answer.count }; } catch { return; }
    part("error").hidden = !errors.count;
    part("error-words").textContent = errors.count === 1 ? "Go to the error" : `First of ${errors.count} errors`;
  }
  function stepError(by) {
    if (!errors.numbers.length) return;
    const now = marked[0];
    const ahead = errors.numbers.filter((n) => (by > 0 ? n > now : n < now));
    const n = by > 0 ? ahead[0] ?? errors.numbers[0] : ahead.at(-1) ?? errors.numbers.at(-1);
    history.replaceState(null, "", `#L${n}`);
    markFromAddress();
  }
  part("error").addEventListener("click", () => { marked = [0, 0]; stepError(1); });
  part("next").addEventListener("click", () => step(1));
  part("previous").addEventListener("click", () => step(-1));

  // ---- switches and keys -------------------------------------------------------------------------------------------

  function wrap() {
    box.toggleAttribute("data-wrap");
    part("wrap").setAttribute("aria-pressed", box.hasAttribute("data-wrap"));
    redraw();
    if (following) toEnd();
  }
  part("wrap").addEventListener("click", wrap);
  part("raw").addEventListener("click", () => {
    raw = !raw;
    part("raw").setAttribute("aria-pressed", raw);
    redraw();
    if (following) toEnd();
  });
  part("follow").addEventListener("click", () => (following ? release() : follow()));
  part("pill").addEventListener("click", follow);

  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const inLog = box.contains(document.activeElement);
    if ((event.ctrlKey || event.metaKey) && event.key === "f" && inLog) {
      event.preventDefault();
      findBox.select();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    const found = {
      f: follow,
      End: follow,
      w: wrap,
      n: () => (find.text ? step(1) : stepError(1)),
      N: () => (find.text ? step(-1) : stepError(-1)),
    }[event.key];
    if (!found) return;
    event.preventDefault();
    found();
  });

  // ---- start -------------------------------------------------------------------------------------------------------

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
})();

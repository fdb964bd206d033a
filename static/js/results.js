// Results: pictures open large, with the keyboard too; videos show their first frame when they come into sight.
(() => {
  // ---- the viewer
  let dialog = null;
  let shown = null;

  function links() {
    return [...document.querySelectorAll("[data-viewer] [data-view]")];
  }

  function make() {
    dialog = document.createElement("dialog");
    dialog.className = "viewer";
    dialog.setAttribute("aria-label", "Picture");
    dialog.innerHTML = `<div class="viewer-head"><p class="one-line" data-name></p><span class="muted" data-place></span>
      <button class="button" type="button" data-step="-1" aria-label="Previous picture">‹</button>
      <button class="button" type="button" data-step="1" aria-label="Next picture">›</button>
      <a class="button" data-original target="_blank" rel="noopener">Original</a>
      <button class="button" type="button" data-close autofocus>Close</button></div>
      <div class="viewer-stage"><img alt=""></div>`;
    document.body.append(dialog);
    dialog.addEventListener("click", (event) => {
      const step = event.target.closest("[data-step]");
      if (step) go(Number(step.dataset.step));
      if (event.target.closest("[data-close]") || event.target.matches(".viewer-stage")) dialog.close();
    });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") go(1);
      else if (event.key === "ArrowLeft") go(-1);
    });
    dialog.addEventListener("close", () => {
      dialog.querySelector("img").removeAttribute("src");
      if (shown?.isConnected) shown.focus();
    });
  }

  function show(link) {
    const all = links();
    shown = link;
    const picture = dialog.querySelector("img");
    picture.src = link.dataset.view;
    picture.alt = link.dataset.viewName || "";
    dialog.querySelector("[data-name]").textContent = link.dataset.viewName || "";
    dialog.querySelector("[data-original]").href = link.dataset.view;
    dialog.querySelector("[data-place]").textContent = all.length > 1 ? `${all.indexOf(link) + 1} of ${all.length}` : "";
    for (const button of dialog.querySelectorAll("[data-step]")) button.hidden = all.length < 2;
  }

  function go(step) {
    const all = links();
    const at = all.indexOf(shown);
    if (all.length > 1) show(all[(at + step + all.length) % all.length]);
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-view]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (!dialog) make();
    show(link);
    dialog.showModal();
  });

  // ---- dimensions and length, as the browser reads them
  function measure(media) {
    const box = media.closest(".result")?.querySelectorAll("[data-dimensions]");
    if (!box?.length) return;
    const width = media.naturalWidth || media.videoWidth;
    const height = media.naturalHeight || media.videoHeight;
    if (!width) return;
    const seconds = Number.isFinite(media.duration) ? `, ${media.duration.toFixed(1)} s` : "";
    box[1].textContent = `${width} × ${height}${seconds}`;
    for (const part of box) part.hidden = false;
  }
  const isMedia = (event) => event.target.matches?.(".result-media") && measure(event.target);
  document.addEventListener("loadedmetadata", isMedia, true);
  document.addEventListener("load", isMedia, true);

  // A file that cannot be shown says so instead of an empty frame.
  document.addEventListener("error", (event) => {
    const media = event.target;
    if (!media.matches?.(".result-media, .tile-file") || !media.getAttribute("src")) return;
    const words = document.createElement("p");
    words.className = media.matches(".tile-file") ? "tile-plain" : "result-plain";
    words.textContent = "This file cannot be shown here.";
    media.replaceWith(words);
  }, true);

  // ---- first frames, only of what is in sight
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      entry.target.preload = "metadata";
    }
  });
  function lookFor(root) {
    for (const video of root.querySelectorAll("[data-lazy-video]")) watcher.observe(video);
    for (const media of root.querySelectorAll(".result-media")) measure(media);
  }
  lookFor(document);
  document.addEventListener("htmx:load", (event) => lookFor(event.detail.elt));

  // One at a time: what is started stops the others.
  document.addEventListener("play", (event) => {
    for (const media of document.querySelectorAll("video, audio")) if (media !== event.target) media.pause();
  }, true);

  // ---- filters of the gallery apply as soon as one is chosen
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-gallery-filters] select")) event.target.form.requestSubmit();
  });
})();

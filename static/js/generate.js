// The form that makes something: chosen pictures are shown with name and size, too large ones are refused at once.
(() => {
  const units = ["B", "kB", "MB", "GB"];
  function size(bytes) {
    let value = bytes;
    let unit = 0;
    while (value >= 999.5 && unit < units.length - 1) { value /= 1000; unit += 1; }
    return `${unit && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
  }

  function show(input) {
    const box = input.closest("[data-picture-field]");
    const preview = box.querySelector("[data-picture-preview]");
    const problem = box.querySelector("[data-picture-problem]");
    const file = input.files[0];
    const most = Number(input.dataset.maxBytes);
    const isTooLarge = Boolean(file) && file.size > most;
    problem.hidden = !isTooLarge;
    problem.textContent = isTooLarge ? `“${file.name}” has ${size(file.size)}; at most ${size(most)} are allowed. Make it smaller, then choose it again.` : "";
    input.setAttribute("aria-invalid", String(isTooLarge));
    if (isTooLarge) input.value = "";
    preview.hidden = !file || isTooLarge;
    if (preview.hidden) return;
    preview.querySelector("[data-picture-words]").textContent = `${file.name}, ${size(file.size)}`;
    const reader = new FileReader(); // data: is what the content policy allows
    reader.onload = () => { preview.querySelector("img").src = reader.result; };
    reader.readAsDataURL(file);
  }

  document.addEventListener("change", (event) => { if (event.target.matches("[data-picture]")) show(event.target); });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-picture-clear]");
    if (!button) return;
    const input = button.closest("[data-picture-field]").querySelector("[data-picture]");
    input.value = "";
    show(input);
    input.focus();
  });

  // While it is being sent the button rests; the server takes a second one for the same anyway.
  const form = document.getElementById("make");
  const button = document.getElementById("submit");
  const words = button?.textContent;
  let sent = false;
  form?.addEventListener("submit", (event) => {
    if (sent) { event.preventDefault(); return; }
    sent = true;
    button.textContent = button.dataset.busyWords;
    button.setAttribute("aria-busy", "true");
    setTimeout(() => { button.disabled = true; }); // a disabled button would not submit
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted || !button) return;
    sent = false;
    button.disabled = false;
    button.removeAttribute("aria-busy");
    button.textContent = words;
  });
})();

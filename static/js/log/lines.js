// The lines of the log: what the page knows of them, and how it asks for more. Kinds are sorted out by the server.
export const CHUNK = 250; // lines
export const box = document.querySelector("[data-log]");
export const view = box.querySelector("[data-log-view]");
export const part = (name) => box.querySelector(`[data-log-${name}]`);

export const lines = new Map(); // number → {text, kind}
export const log = { total: 0 };

export const chunkOf = (number) => Math.floor((number - 1) / CHUNK);
export const firstOf = (index) => index * CHUNK + 1;
export const lastOf = (index) => Math.min(log.total, (index + 1) * CHUNK);

export async function ask(query) {
  const answer = await fetch(`${box.dataset.log}?${new URLSearchParams(query)}`, { headers: { Accept: "application/json" } });
  if (!answer.ok || answer.redirected) throw new Error(`log ${answer.status}`);
  return answer.json();
}

export function keep(found) {
  for (const { n, text, kind } of found) lines.set(n, { text, kind });
}

export function isLoaded(index) {
  for (let n = firstOf(index); n <= lastOf(index); n += 1) if (!lines.has(n)) return false;
  return true;
}

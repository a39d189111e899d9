// Small helpers around the document; nothing here knows what a call is.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// An element with properties, attributes (names with a dash, or `role`, `for`) and children.
export function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || ["role", "for", "list"].includes(key)) node.setAttribute(key, value);
    else if (key === "dataset") Object.assign(node.dataset, value);
    else node[key] = value;
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${new URL("icons.svg", import.meta.url).pathname}#${name}`);
  svg.append(use);
  return svg;
}

export const number = (value, digits = 0) =>
  Number.isFinite(value) ? value.toLocaleString(undefined, { maximumFractionDigits: digits }) : "–";

// Settings that outlive the visit; a browser that forbids storage simply forgets them.
export const remember = {
  get(key, otherwise = null) {
    try { return localStorage.getItem(`chatanyone.${key}`) ?? otherwise; } catch { return otherwise; }
  },
  set(key, value) {
    try { localStorage.setItem(`chatanyone.${key}`, value); } catch { /* forgotten */ }
  },
};

let timer = 0;

// One sentence for the person; `kind` is "info", "good" or "bad". Errors stay until the next one or a click.
export function tell(sentence, kind = "info") {
  const box = $("#notice");
  clearTimeout(timer);
  box.dataset.kind = kind;
  $("#notice-text").textContent = sentence;
  box.hidden = !sentence;
  if (kind !== "bad") timer = setTimeout(() => { box.hidden = true; }, 7000);
}

// Calls `act` at most once in `ms`, the last value always arrives.
export function throttled(act, ms) {
  let waiting = null, last = 0, latest;
  return (...values) => {
    latest = values;
    if (waiting) return;
    waiting = setTimeout(() => { waiting = null; last = performance.now(); act(...latest); },
      Math.max(0, last + ms - performance.now()));
  };
}

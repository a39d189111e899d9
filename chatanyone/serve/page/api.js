// The server's routes. Every failure becomes a `Refusal` whose message is a sentence for the person.

const KEY = "chatanyone.token";
const root = new URL("../", import.meta.url); // this file lies in <root>/static/

// `#token=…` is taken out of the address bar at once and kept for this tab only.
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  try {
    if (given) {
      sessionStorage.setItem(KEY, given);
      history.replaceState(null, "", location.pathname + location.search);
    }
    return given ?? sessionStorage.getItem(KEY);
  } catch { return given; }
}

const token = takeToken();
const headers = (more = {}) => (token ? { Authorization: `Bearer ${token}`, ...more } : more);
export const address = (path) => new URL(path.replace(/^\//, ""), root);

export class Refusal extends Error {
  constructor(message, { status = 0, retryAfter = 0, position = null } = {}) {
    super(message);
    Object.assign(this, { status, retryAfter, position });
  }
}

const BY_STATUS = {
  0: "The server cannot be reached. Is it running?",
  401: "This server asks for a token: open the address it printed at start.",
  403: "The server does not allow this.",
  404: "The server no longer knows this; reload the page.",
  413: "This file is too large for the server.",
  429: "Too many requests; wait a moment and try again.",
  503: "The server is full at the moment.",
};

function refusal(status, text, header) {
  let said = {};
  try { said = JSON.parse(text).error ?? {}; } catch { /* not JSON: the status must do */ }
  const message = said.message ?? BY_STATUS[status] ?? `The server answered with an error (${status}).`;
  return new Refusal(message, {
    status, retryAfter: Number(header("Retry-After")) || 0, position: said.position ?? null,
  });
}

async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(address(path), { ...options, headers: headers(options.headers), cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(BY_STATUS[0]);
  }
  if (!answer.ok) throw refusal(answer.status, await answer.text(), (name) => answer.headers.get(name));
  return answer;
}

export const getJson = async (path) => (await request(path)).json();
export const getBlob = async (path) => (await request(path)).blob();
export const remove = (path, options = {}) => request(path, { method: "DELETE", ...options });

export const post = (path, value, options = {}) => request(path, {
  method: "POST", body: JSON.stringify(value), headers: { "Content-Type": "application/json" }, ...options,
});

// XMLHttpRequest, because fetch tells nothing about how much of a body has left. `onProgress` gets 0…1.
export function upload(path, file, onProgress) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    form.append("file", file, file.name ?? "picture.jpg");
    const sender = new XMLHttpRequest();
    sender.open("POST", address(path));
    for (const [name, value] of Object.entries(headers())) sender.setRequestHeader(name, value);
    sender.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    sender.onerror = () => reject(new Refusal("The upload broke off; try again."));
    sender.onload = () => {
      if (sender.status < 300) resolve(JSON.parse(sender.responseText));
      else reject(refusal(sender.status, sender.responseText, (name) => sender.getResponseHeader(name)));
    };
    sender.send(form);
  });
}

// Asks for `path` until its `state` is no longer "preparing"; a failed preparation is a refusal.
export async function prepared(path, onState, pause = 400) {
  for (;;) {
    const entry = await getJson(path);
    onState(entry);
    if (entry.state === "failed") throw new Refusal(entry.sentence || "This file could not be prepared.");
    if (entry.state !== "preparing") return entry;
    await new Promise((go) => setTimeout(go, pause));
  }
}

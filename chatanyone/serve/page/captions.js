// What both sides say: live under the picture, and kept as a conversation.

import { $, el } from "./dom.js";

const KEEP = 200; // utterances in the conversation; older ones leave
const FADE_MS = 6000; // a finished caption stays this long under the picture

export class Captions {
  #open = new Map(); // "user:item" or "person:item" → {node, text}
  #timer = 0;

  constructor() {
    this.log = $("#conversation");
    this.line = $("#caption");
    this.name = "The person";
  }

  // More words of a running utterance; `words` is the whole text when `whole`.
  say(side, item, words, { whole = false, finished = false } = {}) {
    const key = `${side}:${item}`;
    const entry = this.#open.get(key) ?? this.#begin(side, key);
    entry.text = whole ? words ?? entry.text : entry.text + (words ?? "");
    entry.node.lastChild.textContent = entry.text.trim();
    entry.node.classList.toggle("running", !finished);
    this.#under(side, entry.text, finished);
    if (finished) this.#end(key, entry);
    this.log.scrollTop = this.log.scrollHeight;
  }

  #begin(side, key) {
    const who = el("b", { textContent: side === "user" ? "You" : this.name });
    const entry = { node: el("li", { className: side }, who, el("p")), text: "" };
    this.#open.set(key, entry);
    $("#conversation-empty").hidden = true;
    this.log.append(entry.node);
    while (this.log.children.length > KEEP) this.log.firstElementChild.remove();
    return entry;
  }

  #end(key, entry) {
    this.#open.delete(key);
    if (!entry.text.trim()) entry.node.remove(); // nothing was said after all
  }

  // What was cut off stays readable, marked as such.
  cut(item) {
    const entry = this.#open.get(`person:${item}`);
    if (!entry) return;
    entry.node.classList.add("cut");
    this.say("person", item, `${entry.text.trim()} …`, { whole: true, finished: true });
  }

  cutAll() {
    for (const key of [...this.#open.keys()]) if (key.startsWith("person:")) this.cut(key.slice(7));
  }

  note(sentence) {
    $("#conversation-empty").hidden = true;
    this.log.append(el("li", { className: "note", textContent: sentence }));
    this.log.scrollTop = this.log.scrollHeight;
  }

  #under(side, text, finished) {
    clearTimeout(this.#timer);
    this.line.dataset.side = side;
    this.line.textContent = text.trim().slice(-160);
    if (finished) this.#timer = setTimeout(() => { this.line.textContent = ""; }, FADE_MS);
  }

  clear() {
    this.#open.clear();
    clearTimeout(this.#timer);
    this.line.textContent = "";
  }
}

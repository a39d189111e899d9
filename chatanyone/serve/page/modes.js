// How to talk: each mode with one sentence, and what of the page it needs.

import { $, $$, el, icon, remember } from "./dom.js";

export const MODES = {
  mirror: { title: "Mirror", sentence: "Says what you say, in your voice.", icon: "mirror", voice: true, text: false },
  say: { title: "Say", sentence: "Speaks what you type.", icon: "type", voice: false, text: true, prompt: "Type what they should say" },
  companion: { title: "Companion", sentence: "A small script answers, offline.", icon: "spark", voice: false, text: true, prompt: "Type a message" },
  chat: { title: "Chat", sentence: "A language model answers.", icon: "chat", voice: false, text: true, prompt: "Type a message" },
};

export class Modes {
  constructor(onChange) {
    this.box = $("#modes");
    this.onChange = onChange;
    this.box.addEventListener("change", ({ target }) => this.#set(target.value, true));
  }

  // names: those the server offers; understands: whether it knows what is spoken
  offer(names, preferred, understands) {
    this.understands = understands;
    const known = names.filter((name) => name in MODES);
    this.box.replaceChildren(...known.map(card));
    const before = remember.get("mode");
    this.#set([before, preferred, known[0]].find((name) => known.includes(name)), false);
  }

  #set(name, byHand) {
    if (!name) return;
    this.name = name;
    for (const radio of $$("input", this.box)) radio.checked = radio.value === name;
    const mode = MODES[name];
    document.documentElement.dataset.mode = name;
    $("#say-box").hidden = !mode.text;
    $("#say").placeholder = mode.prompt ?? "";
    $("#conversation-empty").textContent = name === "mirror"
      ? "Speak: the person says it with you. Nothing is written down in this mode."
      : this.understands ? "What you both say will stand here."
        : "What the person says and what you type will stand here. What you speak is not written down: this server has no transcription service.";
    if (byHand) {
      remember.set("mode", name);
      this.onChange(name);
    }
  }
}

function card(name) {
  const mode = MODES[name];
  return el("label", { className: "mode" }, el("input", { type: "radio", name: "mode", value: name }), icon(mode.icon),
    el("span", {}, el("b", { textContent: mode.title }), el("small", { textContent: mode.sentence })));
}

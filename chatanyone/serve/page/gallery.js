// Who can be talked with: the portraits of the server, and pictures one brings along.

import { $, el, icon, remember, tell } from "./dom.js";
import { getBlob, getJson, prepared, upload } from "./api.js";
import { snapshot } from "./devices.js";

const WAIT_MS = 700;

export class Gallery extends EventTarget {
  #urls = new Map(); // id → object URL of the thumbnail, or a promise of it

  constructor() {
    super();
    this.grid = $("#portraits");
    this.input = $("#picture-file");
    this.chosen = null;
    this.entries = [];
    this.limits = {};
    $("#add-picture").addEventListener("click", () => this.input.click());
    $("#add-camera").addEventListener("click", () => this.#camera());
    this.input.addEventListener("change", () => { this.add(this.input.files[0]); this.input.value = ""; });
    this.grid.addEventListener("change", ({ target }) => this.#choose(target.value));
    this.#dropping();
  }

  async load() {
    this.entries = (await getJson("/v1/portraits")).portraits;
    this.#draw();
    const ready = this.entries.filter((entry) => entry.state === "ready");
    const before = remember.get("portrait");
    const first = ready.find((entry) => entry.id === before) ?? ready[0];
    if (first && !this.chosen) await this.#choose(first.id);
    // A server that has just started is still getting to know its pictures.
    if (this.entries.some((entry) => entry.state === "preparing")) setTimeout(() => this.load().catch(() => {}), WAIT_MS);
  }

  thumbnail(id) {
    if (!this.#urls.has(id)) {
      const made = getBlob(`/v1/portraits/${id}/thumbnail`).then(URL.createObjectURL);
      this.#urls.set(id, made.catch(() => { this.#urls.delete(id); return ""; }));
    }
    return this.#urls.get(id);
  }

  #draw() {
    const waiting = this.entries.filter((entry) => entry.state === "preparing").length;
    $("#gallery-empty").hidden = this.entries.length > 0 && !waiting;
    $("#gallery-empty").textContent = waiting ? "Getting to know the faces …" : "No picture yet. Add one below.";
    this.grid.replaceChildren(...this.entries.map((entry) => this.#card(entry)));
  }

  #card(entry) {
    const radio = el("input", {
      type: "radio", name: "portrait", value: entry.id, checked: entry.id === this.chosen?.id, disabled: entry.state !== "ready",
    });
    const picture = el("img", { alt: "" });
    if (entry.state === "ready") this.thumbnail(entry.id).then((url) => { if (url) picture.src = url; });
    return el("label", { className: "portrait", dataset: { state: entry.state } },
      radio, picture, el("span", { className: "portrait-name", textContent: entry.name }), icon("check"));
  }

  async #choose(id) {
    this.chosen = this.entries.find((entry) => entry.id === id);
    remember.set("portrait", id);
    for (const radio of this.grid.querySelectorAll("input")) radio.checked = radio.value === id;
    const detail = { ...this.chosen, picture: await this.thumbnail(id) };
    this.dispatchEvent(new CustomEvent("choose", { detail }));
  }

  async #camera() {
    try {
      const file = await snapshot();
      if (file) await this.add(file);
    } catch (error) { tell(error.message, "bad"); }
  }

  // Sends a picture; the server tells how far it is with it, and a sentence when it cannot use it.
  async add(file) {
    if (!file) return;
    const limit = this.limits.upload_bytes;
    if (limit && file.size > limit) {
      return tell(`This picture has ${mb(file.size)} MB, the server takes up to ${mb(limit)} MB. Save a smaller copy and try again.`, "bad");
    }
    const progress = this.#progress(file);
    try {
      const { id } = await upload("/v1/portraits", file, (sent) => progress.show(sent * 0.3, "Sending the picture"));
      const entry = await prepared(`/v1/portraits/${id}`,
        (now) => progress.show(0.3 + 0.7 * (now.progress ?? 0), now.sentence || "Getting to know the face"));
      this.entries = [...this.entries.filter((other) => other.id !== id), entry];
      this.#draw();
      await this.#choose(id);
      tell(`${entry.name} is ready.`, "good");
    } catch (error) {
      tell(error.message, "bad");
    } finally { progress.end(); }
  }

  #progress(file) {
    const box = $("#upload"), bar = $("progress", box), line = $("p", box);
    $("#upload-name").textContent = file.name;
    box.hidden = false;
    return {
      show(part, sentence) { bar.value = part; line.textContent = sentence; },
      end() { box.hidden = true; bar.value = 0; },
    };
  }

  // A picture may be dropped anywhere on the page.
  #dropping() {
    const hasFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    const mark = (on) => document.documentElement.classList.toggle("dropping", on);
    addEventListener("dragover", (event) => { if (hasFile(event)) { event.preventDefault(); mark(true); } });
    addEventListener("dragleave", (event) => { if (!event.relatedTarget) mark(false); });
    addEventListener("drop", (event) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      mark(false);
      this.add(event.dataTransfer.files[0]);
    });
  }
}

const mb = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);

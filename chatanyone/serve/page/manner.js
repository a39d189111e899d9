// How the person moves: strengths that act while they speak, and styles taken from a clip.

import { $, $$, el, tell, throttled } from "./dom.js";
import { getJson, prepared, upload } from "./api.js";

const SEND_MS = 120;

export class Manner {
  // onChange: gets {dials} or {style} as they go into `session.update`
  constructor(onChange) {
    this.onDials = throttled(() => onChange({ dials: this.dials() }), SEND_MS);
    this.onStyle = () => onChange({ style: this.style() });
    this.main = $("#dials");
    this.groups = $("#groups");
    this.styles = $("#style");
    for (const area of [this.main, this.groups]) area.addEventListener("input", ({ target }) => this.#moved(target));
    $("#natural").addEventListener("click", () => this.#natural());
    this.styles.addEventListener("change", this.onStyle);
    $("#add-style").addEventListener("click", () => $("#style-file").click());
    $("#style-file").addEventListener("change", ({ target }) => { this.add(target.files[0]); target.value = ""; });
  }

  // names: groups the server announces, e.g. "mouth", "brows"
  announce(names = []) {
    $("#group-box").hidden = names.length === 0;
    this.groups.replaceChildren(...names.map((name) => slider(name)));
  }

  #moved(input) {
    show(input);
    this.onDials();
  }

  #natural() {
    for (const input of $$("input[type=range]", $("#panel-manner"))) { input.value = 1; show(input); }
    this.onDials();
  }

  dials() {
    const read = (area) => Object.fromEntries($$("input", area).map((input) => [input.name, Number(input.value)]));
    return { ...read(this.main), groups: read(this.groups) };
  }

  style() { return this.styles.value || null; }

  async load() {
    const { styles } = await getJson("/v1/styles").catch(() => ({ styles: [] }));
    const ready = styles.filter((entry) => (entry.state ?? "ready") === "ready");
    this.styles.replaceChildren(el("option", { value: "", textContent: "As it is" }),
      ...ready.map((entry) => el("option", { value: entry.id, textContent: entry.name })));
  }

  async add(file) {
    if (!file) return;
    const status = $("#style-status");
    try {
      const { id } = await upload("/v1/styles", file, (sent) => { status.textContent = `Sending the clip: ${Math.round(sent * 100)} %`; });
      await prepared(`/v1/styles/${id}`, (now) => {
        status.textContent = now.sentence || `Watching how they move: ${Math.round(100 * (now.progress ?? 0))} %`;
      });
      await this.load();
      this.styles.value = id;
      this.onStyle();
      tell("The clip's manner is in use.", "good");
    } catch (error) {
      tell(error.message, "bad");
    } finally { status.textContent = ""; }
  }
}

function slider(name) {
  const id = `dial-${name}`;
  const title = name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");
  return el("div", { className: "dial" }, el("label", { for: id, textContent: title }),
    el("output", { for: id, textContent: "natural" }),
    el("input", { id, name, type: "range", min: 0, max: 2, step: 0.05, value: 1, "aria-valuetext": "natural" }));
}

function show(input) {
  const value = Number(input.value);
  const text = value === 1 ? "natural" : value === 0 ? "still" : `× ${value.toFixed(2)}`;
  input.parentElement.querySelector("output").textContent = text;
  input.setAttribute("aria-valuetext", text);
}

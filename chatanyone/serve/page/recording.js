// The server records what it sends; afterwards the film can be saved.

import { $, el, tell } from "./dom.js";
import { getBlob, post } from "./api.js";

export class Recording {
  constructor(talk) {
    this.talk = talk;
    this.button = $("#record");
    this.path = null; // of the running recording
    this.button.addEventListener("click", () => (this.path ? this.stop() : this.start()));
    talk.addEventListener("state", ({ detail }) => { if (["again", "ended"].includes(detail)) this.#over(); });
  }

  async start() {
    const path = `${this.talk.call.path}/recording`;
    try {
      await post(path, { action: "start" });
    } catch (error) { return tell(error.message, "bad"); }
    this.path = path;
    this.began = Date.now();
    this.timer = setInterval(() => this.#clock(), 500);
    this.#show(true);
  }

  async stop() {
    const path = this.path;
    this.#over();
    try {
      await post(path, { action: "stop" });
      const url = URL.createObjectURL(await getBlob(path));
      const name = `chatanyone-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.mp4`;
      const link = el("a", { href: url, download: name, textContent: `Save ${name}` });
      $("#recordings").prepend(el("li", {}, link));
      $("#recordings-box").hidden = false;
      tell("The recording is ready: see Details.", "good");
    } catch (error) { tell(error.message, "bad"); }
  }

  #clock() {
    const seconds = Math.floor((Date.now() - this.began) / 1000);
    $("#record-time").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }

  #over() {
    clearInterval(this.timer);
    this.path = null;
    this.#show(false);
  }

  #show(on) {
    this.button.setAttribute("aria-pressed", String(on));
    $(".dock-word", this.button).textContent = on ? "Recording" : "Record";
    $("#record-time").textContent = on ? "0:00" : "";
  }
}

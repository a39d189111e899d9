// Who may speak when: mute, push-to-talk, the interrupt button, and the keys for them.

import { $, remember } from "./dom.js";

const RESTORE_MS = 400; // after the server confirmed: what was on its way has been played by then
const GIVE_UP_MS = 2000;

export class Voice {
  #restore = 0;

  constructor(talk, devices) {
    Object.assign(this, { talk, devices, held: false, muted: false });
    this.push = $("#push-to-talk");
    this.push.checked = remember.get("push") === "yes";
    this.push.addEventListener("change", () => { remember.set("push", this.push.checked ? "yes" : "no"); this.changed(); });
    $("#mute").addEventListener("click", () => { this.muted = !this.muted; this.changed(); });
    $("#interrupt").addEventListener("click", () => this.interrupt());
    this.#holdable($("#hold"));
    addEventListener("keydown", (event) => this.#key(event, true));
    addEventListener("keyup", (event) => this.#key(event, false));
    addEventListener("blur", () => this.hold(false));
    this.changed();
  }

  // What `session.update` says about turns: null is push-to-talk.
  settings() {
    return { audio: { input: { turn_detection: this.push.checked ? null : { type: "server_vad" } } } };
  }

  changed() {
    const push = this.push.checked;
    document.documentElement.classList.toggle("push", push);
    $("#mute").setAttribute("aria-pressed", String(this.muted));
    $(".dock-word", $("#mute")).textContent = this.muted ? "Muted" : "Mute";
    this.devices.talk(push ? this.held : !this.muted);
    if (this.talk.state === "live" && this.wasPush !== push) this.talk.send({ type: "session.update", session: this.settings() });
    this.wasPush = push;
  }

  hold(on) {
    if (on === this.held || !this.push.checked || !this.talk.running) return;
    this.held = on;
    this.devices.talk(on);
    $("#hold").setAttribute("aria-pressed", String(on));
    if (on) {
      this.interrupt();
      this.talk.send({ type: "input_audio_buffer.clear" });
    } else {
      this.talk.send({ type: "input_audio_buffer.commit" });
      // A mirror has said it already.
      if (document.documentElement.dataset.mode !== "mirror") this.talk.send({ type: "response.create" });
    }
  }

  #holdable(button) {
    button.addEventListener("pointerdown", (event) => { button.setPointerCapture(event.pointerId); this.hold(true); });
    for (const end of ["pointerup", "pointercancel"]) button.addEventListener(end, () => this.hold(false));
    button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long press on a phone
  }

  #key(event, down) {
    const typing = event.target.matches?.("input:not([type=range], [type=checkbox], [type=radio]), textarea, select");
    if (event.key === "Escape" && down && !$("dialog[open]") && this.talk.running) this.interrupt();
    if (event.code !== "Space" || typing || !this.push.checked || !this.talk.running) return;
    if (event.target.matches?.("button, summary, [role=tab], input") && event.target.id !== "hold") return;
    event.preventDefault(); // no scrolling, no click
    if (!event.repeat) this.hold(down);
  }

  // Silent at once here, the server follows; the sound returns with its confirmation.
  interrupt() {
    if (!this.talk.send({ type: "response.cancel" })) return;
    this.quiet(true);
    this.#later(GIVE_UP_MS);
  }

  // The server stopped (or starts something new): what comes from now on is meant to be heard.
  confirmed(at_once = false) { if ($("#person").muted) this.#later(at_once ? 0 : RESTORE_MS); }

  #later(ms) {
    clearTimeout(this.#restore);
    this.#restore = setTimeout(() => this.quiet(false), ms);
  }

  quiet(on) { $("#person").muted = on; }
}

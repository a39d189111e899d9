// From the start button to the end: microphone, queue, call, lost connections and new tries.

import { $, tell } from "./dom.js";
import { Call } from "./call.js";

const TRIES = 4; // after a lost connection
const PAUSE_S = [1, 2, 4, 8];

const STATUS = {
  idle: "Ready", asking: "Asking for the microphone", connecting: "Connecting", waiting: "Waiting in line",
  live: "Live", shaky: "Connection is weak", again: "Reconnecting", ended: "Ended",
};

// States: idle, asking, connecting, waiting (server full), live, shaky, again (after a loss), ended.
export class Talk extends EventTarget {
  #stopped = true;
  #wake = null;

  // wishes(): the session's settings at this moment; needsVoice(): whether the mode cannot do without a microphone
  constructor(devices, wishes, needsVoice) {
    super();
    Object.assign(this, { devices, wishes, needsVoice, call: null, state: "idle" });
    addEventListener("pagehide", () => this.call?.stop());
  }

  get running() { return !this.#stopped; }

  #enter(state, sentence = "") {
    this.state = state;
    document.documentElement.dataset.call = state;
    $("#status-text").textContent = STATUS[state];
    $("#veil-text").textContent = sentence || STATUS[state];
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }

  // The page knows what the server offers.
  ready() { if (!this.running) this.#enter("idle"); }

  async start() {
    if (this.running) return;
    this.#stopped = false;
    this.#enter("asking", "Your browser asks for the microphone");
    const microphone = await this.devices.open().catch((error) => this.#voiceless(error));
    if (microphone !== undefined && this.running) await this.#connect(microphone);
  }

  // Without a microphone one can still type, except where the person speaks with the user's voice.
  #voiceless(error) {
    tell(error.message, "bad");
    if (!this.needsVoice()) return null;
    this.stop(error.message);
    return undefined;
  }

  async #connect(microphone, tries = 0) {
    this.#enter(tries ? "again" : "connecting", tries ? `Connection lost; try ${tries} of ${TRIES}` : "");
    const call = this.call = new Call(this.wishes(), microphone);
    this.#listen(call, tries);
    try {
      await call.start();
    } catch (error) {
      call.stop();
      if (!this.running) return;
      if (error.status === 503) await this.#queue(error, tries);
      else if (tries && tries < TRIES && (error.status === 0 || error.status >= 500)) await this.#again(tries);
      else this.stop(error.message);
    }
  }

  #listen(call, tries) {
    const mine = (act) => ({ detail }) => { if (this.call === call && this.running) act(detail); };
    call.addEventListener("open", mine(() => this.#enter("live")));
    call.addEventListener("shaky", mine(() => this.#enter("shaky", "The connection is weak")));
    call.addEventListener("steady", mine(() => { if (this.state === "shaky") this.#enter("live"); }));
    call.addEventListener("message", mine((event) => this.dispatchEvent(new CustomEvent("message", { detail: event }))));
    call.addEventListener("lost", mine((sentence) => {
      const again = this.state === "live" || this.state === "shaky" ? 0 : tries;
      if (again < TRIES) this.#again(again);
      else this.stop(sentence);
    }));
  }

  async #again(tries) {
    this.#enter("again", `Connection lost; trying again in ${PAUSE_S[tries]} s`);
    await this.#sleep(PAUSE_S[tries]);
    if (this.running) await this.#connect(this.devices.track, tries + 1);
  }

  // The server is full: wait as long as it says, then ask again.
  async #queue(error, tries) {
    const place = error.position ? `You are number ${error.position} in line. ` : "";
    for (let left = Math.max(2, error.retryAfter); left > 0 && this.running; left -= 1) {
      this.#enter("waiting", `${error.message} ${place}Asking again in ${left} s.`);
      await this.#sleep(1);
    }
    if (this.running) await this.#connect(this.devices.track, tries);
  }

  #sleep(seconds) {
    return new Promise((go) => { this.#wake = go; setTimeout(go, seconds * 1000); });
  }

  // sentence: why, when it was not the person's own wish
  stop(sentence = "") {
    if (!this.running) return;
    this.#stopped = true;
    this.#wake?.();
    this.call?.stop();
    this.devices.close();
    this.#enter("ended", sentence);
    if (sentence) tell(sentence, "bad");
  }

  send(event) { return this.call?.send(event) ?? false; }
}

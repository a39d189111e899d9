// Microphone, speaker and camera of the one in front of the page.

import { $, el, remember } from "./dom.js";

const SENTENCES = {
  NotAllowedError: "The microphone is blocked. Allow it for this page in the browser's address bar, then start again; typing works without it.",
  NotFoundError: "No microphone was found. Plug one in, or choose a mode in which you type.",
  NotReadableError: "The microphone is in use by another program.",
  OverconstrainedError: "The chosen microphone is gone; pick another one.",
};
const INSECURE = "Browsers give the microphone to secure pages only: open this page over https, or from localhost.";

export class Devices {
  #context = null;

  // onChange: called with the new track when the person picks another microphone during a call
  constructor(onChange) {
    this.track = null;
    this.onChange = onChange;
    this.talking = true; // what push-to-talk and the mute button decide
    this.microphones = $("#microphone");
    this.speakers = $("#speaker");
    this.microphones.addEventListener("change", () => this.#picked());
    this.speakers.addEventListener("change", () => this.route($("#person")));
    if (!("setSinkId" in HTMLMediaElement.prototype)) this.speakers.closest(".field").hidden = true;
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.list());
    this.list();
  }

  // Names appear only after the microphone was allowed once.
  async list() {
    const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    this.#fill(this.microphones, all.filter((d) => d.kind === "audioinput"), "microphone", "Default microphone");
    this.#fill(this.speakers, all.filter((d) => d.kind === "audiooutput"), "speaker", "Default speaker");
  }

  #fill(select, devices, key, otherwise) {
    const before = select.value || remember.get(key, "");
    const options = devices.filter((d) => d.deviceId && d.deviceId !== "default")
      .map((d, i) => el("option", { value: d.deviceId, textContent: d.label || `${key} ${i + 1}` }));
    select.replaceChildren(el("option", { value: "", textContent: otherwise }), ...options);
    select.value = options.some((o) => o.value === before) ? before : "";
  }

  // The microphone's track; throws an Error whose message is a sentence.
  async open() {
    if (!navigator.mediaDevices?.getUserMedia) throw new Error(INSECURE);
    this.close();
    const id = this.microphones.value;
    const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    if (id) audio.deviceId = { exact: id };
    try {
      [this.track] = (await navigator.mediaDevices.getUserMedia({ audio })).getAudioTracks();
    } catch (error) {
      throw new Error(SENTENCES[error.name] ?? `The microphone did not open: ${error.message}`);
    }
    this.track.enabled = this.talking;
    this.#meter();
    this.list();
    return this.track;
  }

  async #picked() {
    remember.set("microphone", this.microphones.value);
    if (!this.track) return;
    try { await this.onChange(await this.open()); } catch (error) { this.onChange(null, error.message); }
  }

  talk(on) {
    this.talking = on;
    if (this.track) this.track.enabled = on;
  }

  close() {
    this.track?.stop();
    this.track = null;
    this.#context?.close();
    this.#context = null;
  }

  async route(element) {
    remember.set("speaker", this.speakers.value);
    await element.setSinkId?.(this.speakers.value).catch(() => { this.speakers.value = ""; });
  }

  // A bar that shows the loudness of the microphone, −60 … 0 dB.
  #meter() {
    const context = this.#context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 1024;
    context.createMediaStreamSource(new MediaStream([this.track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const draw = () => {
      if (this.#context !== context) return;
      analyser.getFloatTimeDomainData(samples);
      const rms = Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
      const level = Math.max(0, 1 + Math.log10(rms + 1e-6) / 3);
      document.documentElement.style.setProperty("--level", level.toFixed(2));
      setTimeout(draw, 60);
    };
    draw();
  }
}

// A dialog with the camera's picture; resolves to a JPEG file, or null when it was closed.
export async function snapshot() {
  const dialog = $("#camera");
  const video = $("video", dialog);
  const constraints = { video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 1280 } } };
  const stream = await navigator.mediaDevices.getUserMedia(constraints).catch(() => {
    throw new Error("The camera did not open. Allow it for this page, or pick a file instead.");
  });
  video.srcObject = stream;
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  stream.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  if (dialog.returnValue !== "take") return null;
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
  return new File([blob], "camera.jpg", { type: "image/jpeg" });
}

// Joins the parts: what the server offers, what the person wants, and the events of the call.

import { $, el, tell } from "./dom.js";
import { getJson } from "./api.js";
import { Captions } from "./captions.js";
import { Devices } from "./devices.js";
import { Gallery } from "./gallery.js";
import { Manner } from "./manner.js";
import { MODES, Modes } from "./modes.js";
import { Recording } from "./recording.js";
import { Talk } from "./talk.js";
import { Telemetry } from "./telemetry.js";
import { Voice } from "./voice.js";
import { tabs } from "./tabs.js";

const page = document.documentElement;
const person = $("#person");
const show = tabs($("#tabs"));
const update = (session) => talk.send({ type: "session.update", session });

const devices = new Devices(async (track, problem) => {
  if (problem) tell(problem, "bad");
  await talk.call?.replaceMicrophone(track);
});
const gallery = new Gallery();
const manner = new Manner(update);
const modes = new Modes((mode) => update({ mode }));
const captions = new Captions();
const telemetry = new Telemetry();
const talk = new Talk(devices, wishes, () => MODES[modes.name].voice);
const voice = new Voice(talk, devices);
const recording = new Recording(talk);

function wishes() {
  return { portrait: gallery.chosen.id, mode: modes.name, style: manner.style(), dials: manner.dials(), ...voice.settings() };
}

// What the server says over the data channel.
const HEARD = {
  "session.created": () => captions.note(begun()),
  "input_audio_buffer.speech_started": () => page.classList.add("user-speaks"),
  "input_audio_buffer.speech_stopped": () => page.classList.remove("user-speaks"),
  "conversation.item.input_audio_transcription.delta": (e) => captions.say("user", e.item_id, e.delta),
  "conversation.item.input_audio_transcription.completed":
    (e) => captions.say("user", e.item_id, e.transcript, { whole: true, finished: true }),
  "response.output_audio_transcript.delta": (e) => captions.say("person", e.item_id, e.delta),
  "response.output_audio_transcript.done":
    (e) => captions.say("person", e.item_id, e.transcript, { whole: true, finished: true }),
  "conversation.item.truncated": (e) => captions.cut(e.item_id),
  "response.done": (e) => { if (e.response?.status === "failed") trouble(e.response.status_details?.error?.message); },
  "output_audio_buffer.started": () => voice.confirmed(true),
  "output_audio_buffer.cleared": () => { captions.cutAll(); voice.confirmed(); },
  "chatanyone.state": ({ state }) => personDoes(state),
  "chatanyone.stats": ({ stats }) => { telemetry.server = stats ?? {}; },
  "chatanyone.notice": ({ message }) => { tell(message); captions.note(message); },
  "chatanyone.ended": ({ reason }) => talk.stop(reason),
  error: ({ error }) => trouble(error?.message),
};

function trouble(message) { if (message) tell(message, "bad"); }

function begun() { return `What you see of ${gallery.chosen.name} is made by a computer from one picture.`; }

function personDoes(state) {
  page.dataset.person = state;
  $("#doing-text").textContent = { listening: "Listening", thinking: "Thinking", speaking: "Speaking" }[state] ?? "";
}

talk.addEventListener("message", ({ detail }) => HEARD[detail.type]?.(detail));
talk.addEventListener("state", ({ detail: state }) => {
  const busy = talk.running;
  $("#start").hidden = busy;
  $("#stop-waiting").hidden = !["asking", "connecting", "waiting", "again"].includes(state);
  if (state === "live") live();
  if (!busy || state === "again") quiet();
});

function live() {
  if (person.srcObject === talk.call.stream) return;
  person.srcObject = talk.call.stream;
  person.muted = false;
  devices.route(person);
  person.play().catch(() => tell("Click the picture to hear the person.", "info"));
  telemetry.watch(talk.call);
  personDoes("listening");
  show("talk");
}

function quiet() {
  telemetry.stop();
  captions.clear();
  person.srcObject = null;
  page.classList.remove("user-speaks");
  delete page.dataset.person;
  $("#live-numbers").textContent = "";
}

// Pictures: another one during a call means a new call.
gallery.addEventListener("choose", ({ detail }) => {
  captions.name = detail.name;
  $("#person-name").textContent = detail.name;
  person.setAttribute("aria-label", `Live video of ${detail.name}, a synthetic person`);
  $("#poster").src = detail.picture;
  $("#start").disabled = false;
  if (talk.running) { talk.stop(); talk.start(); }
});

$("#start").addEventListener("click", () => talk.start());
$("#stop").addEventListener("click", () => talk.stop());
$("#stop-waiting").addEventListener("click", () => talk.stop());
$("#notice-close").addEventListener("click", () => tell(""));
person.addEventListener("click", () => person.play());
person.addEventListener("resize", () => page.style.setProperty("--aspect", `${person.videoWidth} / ${person.videoHeight}`));

$("#say-box").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("#say").value.trim();
  if (!text) return;
  const item = { type: "message", role: "user", content: [{ type: "input_text", text }] };
  if (!talk.send({ type: "conversation.item.create", item })) return tell("Start the conversation first; then what you type is said.");
  talk.send({ type: "response.create" });
  captions.say("user", `typed-${performance.now()}`, text, { whole: true, finished: true });
  $("#say").value = "";
});

async function begin() {
  try {
    const info = await getJson("/v1/info");
    modes.offer(info.modes ?? ["mirror"], info.default_mode, info.understands !== false);
    manner.announce(info.groups);
    gallery.limits = info.limits ?? {};
    if (info.size) page.style.setProperty("--aspect", `${info.size[0]} / ${info.size[1]}`);
    $("#picked").textContent = info.sentence ?? "";
    await Promise.all([gallery.load(), manner.load()]);
    talk.ready();
  } catch (error) { tell(error.message, "bad"); }
}

// For whoever looks from the browser's console, tests among them.
globalThis.chatanyone = { talk, telemetry, captions, gallery };
await begin();
page.dataset.loaded = "yes";

// Numbers of a running call: rate, delay, losses, and whether lips and sound are together at this receiver.

import { $, number } from "./dom.js";

const EVERY_MS = 1000;
// ITU-R BT.1359: differences people notice, ms; positive when the sound is early.
// What the server needs besides its own lead (docs/live.md, "Latency"): the encoder's look-ahead, a unit that must be full.
const LOOK_AHEAD_MS = 167, UNIT_MS = 133;
const EARLY_MS = 45, LATE_MS = -125;

// What the receiver knows of its own: a plain object of numbers, `undefined` where the browser does not tell.
export async function measure(peer) {
  const found = {};
  (await peer.getStats()).forEach((row) => {
    if (row.type === "inbound-rtp") found[row.kind] = row;
    if (row.type === "candidate-pair" && row.nominated && row.state === "succeeded") found.pair = row;
    if (row.type === "codec") (found.codecs ??= {})[row.id] = row;
  });
  const { audio = {}, video = {}, pair = {}, codecs = {} } = found;
  return {
    at: performance.now(),
    width: video.frameWidth, height: video.frameHeight,
    frames: video.framesDecoded, dropped: video.framesDropped, bytes: (video.bytesReceived ?? 0) + (audio.bytesReceived ?? 0),
    lost: (video.packetsLost ?? 0) + (audio.packetsLost ?? 0), freezes: video.freezeCount,
    concealed: audio.concealedSamples, codec: codecs[video.codecId]?.mimeType?.replace("video/", ""),
    roundTrip: pair.currentRoundTripTime * 1000,
    soundBuffer: audio.jitterBufferDelay, soundEmitted: audio.jitterBufferEmittedCount,
    pictureBuffer: video.jitterBufferDelay, pictureEmitted: video.jitterBufferEmittedCount,
    // The media clock that is heard minus the one that is seen, on the sender's clock: positive = sound early.
    offset: audio.estimatedPlayoutTimestamp - video.estimatedPlayoutTimestamp,
  };
}

export class Telemetry {
  constructor() {
    this.server = {}; // the last chatanyone.stats
    this.latest = {};
    this.offsets = []; // of the last minute, ms
  }

  watch({ peer, lipSync }) {
    this.stop();
    this.lipSync = lipSync;
    this.before = null;
    this.offsets.length = 0;
    this.timer = setInterval(async () => {
      const now = await measure(peer).catch(() => null);
      if (now) this.#show(now);
    }, EVERY_MS);
  }

  stop() { clearInterval(this.timer); }

  #show(now) {
    const before = this.before ?? now;
    this.before = now;
    const seconds = (now.at - before.at) / 1000 || Infinity;
    if (Number.isFinite(now.offset)) {
      this.offsets.push(now.offset);
      this.lipSync.correct(now.offset);
    }
    if (this.offsets.length > 60) this.offsets.shift();
    const mean = (delay, emitted) => 1000 * (now[delay] - before[delay]) / (now[emitted] - before[emitted]);
    this.latest = {
      ...now, fps: (now.frames - before.frames) / seconds, kbps: 8 * (now.bytes - before.bytes) / seconds / 1000,
      soundBufferMs: mean("soundBuffer", "soundEmitted"), pictureBufferMs: mean("pictureBuffer", "pictureEmitted"),
    };
    this.#write();
  }

  #write() {
    const t = this.latest, s = this.server;
    const set = (id, text) => { $(`#number-${id}`).textContent = text; };
    set("picture", t.width ? `${t.width} × ${t.height}${t.codec ? ` · ${t.codec}` : ""}` : "–");
    set("fps", `${number(t.fps, 1)} per second`);
    set("rate", `${number(t.kbps)} kbit/s`);
    set("delay", delay(t, s));
    set("network", `${number(t.roundTrip)} ms round trip`);
    set("buffer", `${number(t.soundBufferMs)} ms sound · ${number(t.pictureBufferMs)} ms picture`);
    set("loss", `${number(t.lost)} packets lost · ${number(t.freezes)} freezes`);
    set("sync", sync(t.offset));
    $("#number-sync").dataset.good = String(!(t.offset > EARLY_MS || t.offset < LATE_MS));
    $("#live-numbers").textContent = t.width ? `${t.width} × ${t.height} · ${number(t.fps)} fps` : "";
  }
}

function delay(t, s) {
  const server = LOOK_AHEAD_MS + UNIT_MS + s.lead_ms;
  const total = (server ?? NaN) + t.roundTrip / 2 + t.pictureBufferMs;
  return Number.isFinite(total) ? `about ${number(total)} ms, ${number(server)} of them on the server` : "measured once the person speaks";
}

function sync(offset) {
  if (!Number.isFinite(offset)) return "not told by this browser";
  const ms = Math.round(Math.abs(offset));
  return ms < 5 ? "together" : `sound ${ms} ms ${offset > 0 ? "early" : "late"}`;
}

// Lips and sound together at this receiver. Left alone, Chromium lets sound wait for 70 ms and pictures for 5 ms, and takes
// 20 s to make up for it; after a disturbance again. So both begin with the same wait, and the pictures' is corrected by
// what the browser measures. Our choice: the numbers below, tried on a busy machine.

const BEGIN_MS = 80;
const LEAST_MS = 40, MOST_MS = 500;
const IGNORE_MS = 12; // half a frame is as good as together
const GAIN = 0.9;
const SETTLE = 2; // measurements to wait after a correction

export class LipSync {
  #receivers = {};
  #before = 0;
  #wait = 0;

  // kind: "audio" or "video"
  add(kind, receiver) {
    this.#receivers[kind] = receiver;
    this.#set(receiver, BEGIN_MS);
  }

  // offset: ms, positive when the sound is early; once a second
  correct(offset) {
    const before = this.#before;
    this.#before = offset;
    const video = this.#receivers.video;
    if (!video || (this.#wait -= 1) > 0) return;
    // Twice the same way, or it was a hiccup of one of the two clocks.
    if (Math.min(Math.abs(offset), Math.abs(before)) <= IGNORE_MS || Math.sign(offset) !== Math.sign(before)) return;
    const step = Math.abs(offset) < Math.abs(before) ? offset : before;
    this.#set(video, Math.min(MOST_MS, Math.max(LEAST_MS, (video.jitterBufferTarget ?? BEGIN_MS) - GAIN * step)));
    this.#wait = SETTLE;
  }

  // Browsers that do not know this attribute keep their own way.
  #set(receiver, ms) {
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = ms;
  }
}

// For the tests: what this receiver sees and hears, with the time of each. Runs in the page beside it, changes nothing.

globalThis.probe = {
  // Small grey pictures of every frame that is presented, and the sound's samples, until `stop`.
  // crop: left, top, width, height of what is kept, px of the video; null keeps all of it
  async start(stream, video, workletUrl, width = 64, height = 96, crop = null) {
    Object.assign(this, { frames: [], blocks: [], keys: [], marks: {}, width, height, crop, running: true });
    addEventListener("keydown", (event) => this.keys.push([event.key, performance.now()]), true);
    this.watch(video);
    await this.listen(stream, workletUrl);
    this.began = performance.now();
  },

  watch(video) {
    const canvas = new OffscreenCanvas(this.width, this.height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const next = (now, data) => {
      if (!this.running) return;
      video.requestVideoFrameCallback(next);
      const crop = this.crop ?? [0, 0, video.videoWidth, video.videoHeight];
      context.drawImage(video, ...crop, 0, 0, this.width, this.height);
      const pixels = context.getImageData(0, 0, this.width, this.height).data;
      const grey = new Uint8Array(this.width * this.height);
      for (let i = 0; i < grey.length; i += 1) grey[i] = (pixels[4 * i] + 2 * pixels[4 * i + 1] + pixels[4 * i + 2]) >> 2;
      this.frames.push({ shown: data.expectedDisplayTime, now, rtp: data.rtpTimestamp, presented: data.presentedFrames, grey });
    };
    video.requestVideoFrameCallback(next);
  },

  async listen(stream, workletUrl) {
    this.context = new AudioContext({ sampleRate: 48000 });
    await this.context.audioWorklet.addModule(workletUrl);
    const node = new AudioWorkletNode(this.context, "probe");
    node.port.onmessage = ({ data }) => this.blocks.push({ at: performance.now(), first: data.first, samples: data.samples });
    this.context.createMediaStreamSource(new MediaStream(stream.getAudioTracks())).connect(node).connect(this.context.destination);
    await this.context.resume();
  },

  // RMS of the last block that was heard.
  level() {
    const samples = this.blocks.at(-1)?.samples ?? [0];
    return Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
  },

  async stop() {
    this.running = false;
    await this.context.close();
  },

  result() {
    const base64 = (bytes) => {
      let text = "";
      for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
      return btoa(text);
    };
    const join = (parts) => {
      const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
      let at = 0;
      for (const part of parts) {
        whole.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at);
        at += part.byteLength;
      }
      return base64(whole);
    };
    return {
      width: this.width, height: this.height, keys: this.keys, marks: this.marks,
      times: this.frames.map((frame) => [frame.shown, frame.now, frame.rtp, frame.presented]),
      grey: join(this.frames.map((frame) => frame.grey)),
      blocks: this.blocks.map((block) => [block.at, block.first, block.samples.length]),
      sound: join(this.blocks.map((block) => block.samples)),
    };
  },
};

// One WebRTC call: the microphone goes up, the person comes down, events run over a data channel.

import { LipSync } from "./lipsync.js";
import { getJson, post, remove } from "./api.js";

const GATHER_MS = 1500; // then the offer goes with the candidates there are
const GRACE_MS = 4000; // a connection may be "disconnected" this long before it counts as lost
const OPEN_MS = 15000; // nothing after this: no way through

export const NO_WAY = "No connection for sound and picture came about. A firewall may block UDP; the connection check tells more.";

export class Call extends EventTarget {
  #lost = 0;

  // microphone: MediaStreamTrack or null (then nothing is sent up)
  constructor(session, microphone) {
    super();
    this.session = session;
    this.microphone = microphone;
    this.path = null; // of this call on the server
    this.stream = new MediaStream();
    this.closed = false;
    this.lipSync = new LipSync();
  }

  async start() {
    const ice = await getJson("/v1/ice").catch(() => ({}));
    if (this.closed) return;
    this.peer = new RTCPeerConnection({ iceServers: ice.iceServers ?? [] });
    this.#listen();
    this.#offerTracks();
    await this.peer.setLocalDescription(await this.peer.createOffer());
    await this.#gathered();
    const answer = await post("/v1/realtime/calls", { sdp: this.peer.localDescription.sdp, session: this.session });
    this.path = new URL(answer.headers.get("Location"), answer.url).pathname;
    if (this.closed) return this.#hangUp();
    await this.peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
    this.opening = setTimeout(() => this.#lose(NO_WAY), OPEN_MS);
  }

  #offerTracks() {
    // Both ways even without a microphone, so that one can come later.
    this.sender = this.peer.addTransceiver(this.microphone ?? "audio", { direction: "sendrecv" }).sender;
    this.peer.addTransceiver("video", { direction: "recvonly" });
    this.channel = this.peer.createDataChannel("oai-events");
    this.channel.onmessage = ({ data }) => this.#received(data);
    this.channel.onopen = () => { clearTimeout(this.opening); this.#dispatch("open"); };
  }

  #listen() {
    this.peer.ontrack = ({ track, receiver }) => {
      this.lipSync.add(track.kind, receiver);
      // Both tracks in one stream: that is what makes the browser keep lips and sound together.
      this.stream.addTrack(track);
      this.#dispatch("track", track);
    };
    this.peer.onconnectionstatechange = () => {
      const state = this.peer.connectionState;
      clearTimeout(this.#lost);
      if (state === "failed") this.#lose(this.channel.readyState === "connecting" ? NO_WAY : "The connection was lost.");
      if (state === "disconnected") {
        this.#dispatch("shaky");
        this.#lost = setTimeout(() => this.#lose("The connection was lost."), GRACE_MS);
      }
      if (state === "connected") this.#dispatch("steady");
    };
  }

  #gathered() {
    if (this.peer.iceGatheringState === "complete") return Promise.resolve();
    return new Promise((go) => {
      setTimeout(go, GATHER_MS);
      this.peer.onicegatheringstatechange = () => this.peer.iceGatheringState === "complete" && go();
    });
  }

  #received(data) {
    let event;
    try { event = JSON.parse(data); } catch { return; } // not ours
    this.#dispatch("message", event);
  }

  #dispatch(type, detail) { if (!this.closed) this.dispatchEvent(new CustomEvent(type, { detail })); }

  #lose(sentence) {
    this.#dispatch("lost", sentence);
    this.stop();
  }

  // Tells the server something; false when nobody can hear it now.
  send(event) {
    if (this.channel?.readyState !== "open") return false;
    this.channel.send(JSON.stringify(event));
    return true;
  }

  async replaceMicrophone(track) {
    this.microphone = track;
    await this.sender?.replaceTrack(track);
  }

  stop() {
    if (this.closed) return;
    this.closed = true;
    clearTimeout(this.#lost);
    clearTimeout(this.opening);
    this.#hangUp();
  }

  // Says goodbye before closing: a server that sees the connection go first no longer knows the call.
  async #hangUp() {
    const path = this.path;
    this.path = null;
    if (path) await remove(path, { keepalive: true }).catch(() => {}); // it also notices by itself
    this.peer?.close();
  }
}

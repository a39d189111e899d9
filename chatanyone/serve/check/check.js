// Each step of a call by itself, so that a failure has a name: HTTP, microphone, candidates, TURN, and the way to the server.

const STEP_MS = 12000;
const list = document.querySelector("#steps");
const token = (() => { try { return sessionStorage.getItem("chatanyone.token"); } catch { return null; } })();
const headers = token ? { Authorization: `Bearer ${token}` } : {};

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { ...headers, ...options.headers }, cache: "no-store" });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Error(said.error?.message ?? `The server answered ${answer.status}.`);
}

function show(title) {
  const item = document.createElement("li");
  const state = document.createElement("strong");
  const text = document.createElement("p");
  state.textContent = "checking";
  text.textContent = title;
  item.append(state, text);
  list.append(item);
  return (name, word, sentence) => {
    item.dataset.state = name;
    state.textContent = word;
    text.textContent = `${title}: ${sentence}`;
  };
}

async function step(title, work) {
  const tell = show(title);
  try {
    const [state, sentence] = await work();
    tell(state, { good: "works", skip: "skipped", bad: "fails" }[state], sentence);
  } catch (error) {
    tell("bad", "fails", error.message);
  }
}

function candidates(configuration) {
  return new Promise((resolve) => {
    const peer = new RTCPeerConnection(configuration);
    const found = [];
    const end = () => { peer.close(); resolve(found); };
    peer.onicecandidate = ({ candidate }) => (candidate ? found.push(candidate) : end());
    peer.createDataChannel("check");
    peer.createOffer().then((offer) => peer.setLocalDescription(offer));
    setTimeout(end, STEP_MS);
  });
}

function gathered(peer) {
  return new Promise((resolve) => {
    if (peer.iceGatheringState === "complete") resolve();
    peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && resolve();
    setTimeout(resolve, 3000);
  });
}

async function echo(configuration) {
  const peer = new RTCPeerConnection(configuration);
  try {
    const channel = peer.createDataChannel("check");
    const back = new Promise((resolve, reject) => {
      channel.onopen = () => channel.send(String(performance.now()));
      channel.onmessage = ({ data }) => resolve(performance.now() - Number(data));
      setTimeout(() => reject(new Error("no way was found; UDP between browser and server may be blocked, "
        + "then the server needs a TURN server (live.ice.turn)")), STEP_MS);
    });
    await peer.setLocalDescription(await peer.createOffer());
    await gathered(peer);
    const answer = await ask("v1/check", {
      method: "POST", body: peer.localDescription.sdp, headers: { "Content-Type": "application/sdp" },
    });
    await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
    return `a message came back after ${(await back).toFixed(0)} ms`;
  } finally {
    peer.close();
  }
}

async function main() {
  list.replaceChildren();
  let ice = {};
  await step("Server", async () => {
    const health = await (await fetch("healthz", { cache: "no-store" })).json();
    ice = await (await ask("v1/ice")).json();
    return health.ok ? ["good", "it answers and can code pictures and sound"] : ["bad", JSON.stringify(health)];
  });
  await step("Microphone", async () => {
    if (!navigator.mediaDevices?.getUserMedia) return ["bad", "browsers give it to https pages and to localhost only"];
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    stream.getTracks().forEach((track) => track.stop());
    return ["good", "the browser gives it"];
  });
  await step("Addresses", async () => {
    const kinds = (await candidates({ iceServers: ice.iceServers })).map((candidate) => candidate.type);
    const named = [...new Set(kinds)].map((kind) => ({ host: "own", srflx: "as seen from outside", relay: "relayed" }[kind] ?? kind));
    return kinds.length ? ["good", named.join(", ")] : ["bad", "the browser found none"];
  });
  await step("TURN", async () => {
    const turn = (ice.iceServers ?? []).filter((server) => server.username);
    if (!turn.length) return ["skip", "this server names none; needed only where UDP is blocked"];
    const found = await candidates({ iceServers: turn, iceTransportPolicy: "relay" });
    return found.length ? ["good", "the relay took the server's credentials"] : ["bad", "no relay answered; address, secret or port are wrong"];
  });
  await step("Way to the server", async () => ["good", await echo({ iceServers: ice.iceServers })]);
  await step("Way through TURN alone", async () => {
    const turn = (ice.iceServers ?? []).filter((server) => server.username);
    if (!turn.length) return ["skip", "no TURN server"];
    return ["good", await echo({ iceServers: turn, iceTransportPolicy: "relay" })];
  });
}

document.querySelector("#again").addEventListener("click", main);
main();

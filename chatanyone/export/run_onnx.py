"""A voice becomes motion with the exported nets, numpy and ONNX Runtime alone.

    python run_onnx.py hello.wav motion.npz

The folder of this file holds the nets and manifest.json. `Stream` takes sound in chunks of any size and gives motion when it
is due. A .csv holds time, 52 ARKit weights, head rotation (axis-angle, rad) and translation (m); a .npz body and hands too,
as a motion document that `chatanyone animate --motion` draws.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import wave
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

EXPRESSIONS = 52
Array = Any  # numpy.ndarray, float32 unless said otherwise


# The exported nets

class Nets:
    """The files of a folder, called by name, for one stream (batch 1); ValueError where they cannot be used."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # these nets are small: threads would only wait for each other
        try:
            self.manifest = json.loads((folder / "manifest.json").read_text())
            self.graphs = {graph["name"]: graph for graph in self.manifest["graphs"] if graph["part"] != "render"}
            self.sessions = {name: onnxruntime.InferenceSession(str(folder / graph["file"]), options, ["CPUExecutionProvider"])
                             for name, graph in self.graphs.items()}
            if missing := {"audio", "face_step", "body"} - self.graphs.keys():
                raise KeyError(*missing)
        except Exception as error:  # ONNX Runtime's own have no other class in common
            raise ValueError(f"{folder} holds no whole export of audio, face and body ({error!r}); export it again") from None

    def __call__(self, name: str, **inputs: Array) -> dict[str, Array]:
        outputs = self.sessions[name].run(None, inputs)
        return {port["name"]: value for port, value in zip(self.graphs[name]["outputs"], outputs)}

    def start(self, name: str) -> dict[str, Array]:
        """The state before a stream's first call; 1 for every size that may vary."""
        ports = (port for port in self.graphs[name]["inputs"] if port["start"] is not None)
        return {port["name"]: np.full([axis if isinstance(axis, int) else 1 for axis in port["shape"]], port["start"],
                                      port["dtype"]) for port in ports}


def after(outputs: dict[str, Array]) -> dict[str, Array]:
    """The state for the next call."""
    return {name[5:]: value for name, value in outputs.items() if name.startswith("next_")}


# Random numbers as PyTorch's CPU generator draws them (MT19937), a function of seed and frame alone

def draws(seed: int, index: int, count: int) -> Array:
    """uint32 ``[count]``; the constants are SplitMix64's."""
    mask = (1 << 64) - 1
    mixed = (seed * 0x9E3779B97F4A7C15 + (index + 1) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ (mixed >> 31)) * 0x94D049BB133111EB) & mask
    return np.random.RandomState(((mixed ^ (mixed >> 29)) >> 1) & 0xFFFFFFFF).randint(0, 1 << 32, count, dtype=np.uint32)


def uniforms(raw: Array) -> Array:
    return (raw & 0xFFFFFF).astype(np.float32) / np.float32(1 << 24)  # 24 bits, in [0, 1)


def many_normals(seed: int, index: int, count: int) -> Array:
    """`torch.randn` of 16 and more numbers: Box-Muller on blocks of 16; the last block is drawn anew where it is not full."""
    raw = uniforms(draws(seed, index, count + 16))
    blocks = [raw[start:start + 16] for start in range(0, count - 15, 16)]
    values = np.concatenate([_box_muller(block) for block in blocks] + [np.zeros(count % 16, np.float32)])
    if count % 16:
        values[-16:] = _box_muller(raw[count:])
    return values


def _box_muller(block: Array) -> Array:
    radius, angle = np.sqrt(-2 * np.log(1 - block[:8])), np.float32(2 * math.pi) * block[8:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])


@lru_cache(maxsize=256)
def few_normals(seed: int, slot: int, stream: int, count: int) -> tuple[float, ...]:
    """`torch.randn` of fewer than 16: pairs by Box-Muller in double precision."""
    raw = draws(seed ^ (stream << 41), slot, 4 * ((count + 1) // 2)).astype(object)
    doubles = [float((int(high) << 32 | int(low)) & ((1 << 53) - 1)) / (1 << 53) for high, low in zip(raw[::2], raw[1::2])]
    values = [math.sqrt(-2 * math.log1p(-v)) * turn(2 * math.pi * u)
              for u, v in zip(doubles[::2], doubles[1::2]) for turn in (math.cos, math.sin)]
    return tuple(float(np.float32(value)) for value in values[:count])


@lru_cache(maxsize=256)
def few_uniforms(seed: int, slot: int, stream: int, count: int) -> tuple[float, ...]:
    return tuple(map(float, uniforms(draws(seed ^ (stream << 40), slot, count))))


# What a person does of their own accord (motion/impulses.py): blinks, glances, sway, gestures, breath; frames at 30 fps

def smooth(x: float) -> float:
    return 0.5 - 0.5 * math.cos(math.pi * min(max(x, 0.0), 1.0))


def blink(seed: int, frame: int) -> float:
    """Lids: 0 open, 1 shut; at most one blink in 96 frames, none in the first 20."""
    closure = 0.0
    for slot in (frame // 96 - 1, frame // 96):
        happens, place, depth, close, open_ = few_uniforms(seed, slot, 1, 5)
        since, shuts, opens = frame - max(slot + place, 0) * 96, 2.2 + close, 4 + 2 * open_
        if happens <= 0.85 and max(slot + place, 0) * 96 >= 20 and 0 < since < shuts + opens:
            going = smooth(since / shuts) if since < shuts else 1 - smooth((since - shuts) / opens)
            closure = max(closure, (0.92 + 0.08 * depth) * going)
    return closure


def gaze(seed: int, frame: int) -> tuple[float, float]:
    """Right and up, −1 to 1; one glance in 50 frames."""
    slot, points = frame // 50, []
    for at in (slot - 1, slot):
        away, size = few_uniforms(seed, at, 3, 2)
        x, y = few_normals(seed, at, 3, 2)
        spread = 0.08 if away < 0.65 else 0.35 + 0.2 * size
        points.append((max(-1.0, min(1.0, spread * x)), max(-1.0, min(1.0, 0.6 * spread * y))))
    blend = smooth((frame - (slot * 50 + 5 + few_uniforms(seed, slot, 2, 1)[0] * 38)) / 2.5)
    across, up = ((a + (b - a) * blend) * smooth(frame / 20) for a, b in zip(*points))
    return across, up


def sway(seed: int, frame: int) -> list[float]:
    """Ten smooth numbers in two octaves."""
    values = [0.0] * 10
    for octave, (length, weight) in enumerate(((77, 0.95), (32, 0.5))):
        for index in range(10):
            slot, offset = divmod(frame + index * 11, length)
            here, there = (few_normals(seed, s, 6 + octave, 10)[index] for s in (slot, slot + 1))
            values[index] += weight * (here + (there - here) * smooth(offset / length))
    return values


def gesture(seed: int, frame: int) -> list[float]:
    """Six smooth numbers, sine and cosine of the breath."""
    slot, offset = divmod(frame, 30)
    here, there = (few_normals(seed, s, 4, 6) for s in (slot, slot + 1))
    rate, start = few_uniforms(seed, 0, 5, 2)
    phase = 2 * math.pi * ((12 + 6 * rate) / 60 * frame / 30 + start)
    return [a + (b - a) * smooth(offset / 30) for a, b in zip(here, there)] + [math.sin(phase), math.cos(phase)]


# The stream

class Track:
    """Rows of a stream by their absolute number, zeros before the first; what is old is forgotten."""

    def __init__(self, width: int) -> None:
        self.rows, self.first, self.end = np.zeros((0, width), np.float32), 0, 0

    def append(self, rows: Array) -> None:
        self.rows, self.end = np.concatenate([self.rows, rows]), self.end + len(rows)

    def read(self, start: int, stop: int) -> Array:
        found = self.rows[max(start, 0) - self.first:stop - self.first]
        return np.concatenate([np.zeros((stop - start - len(found), self.rows.shape[1]), np.float32), found])

    def forget(self, before: int) -> None:
        count = max(before - self.first, 0)
        self.rows, self.first = self.rows[count:], self.first + count


class Speech:
    """Samples → features at the film's rate: a frame is described at its centre, between two rows at 50 Hz."""

    def __init__(self, nets: Nets) -> None:
        self.nets, self.c, self.state = nets, nets.graphs["audio"]["constants"], nets.start("audio")
        self.rows = Track(nets.graphs["audio"]["outputs"][0]["shape"][2])
        self.pending, self.skip = np.zeros(self.c["lead_samples"], np.float32), self.c["skip_rows"]
        self.numerator, self.denominator = self.c["fps"]
        self.received = self.emitted = 0

    def step(self, samples: Array) -> Array:
        self.pending, self.received = np.concatenate([self.pending, samples]), self.received + len(samples)
        while len(self.pending) >= self.c["block_samples"]:
            mel = self.nets("mel", samples=self.pending[None, :self.c["block_samples"]])["mel"]
            outputs = self.nets("audio", mel=mel, **self.state)
            self.pending, self.state = self.pending[self.c["advance_samples"]:], after(outputs)
            self.rows.append(outputs["features"][0, self.skip:])
            self.skip = max(self.skip - outputs["features"].shape[1], 0)
        frames = [self.rows.rows[:0]]
        while self._row(self.emitted)[0] + 1 < self.rows.end:
            row, share = self._row(self.emitted)
            low, high = self.rows.read(row, row + 2)
            frames.append((low + (high - low) * np.float32(share))[None])
            self.rows.forget(row)
            self.emitted += 1
        return np.concatenate(frames)

    def flush(self) -> Array:
        """The last frames, as if silence followed."""
        total = -(-self.received * self.numerator // (self.c["sample_rate_hz"] * self.denominator))
        frames, left = [self.rows.rows[:0]], total - self.emitted
        while sum(map(len, frames)) < left:
            frames.append(self.step(np.zeros(self.c["advance_samples"], np.float32)))
        return np.concatenate(frames)[:max(left, 0)]

    def _row(self, frame: int) -> tuple[int, float]:
        """The row before a frame's centre, and how far the centre is on the way to the next."""
        rows_hz = self.c["sample_rate_hz"] // self.c["row_samples"]
        row, rest = divmod((2 * frame + 1) * self.denominator * rows_hz, 2 * self.numerator)
        return row, rest / (2 * self.numerator)


class Face:
    """Features → 52 ARKit weights and head pose: windows of hop + look_ahead frames, denoised by DDIM (motion/sampler.py)."""

    def __init__(self, nets: Nets, seed: int, reference: Array | None = None) -> None:
        self.nets, self.seed, self.next, self.c = nets, seed, 0, nets.graphs["face_step"]["constants"]
        names = ("motion_mean", "motion_std", "inertia", "held", "style_expression", "style_pose")
        self.motion_mean, self.motion_std, self.inertia, self.held, *self.style = (
            np.array(self.c[name], np.float32) for name in names)
        self.features = Track(nets.graphs["face_window"]["inputs"][0]["shape"][2])
        still = -self.motion_mean / self.motion_std
        self.previous = np.repeat(still[None], self.c["previous"], axis=0)
        self.smoothed, self.mean, self.manner = still, still[:EXPRESSIONS], still[:EXPRESSIONS]
        self.ahead = np.zeros((0, len(still)), np.float32)
        self.reference = nets.start("face_step")
        if reference is not None:
            picked = reference[np.linspace(0, len(reference) - 1, min(len(reference), 48)).round().astype(int)]
            self.reference = nets("face_reference", expression=picked[None]) | {"keep_reference": np.array([True])}
            self.manner = ((reference - self.motion_mean[:EXPRESSIONS]) / self.motion_std[:EXPRESSIONS]).mean(0)

    def step(self, features: Array) -> Array:
        self.features.append(features)
        motion = [self.previous[:0]]
        while self.features.end >= self.next + self.c["hop"] + self.c["look_ahead"]:
            motion.append(self._hop())
        out = np.concatenate(motion) * self.motion_std + self.motion_mean
        out[:, :EXPRESSIONS] = out[:, :EXPRESSIONS].clip(0, 1)
        brows, share = self.c["brow_raisers"], np.float32(self.c["whole_brow"])  # inner, outer ones: they rise as a whole
        excess = (out[:, brows[0]] - share * out[:, brows].sum(1) / (share + 2)).clip(0)
        out[:, brows] += excess[:, None] * np.array([-1, 0.5, 0.5], np.float32)
        return out

    def flush(self) -> Array:
        """The last frames; the last feature is held."""
        left = self.features.end - self.next
        held = -left % self.c["hop"] + self.c["look_ahead"] if left > 0 else 0
        return self.step(np.repeat(self.features.rows[-1:], held, axis=0))[:max(left, 0)]

    def _hop(self) -> Array:
        size = self.c["hop"] + self.c["look_ahead"]
        window = range(self.next, self.next + size)
        controls = [[blink(self.seed, i), *gaze(self.seed, i), *sway(self.seed, i)] for i in window]
        yes = np.array([True])
        conditions = self.nets(
            "face_window", audio=self.features.read(self.next - self.c["audio_past"], self.next + size)[None],
            previous=self.previous[None], controls=np.array([controls], np.float32), keep_audio=yes, keep_style=yes,
            style_expression=self.style[0][None], style_pose=self.style[1][None]) | self.reference
        x = np.stack([many_normals(self.seed, i, len(self.motion_mean)) for i in window])[None]
        alphas = [*self.c["alpha_bar"], 1.0]
        for t, alpha, alpha_next in zip(self.c["timesteps"], alphas, alphas[1:]):  # DDIM, arXiv 2010.02502, Eq. 12
            x_0 = self.nets("face_step", noisy=x, timestep=np.array([t]), **conditions)["x_0"]
            noise = (x - alpha**0.5 * x_0) / (1 - alpha)**0.5
            x = alpha_next**0.5 * x_0 + (1 - alpha_next)**0.5 * noise
        return self._joined(x[0])

    def _joined(self, motion: Array) -> Array:
        """The new window after the ones before: faded in, its mean held near the manner's, slow channels smoothed."""
        hop, count = self.c["hop"], len(self.ahead)
        weight = (np.arange(1, count + 1, dtype=np.float32) / np.float32(count + 1))[:, None]
        motion[:count] = self.ahead + (motion[:count] - self.ahead) * weight
        motion[:, :EXPRESSIONS] += np.float32(self.c["hold"]) * (self.manner - self.mean) * self.held
        fresh, self.ahead = motion[:hop], motion[hop:]
        self.previous = np.concatenate([self.previous, fresh])[hop:]
        self.mean = self.mean + (fresh[:, :EXPRESSIONS].mean(0) - self.mean) * np.float32(self.c["mean_share"])
        for frame in fresh:
            frame[:] = self.smoothed = self.inertia * self.smoothed + (1 - self.inertia) * frame
        self.features.forget(self.next + hop - self.c["audio_past"])
        self.next += hop
        return fresh


class Body:
    """Face and features → body keypoints and hands."""

    def __init__(self, nets: Nets, seed: int) -> None:
        self.nets, self.seed, self.next, self.state = nets, seed, 0, nets.start("body")
        self.c = nets.graphs["body"]["constants"]
        self.faces, self.features = (Track(port["shape"][2]) for port in nets.graphs["body"]["inputs"][:2])
        self.out = [port["shape"][2:] for port in nets.graphs["body"]["outputs"][:2]]

    def step(self, features: Array, faces: Array) -> tuple[Array, Array]:
        self.features.append(features)
        self.faces.append(faces)
        hop, past, future = (self.c[name] for name in ("hop", "audio_past", "audio_future"))
        delta, hands = ([np.zeros((0, *shape), np.float32)] for shape in self.out)
        while min(self.features.end - future, self.faces.end) >= self.next + hop:
            code = np.array([[gesture(self.seed, i) for i in range(self.next, self.next + hop)]], np.float32)
            outputs = self.nets("body", face=self.faces.read(self.next, self.next + hop)[None], code=code, **self.state,
                                audio=self.features.read(self.next - past, self.next + hop + future)[None])
            self.state, self.next = after(outputs), self.next + hop
            delta.append(outputs["delta"][0])
            hands.append(outputs["hands"][0])
            self.faces.forget(self.next)
            self.features.forget(self.next - past)
        return np.concatenate(delta), np.concatenate(hands)

    def flush(self) -> tuple[Array, Array]:
        """The last frames; the last face and feature are held."""
        left = self.faces.end - self.next
        missing = -left % self.c["hop"]
        short = max(self.faces.end + missing + self.c["audio_future"] - self.features.end, 0) if left else 0
        held = (np.repeat(track.rows[-1:], n, axis=0) for track, n in ((self.features, short), (self.faces, missing)))
        delta, hands = self.step(*held)
        return delta[:left], hands[:left]


class Stream:
    """Samples in, motion out, as of `chatanyone animate`; reference: a clip's ARKit weights ``[R, 52]``, to move like it."""

    def __init__(self, nets: Nets, seed: int = 0, reference: Array | None = None) -> None:
        self.speech, self.face, self.body = Speech(nets), Face(nets, seed, reference), Body(nets, seed)

    def step(self, samples: Array) -> tuple[Array, Array, Array]:
        """Samples ``[N]`` → face ``[n, 58]`` and of as many or fewer frames body ``[m, 14, 3]`` and hands ``[m, 2, 51]``."""
        faces = self.face.step(features := self.speech.step(samples))
        return faces, *self.body.step(features, faces)

    def flush(self) -> tuple[Array, Array, Array]:
        features = self.speech.flush()
        faces = np.concatenate([self.face.step(features), self.face.flush()])
        parts = self.body.step(features, faces), self.body.flush()
        return faces, *(np.concatenate(pair) for pair in zip(*parts))


def motion(stream: Stream, samples: Array, chunk: int = 1600) -> tuple[Array, ...]:
    """A whole clip in chunks."""
    parts = [stream.step(samples[start:start + chunk]) for start in range(0, len(samples), chunk)] + [stream.flush()]
    return tuple(np.concatenate(column) for column in zip(*parts))


def read_wav(path: Path) -> Array:
    """Samples in [-1, 1] of 16 kHz, mono, 16 bit."""
    with wave.open(str(path)) as file:
        form = (file.getframerate(), file.getnchannels(), file.getsampwidth())
        if form != (16000, 1, 2) or not file.getnframes():
            raise ValueError(f"{path} must be a WAV of 16000 Hz, 1 channel, 2 bytes, not {form}, and hold some sound")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def save(path: Path, faces: Array, body: Array, hands: Array, manifest: dict[str, Any]) -> None:
    """Under a hidden name first: no broken file stays."""
    times, names = np.arange(len(faces)) * manifest["fps"][1] / manifest["fps"][0], manifest["names"]
    partial = path.with_name(f".{path.name}.partial{path.suffix}")
    try:
        if path.suffix == ".csv":
            pose = [f"{kind}{axis}" for kind in ("rotation_rad_", "translation_m_") for axis in "xyz"]
            np.savetxt(partial, np.column_stack([times, faces]), "%.6g", ",", comments="",
                       header=",".join(["time_s", *names["expression"], *pose]))
        else:
            np.savez_compressed(
                partial, format="chatanyone.motion", version=2, fps=np.array(manifest["fps"]), timestamps=times,
                origin="made", expression=faces[:, :52], rotation=faces[:, 52:55], translation=faces[:, 55:], body=body,
                hands=hands, expression_names=names["expression"], body_names=names["body"], hand_names=names["hands"])
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("voice", type=Path, help="WAV, 16 kHz, mono, 16 bit")
    parser.add_argument("output", type=Path, help=".npz or .csv")
    parser.add_argument("--nets", type=Path, default=Path(__file__).resolve().parent, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        if options.output.suffix not in (".npz", ".csv") or not options.output.parent.is_dir():
            raise ValueError(f"{options.output} must end in .npz or .csv, in a folder that exists")
        nets, samples = Nets(options.nets), read_wav(options.voice)
        faces, body, hands = motion(Stream(nets, options.seed), samples)
        save(options.output, faces, body, hands, nets.manifest)
    except (ImportError, OSError, ValueError, EOFError, wave.Error) as error:
        print(f"run_onnx: error: {str(error) or 'the WAV ends too early'}", file=sys.stderr)
        return 2
    print(f"{options.output}: {len(faces)} frames")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The hierarchy as a stream: features → face motion → body motion, hop by hop.

Latency: frame i comes out once the features of its hop and of `look_ahead` frames more are there. With hops of 4 and
one frame of look-ahead the first frame of a hop waits 4 frames (133 ms) on top of the encoder's look-ahead (142.5 ms):
276 ms.

Windows lie on a fixed grid of hops, noise belongs to absolute frames, and nothing else is random: any chunking of the
features gives the same frames, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motion.correction import Correction, finished, nothing
from motion.diffusion.ddim import DDIM, frame_noise
from motion.diffusion.guidance import guide, guide_twice
from motion.impulses import face_controls
from motion.face import FaceContext, FaceDenoiser
from motion.layers.state import StreamState
from motion.style import FACE_GROUPS, LIVELY, SPEECH, TYPICAL_EXPRESSION
from motion.types import ARKIT_NAMES, EXPRESSION_DIM, FACE_DIM, POSE_DIM, FaceMotion, StyleRange

# Channels that may lag by a frame: 1 for pose, brows, cheeks and nose.
_SLOW = torch.tensor([float(name.startswith(("brow", "cheek", "nose"))) for name in ARKIT_NAMES] + [1.0] * POSE_DIM)
# What keeps its mean: neither speech, nor lids and gaze, which the controls move.
SHIFTED = torch.tensor([
    float(name.startswith(("mouthShrug", "mouthStretch", "jawForward"))
          or index not in SPEECH and not name.startswith(("eyeBlink", "eyeLook")))
    for index, name in enumerate(ARKIT_NAMES)])
MANNER_HOLD, MEAN_SHARE = 0.15, 0.25  # per hop: of the distance from the manner, of the new mean; a second, well damped
REFERENCE_TOKENS = 48  # a clip is thinned to so many frames: its manner is in their variety, not in their order


@dataclass
class FaceState(StreamState):
    """One stream of face motion.

    features: the last `audio_past` features before `next_frame` (fewer at the start) and all after it, `[N, C]`
    first_feature: frame of `features[0]`
    next_frame: the next frame to come out
    previous: normalised motion of the P frames before it, `[P, 58]`
    ahead: the last window's guess of the frames from `next_frame` on, `[look_ahead, 58]`, or None at the start
    smoothed: the last frame that came out, before the dials, `[58]`
    expression, pose: dials; groups: those of `motion.style.FACE_GROUPS`, `[5]`
    gain, offset, curve: the style's `motion.correction.Correction`, `[58]` and `[52, K]`; blinks: how often, 1 is the default
    rest: the resting face of the style, `[58]`
    manner: mean of the reference clip, else the face at rest, and mean: of what came out lately, normalised, `[52]`
    """

    features: Tensor
    first_feature: int
    next_frame: int
    previous: Tensor
    ahead: Tensor | None
    smoothed: Tensor
    seed: int
    style_expression: Tensor | None
    style_pose: Tensor | None
    reference_keys: list[Tensor]
    reference_values: list[Tensor]
    expression: float
    pose: float
    groups: Tensor
    gain: Tensor
    offset: Tensor
    curve: Tensor
    blinks: float
    rest: Tensor | None
    manner: Tensor
    mean: Tensor
    closed: bool


class FaceSampler:
    """Streaming sampler of a `FaceDenoiser`.

    Args:
        denoiser: in evaluation mode.
        steps: DDIM steps for each window.
        hop: frames that come out together.
        look_ahead: frames beyond the hop that the window covers; they are guessed again by the next window and blended.
        audio_past: features before the window that it hears.
        guidance_audio, guidance_style: classifier-free guidance; where both are 1 there is one pass a step, which is what
            a live session can afford; otherwise two (style 1) or three.
        inertia: 0…1, how much of the frame before stays in head pose, brows and cheeks; it hides the seams of windows.
            Mouth and lids stay as they are: there a frame of delay shows.
        anchor: features ``[T, C]`` → a regression's estimate of the expression ``[T, 52]`` (the audio encoder's own).
        anchor_weight: 0…1, how far each x_0 of the mouth is drawn to the anchor. A linear head on the encoder carries over to
            voices unlike the training's better than the denoiser does; the denoiser adds style and variety (our choice,
            weighed on clips of real speakers: docs/decisions.md).
    """

    def __init__(self, denoiser: FaceDenoiser, *, steps: int = 5, hop: int = 4, look_ahead: int = 1,
                 audio_past: int = 10, guidance_audio: float = 1.0, guidance_style: float = 1.0,
                 inertia: float = 0.5, anchor: Callable[[Tensor], Tensor] | None = None,
                 anchor_weight: float = 0.0) -> None:
        if denoiser.training:
            raise ValueError("Expected a denoiser in evaluation mode; call denoiser.eval() first.")
        self.denoiser, self.hop, self.look_ahead, self.audio_past = denoiser, hop, look_ahead, audio_past
        self.guidance_audio, self.guidance_style = guidance_audio, guidance_style
        self.anchor, self.anchor_weight = anchor, anchor_weight if anchor else 0.0
        self.keep = inertia * _SLOW
        self.ddim = DDIM()
        self.ddim.set_timesteps(steps)

    @property
    def latency_frames(self) -> int:
        """How many frames after its own the features of a frame's window reach, at most."""
        return self.hop - 1 + self.look_ahead

    @torch.no_grad()
    def init_state(self, seed: int, style_range: StyleRange | None = None, reference: Tensor | None = None, *,
                   expression: float = 1.0, pose: float = 1.0, groups: Mapping[str, float] | None = None,
                   rest: Tensor | None = None, correction: Correction | None = None) -> FaceState:
        """A stream that starts at rest.

        Args:
            seed: of everything random.
            style_range: how strongly to move, `[4]` and `[6]`; None is `LIVELY`, `StyleRange()` leaves it to the net.
            reference: expressions `[R, 52]` of a clip whose manner to take over.
            expression, pose, groups: dials applied after sampling, see `motion.style.apply_dials`.
            rest: resting face `[58]` added before the dials, see `motion.style.with_rest`.
            correction: of what the net leaves of the reference's manner, applied before the resting face.
        """
        style, net, right = style_range or LIVELY, self.denoiser, correction or nothing()
        device = net.motion_mean.device
        pairs = [] if reference is None else net.encode_reference(thinned(reference.to(device)[None], REFERENCE_TOKENS))
        still = net.normalise(torch.zeros(net.previous, FACE_DIM, device=device))
        manner = net.normalise_expression(
            torch.zeros(1, EXPRESSION_DIM, device=device) if reference is None else reference.to(device)).mean(0)
        return FaceState(
            torch.zeros(0, net.audio_dim, device=device), 0, 0, still, None, still[-1], seed,
            _moved(style.expression, device), _moved(style.pose, device),
            [keys for keys, _ in pairs], [values for _, values in pairs], expression, pose,
            torch.tensor([(groups or {}).get(name, 1.0) for name in FACE_GROUPS]),
            right.gain.to(device), right.offset.to(device), right.curve.to(device), right.blinks, _moved(rest, device), manner,
            still[-1, :EXPRESSION_DIM], False,
        )

    def step(self, features: Tensor, state: FaceState) -> tuple[FaceMotion, FaceState]:
        """Takes the features `[T, C]` of the next T frames (any T, also 0), gives the frames that became ready."""
        if state.closed:
            raise ValueError("Expected an open stream, this one was flushed; start another with init_state.")
        if features.ndim != 2 or features.shape[1] != self.denoiser.audio_dim:
            raise ValueError(f"Expected features [T, {self.denoiser.audio_dim}], got {list(features.shape)}.")
        state = replace(state, features=torch.cat([state.features, features.to(state.features)]))
        hops = []
        while self._received(state) >= state.next_frame + self.hop + self.look_ahead:
            motion, state = self._hop(state)
            hops.append(motion)
        return self._finish(hops, state), state

    def flush(self, state: FaceState) -> tuple[FaceMotion, FaceState]:
        """The last frames: the last feature is held until the final hop is full."""
        total = self._received(state)
        if state.next_frame >= total:
            return self._finish([], state), replace(state, closed=True)
        missing = -(total - state.next_frame) % self.hop + self.look_ahead
        held = state.features[-1:].expand(missing, -1)
        first = state.next_frame
        motion, state = self.step(held, state)
        count = total - first
        motion = FaceMotion(motion.expression[:count], motion.rotation[:count], motion.translation[:count])
        return motion, replace(state, closed=True)

    @torch.no_grad()
    def _hop(self, state: FaceState) -> tuple[Tensor, FaceState]:
        """Denoises one window and moves on by one hop; motion `[hop, 58]`, normalised."""
        contexts = self._contexts(state)
        x = frame_noise(state.seed, state.next_frame, self.hop + self.look_ahead, FACE_DIM).to(state.previous)[None]
        anchor = self._anchored(state)
        for timestep in self.ddim.timesteps:
            x_0 = self._predict(x, timestep, contexts)
            if anchor is not None:
                x_0[..., SPEECH] = torch.lerp(x_0[..., SPEECH], anchor[..., SPEECH], self.anchor_weight)
            x = self.ddim.step(x_0, timestep, x)
        window = _held(_blended(state.ahead, x[0]), state)
        hop, ahead = window[:self.hop], window[self.hop:]
        came_out = _with_inertia(hop, state.smoothed, self.keep.to(hop))
        keep_from = state.next_frame + self.hop - self.audio_past
        drop = max(keep_from - state.first_feature, 0)
        return came_out, replace(
            state, features=state.features[drop:], first_feature=state.first_feature + drop,
            next_frame=state.next_frame + self.hop, previous=torch.cat([state.previous, hop])[-len(state.previous):],
            ahead=ahead, smoothed=came_out[-1], mean=torch.lerp(state.mean, hop[:, :EXPRESSION_DIM].mean(0), MEAN_SHARE),
        )

    def _anchored(self, state: FaceState) -> Tensor | None:
        """The anchor of the next window, ``[1, hop + look_ahead, 58]`` normalised, at the style's strength."""
        if not self.anchor_weight or self.anchor is None:
            return None
        first = state.next_frame - state.first_feature
        expression = self.anchor(state.features[first:first + self.hop + self.look_ahead])
        return self.denoiser.normalise(anchor_motion(expression, state.style_expression))[None]

    def _contexts(self, state: FaceState) -> list[FaceContext]:
        """Conditions of the next window; with guidance also without audio, and without audio and style."""
        size = self.hop + self.look_ahead
        end = state.next_frame + size - state.first_feature
        audio = _padded(state.features[:end], self.audio_past + size)[None]
        batch = (None if state.style_expression is None else state.style_expression[None],
                 None if state.style_pose is None else state.style_pose[None])
        reference = list(zip(state.reference_keys, state.reference_values)) or None
        silent = {"audio": torch.zeros(1, dtype=torch.bool, device=audio.device)}
        Case = tuple[dict[str, Tensor] | None, StyleRange, list[tuple[Tensor, Tensor]] | None]
        cases: list[Case] = [(None, StyleRange(*batch), reference)]
        if self.guidance_audio != 1.0 or self.guidance_style != 1.0:
            cases.append((silent, StyleRange(*batch), reference))
        if self.guidance_style != 1.0:
            cases.append((silent, StyleRange(), None))
        controls = face_controls(state.seed, state.next_frame, size, blinks=state.blinks).to(audio)[None]
        return [self.denoiser.encode(audio, state.previous[None], frames=size, audio_first=-self.audio_past, style=style,
                                     controls=controls, reference=shown, keep=keep) for keep, style, shown in cases]

    def _predict(self, x: Tensor, timestep: int, contexts: list[FaceContext]) -> Tensor:
        """x_0, guided if asked for."""
        t = torch.full((1,), timestep, device=x.device)
        passes = [self.denoiser.denoise(x, t, context) for context in contexts]
        if len(passes) == 1:
            return passes[0]
        if len(passes) == 2:
            return guide(passes[0], passes[1], self.guidance_audio)
        return guide_twice(passes[0], passes[1], passes[2], self.guidance_audio, self.guidance_style)

    def _finish(self, hops: list[Tensor], state: FaceState) -> FaceMotion:
        """Hops in motion's own units; brows evened, correction (a person's own brows), resting face and dials applied."""
        if not hops:
            return FaceMotion.unpack(state.previous[:0])
        return finished(self.denoiser.denormalise(torch.cat(hops)), state)

    @staticmethod
    def _received(state: FaceState) -> int:
        return state.first_feature + len(state.features)


def anchor_motion(expression: Tensor, style: Tensor | None) -> Tensor:
    """An estimate of the expression ``[..., T, 52]`` at the strength of a style's range ``[..., 4]``, as motion
    ``[..., T, 58]`` with the head at rest."""
    expression = expression.clamp(0, 1)
    if style is not None:
        ratio = (style[..., :1] / TYPICAL_EXPRESSION[0].to(style)).clamp(0.5, 1.5)
        expression = (expression * ratio[..., None, :]).clamp(0, 1)
    pose = expression.new_zeros(*expression.shape[:-1], FACE_DIM - EXPRESSION_DIM)
    return torch.cat([expression, pose], dim=-1)


def _held(window: Tensor, state: FaceState) -> Tensor:
    """Shifts what speech does not move so that its mean over the last second or so returns to the manner's.

    Each window is asked to go on from the last, so a smile or raised brows would drift with nothing to hold them. The
    shift is the same for all frames of a window: movements stay as they are (our choice).
    """
    shift = MANNER_HOLD * (state.manner - state.mean) * SHIFTED.to(window.device)
    return window + torch.nn.functional.pad(shift, (0, window.shape[-1] - EXPRESSION_DIM))


def thinned(reference: Tensor, count: int) -> Tensor:
    """At most `count` frames of ``[B, R, 52]``, evenly spread over the clip."""
    R = reference.shape[1]
    if R <= count:
        return reference
    return reference[:, torch.linspace(0, R - 1, count, device=reference.device).round().long()]


def _blended(ahead: Tensor | None, window: Tensor) -> Tensor:
    """Fades from the last window's guess to this window over the frames both have."""
    if ahead is None or not len(ahead):
        return window
    count = len(ahead)
    weight = (torch.arange(1, count + 1, device=window.device) / (count + 1))[:, None].to(window.dtype)
    return torch.cat([ahead + (window[:count] - ahead) * weight, window[count:]])


def _with_inertia(hop: Tensor, last: Tensor, keep: Tensor) -> Tensor:
    """y_i = keep · y_(i−1) + (1 − keep) · x_i, frame by frame."""
    frames = []
    for frame in hop:
        last = keep * last + (1 - keep) * frame
        frames.append(last)
    return torch.stack(frames)


def _padded(features: Tensor, length: int) -> Tensor:
    """Zeros in front of the stream's first feature, as in training."""
    return torch.nn.functional.pad(features, (0, 0, length - len(features), 0))


def _moved(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device, torch.float32)

"""The backend as a stream: one feature in, one frame out, `look_ahead` frames later.

Latency: frame i comes out once the feature of frame i + `look_ahead` is there: 2 frames (67 ms) on top of the speech
encoder's 142.5 ms make 209 ms; the paper waits 300 ms. Every frame is computed by itself, noise belongs to absolute
frames: any chunking of the features gives the same frames, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motion.audio.encoder import ENERGY, SPEAKING
from motion.correction import MANNER, MOST_OFFSET, Correction, finished, nothing
from motion.diffusion.ddim import frame_noise
from motion.impulses import face_controls
from motion.layers.state import StreamState
from motion.live_speech_portraits.mouth import MOUTH
from motion.live_speech_portraits.net import LiveSpeechPortraits
from motion.live_speech_portraits.rules import VOICE, follow_voice, upper_face
from motion.sampler import anchor_motion
from motion.style import FACE_GROUPS, LIVELY, SPEECH, TYPICAL_EXPRESSION
from motion.types import ARKIT_INDEX, EXPRESSION_DIM, FACE_DIM, POSE_DIM, FaceMotion, StyleRange

# Of the learned deviation, when velocities are drawn. The authors draw 0.3 of a pose's; with velocities of the shipped net
# that leaves a head that turns by 0.7° in speech, 1.5 one that turns by 2.1°, as the default style asks (deviations).
SIGMA = 1.5
LIMIT, RETURN = 3.0, 0.1  # deviations a pose may leave rest by; share of what is beyond that a frame takes back (ours)
SMOOTHING = 0.5  # of each of two poles on the head, causal; the authors filter with a Gaussian over both directions
_SMILES = (ARKIT_INDEX["mouthSmileLeft"], ARKIT_INDEX["mouthSmileRight"])
_BROW_GAIN = (0.3, 2.0)  # least and most


@dataclass
class LiveSpeechState(StreamState):
    """One stream.

    features: the last `look_ahead` features (fewer at the start) ``[N, C]``; received: how many came
    hidden, cell: of the LSTM ``[layers, 1, width]``; rings: of the WaveNet
    head, velocity: of the last frame ``[6]``, normalised; low: both poles of the filter behind it ``[2, 6]``
    voice: `motion.live_speech_portraits.rules.follow_voice`
    manner: what the reference clip's mouth does at all times, against the training data's mean, `[52]`: smile, frown, dimples
    All others as in `motion.sampler.FaceState`.
    """

    features: Tensor
    received: int
    hidden: Tensor
    cell: Tensor
    rings: Tensor
    head: Tensor
    velocity: Tensor
    low: Tensor
    voice: Tensor
    seed: int
    style_expression: Tensor | None
    style_pose: Tensor | None
    expression: float
    pose: float
    groups: Tensor
    gain: Tensor
    offset: Tensor
    curve: Tensor
    blinks: float
    rest: Tensor | None
    manner: Tensor
    closed: bool


class LiveSpeechSampler:
    """Streaming sampler of `LiveSpeechPortraits`, with the interface of `motion.sampler.FaceSampler`.

    Args:
        net: in evaluation mode.
        sigma: share of the learned deviation that is drawn; 0 moves the head by the mean alone.
        anchor, anchor_weight: features → the audio encoder's own estimate of the expression, and how far the mouth is drawn
            to it, as in `FaceSampler`.
    """

    def __init__(self, net: LiveSpeechPortraits, *, sigma: float = SIGMA, anchor: Callable[[Tensor], Tensor] | None = None,
                 anchor_weight: float = 0.0) -> None:
        if net.training:
            raise ValueError("Expected a net in evaluation mode; call net.eval() first.")
        self.net, self.sigma = net, sigma
        self.anchor, self.anchor_weight = anchor, anchor_weight if anchor else 0.0

    @property
    def latency_frames(self) -> int:
        """How many frames after its own the features of a frame reach."""
        return self.net.look_ahead

    @torch.no_grad()
    def init_state(self, seed: int, style_range: StyleRange | None = None, reference: Tensor | None = None, *,
                   expression: float = 1.0, pose: float = 1.0, groups: Mapping[str, float] | None = None,
                   rest: Tensor | None = None, correction: Correction | None = None) -> LiveSpeechState:
        """A stream that starts at rest; arguments as in `FaceSampler.init_state`.

        A reference clip's tokens have no place in these nets: of `reference` only the mean of smile, frown and dimples counts.
        Of `correction` only the rate of blinks does, because all else of it was fitted to what the diffusion net does with
        the clip. Ranges, resting face and dials apply.
        """
        net, style, none = self.net, style_range or LIVELY, nothing()
        where = net.pose_std.device
        hidden, cell = net.mouth.start()
        still = torch.zeros(POSE_DIM, device=where)
        return LiveSpeechState(
            torch.zeros(0, net.audio_dim, device=where), 0, hidden, cell, net.pose.start(), still, still.clone(),
            torch.zeros(2, POSE_DIM, device=where), torch.zeros(VOICE, dtype=torch.float64), seed,
            _moved(style.expression, where), _moved(style.pose, where), expression, pose,
            torch.tensor([(groups or {}).get(name, 1.0) for name in FACE_GROUPS]),
            none.gain.to(where), none.offset.to(where), none.curve.to(where), (correction or none).blinks, _moved(rest, where),
            self._manner(reference), False)

    @torch.no_grad()
    def step(self, features: Tensor, state: LiveSpeechState) -> tuple[FaceMotion, LiveSpeechState]:
        """Takes the features `[T, C]` of the next T frames (any T, also 0), gives the frames that became ready."""
        if state.closed:
            raise ValueError("Expected an open stream, this one was flushed; start another with init_state.")
        if features.ndim != 2 or features.shape[1] != self.net.audio_dim:
            raise ValueError(f"Expected features [T, {self.net.audio_dim}], got {list(features.shape)}.")
        frames = []
        for row in features.to(state.features):
            frame, state = self._hear(row, state)
            frames += frame
        motion = FaceMotion.unpack(torch.stack(frames) if frames else state.features.new_zeros(0, FACE_DIM))
        return finished(motion, state), state

    def flush(self, state: LiveSpeechState) -> tuple[FaceMotion, LiveSpeechState]:
        """The last frames: the last feature is held."""
        count = self.net.look_ahead if state.received else 0
        motion, state = self.step(state.features[-1:].expand(count, -1), state)
        return motion, replace(state, closed=True)

    def _hear(self, row: Tensor, state: LiveSpeechState) -> tuple[list[Tensor], LiveSpeechState]:
        """One more feature `[C]`: the frame `look_ahead` before it, `[58]`, where there is one."""
        net, frame = self.net, state.received - self.net.look_ahead
        audio = net.heard(row)
        made, (hidden, cell) = net.mouth.step(audio, state.style_expression, (state.hidden, state.cell))
        waiting = torch.cat([state.features, row[None]])
        state = replace(state, features=waiting[-net.look_ahead:] if net.look_ahead else waiting[:0], hidden=hidden, cell=cell,
                        received=state.received + 1)
        if frame < 0:
            return [], state
        mouth = (made * net.mouth_std + net.mouth_mean).clamp(0, 1)
        state = self._move_head(audio, frame, state)
        head = state.low[1] * net.pose_std
        voice = follow_voice(state.voice.tolist(), float(row[SPEAKING]), float(row[ENERGY]))
        expression = self._expression(mouth, voice, head, frame, state)
        expression = self._anchored(expression, waiting[0], state)
        return [torch.cat([expression, head])], replace(state, voice=torch.tensor(voice, dtype=torch.float64))

    def _move_head(self, audio: Tensor, frame: int, state: LiveSpeechState) -> LiveSpeechState:
        """Draws a velocity, goes on from the last pose, takes back what strays too far, filters."""
        net = self.net
        history = torch.cat([state.head, state.velocity])
        mean, log_sigma, rings = net.pose.step(history, audio, state.style_pose, state.rings, frame)
        noise = frame_noise(state.seed, frame, 1, POSE_DIM)[0].to(mean)
        units = net.velocity_std / net.pose_std
        head = state.head + (mean + self.sigma * log_sigma.exp() * noise) * units
        head = head - RETURN * (head - head.clamp(-LIMIT, LIMIT))
        first = torch.lerp(head, state.low[0], SMOOTHING)
        second = torch.lerp(first, state.low[1], SMOOTHING)
        return replace(state, head=head, velocity=(head - state.head) / units, rings=rings, low=torch.stack([first, second]))

    def _manner(self, reference: Tensor | None) -> Tensor:
        """Of expressions `[R, 52]`: see `LiveSpeechState.manner`."""
        shift = self.net.mouth_mean.new_zeros(EXPRESSION_DIM)
        if reference is not None:
            shift[MOUTH] = reference.to(shift).mean(0)[MOUTH] - self.net.mouth_mean
            shift[[index for index in range(EXPRESSION_DIM) if index not in MANNER]] = 0
        return shift.clamp(-MOST_OFFSET, MOST_OFFSET)

    def _expression(self, mouth: Tensor, voice: list[float], head: Tensor, frame: int, state: LiveSpeechState) -> Tensor:
        """The mouth and, by rule, all else: `[52]`."""
        lively = 1.0 if state.style_expression is None else float(state.style_expression[1] / TYPICAL_EXPRESSION[1])
        whole = mouth.new_zeros(EXPRESSION_DIM)
        whole[MOUTH] = mouth
        whole = (whole + state.manner).clamp(0, 1)
        smile = (float(whole[_SMILES[0]]), float(whole[_SMILES[1]]))
        controls = face_controls(state.seed, frame, 1, blinks=state.blinks)[0].tolist()
        upper = upper_face(controls, voice, head[:3].tolist(), smile,
                           brows=min(max(lively, _BROW_GAIN[0]), _BROW_GAIN[1]))
        return whole + whole.new_tensor(upper)

    def _anchored(self, expression: Tensor, row: Tensor, state: LiveSpeechState) -> Tensor:
        """Speech drawn to the encoder's estimate from the frame's own feature."""
        if not self.anchor_weight or self.anchor is None:
            return expression
        anchor = anchor_motion(self.anchor(row[None]), state.style_expression)[0]
        expression[SPEECH] = torch.lerp(expression[SPEECH], anchor[SPEECH], self.anchor_weight)
        return expression


def _moved(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device, torch.float32)

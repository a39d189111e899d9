"""The body stage as a stream behind the face's: the same hops, no look-ahead beyond the face's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from motion.body import BodyCache, BodyTransformer
from motion.impulses import gesture_code
from motion.layers.state import StreamState
from motion.style import BODY_GROUPS, scale_body
from motion.types import BODY_DIM, BodyMotion


@dataclass
class BodyState(StreamState):
    """One stream of body motion.

    features: `[N, C]` from frame `first_feature` on; keypoints: `[M, Kf, 3]` from frame `next_frame` on
    keys, values: the transformer's cache
    gesture: dial; groups: those of `motion.style.BODY_GROUPS`, `[2]`
    """

    features: Tensor
    first_feature: int
    keypoints: Tensor
    next_frame: int
    keys: list[Tensor]
    values: list[Tensor]
    appearance: Tensor | None
    seed: int
    gesture: float
    groups: Tensor
    closed: bool


class BodySampler:
    """Streaming use of a `BodyTransformer`.

    Args:
        net: in evaluation mode.
        hop: frames computed together; the same as the face's, so that they come out together.
    """

    def __init__(self, net: BodyTransformer, *, hop: int = 4) -> None:
        if net.training:
            raise ValueError("Expected a net in evaluation mode; call net.eval() first.")
        self.net, self.hop = net, hop

    def init_state(self, seed: int, appearance: Tensor | None = None, *, gesture: float = 1.0,
                   groups: Mapping[str, float] | None = None) -> BodyState:
        """A stream that starts afresh; `appearance` `[N, D]` of the source picture; dials of `motion.style`."""
        cache, device = self.net.init_cache(), self.net.motion_std.device
        return BodyState(
            torch.zeros(0, self.net.audio_dim, device=device), 0, torch.zeros(0, 0, 3, device=device), 0,
            cache.keys, cache.values, None if appearance is None else appearance.to(device), seed, gesture,
            torch.tensor([(groups or {}).get(name, 1.0) for name in BODY_GROUPS]), False,
        )

    def step(self, keypoints: Tensor, features: Tensor, state: BodyState) -> tuple[BodyMotion, BodyState]:
        """Takes the keypoints `[M, Kf, 3]` and features `[T, C]` that are new (their counts may differ).

        Gives the frames that became ready: `delta` `[n, 14, 3]`, `hands` `[n, 2, 51]`.
        """
        if state.closed:
            raise ValueError("Expected an open stream, this one was flushed; start another with init_state.")
        held = state.keypoints if state.keypoints.shape[1] else state.keypoints.new_zeros(0, *keypoints.shape[1:])
        state = replace(state, keypoints=torch.cat([held, keypoints.to(held)]),
                        features=torch.cat([state.features, features.to(state.features)]))
        parts = []
        while self._ready(state):
            motion, state = self._hop(state)
            parts.append(motion)
        if not parts:
            return BodyMotion.unpack(torch.zeros(0, BODY_DIM, device=state.features.device)), state
        groups = dict(zip(BODY_GROUPS, state.groups.tolist()))
        return scale_body(BodyMotion.unpack(torch.cat(parts)), gesture=state.gesture, groups=groups), state

    def flush(self, state: BodyState) -> tuple[BodyMotion, BodyState]:
        """The last frames, for which keypoints came: the last keypoints and feature are held until the hop is full."""
        count = len(state.keypoints)
        if not count:
            motion, state = self.step(state.keypoints, state.features[:0], state)
            return motion, replace(state, closed=True)
        missing = -count % self.hop
        needed = state.next_frame + count + missing + self.net.audio_future - state.first_feature - len(state.features)
        features = state.features[-1:].expand(max(needed, 0), -1)
        motion, state = self.step(state.keypoints[-1:].expand(missing, -1, -1), features, state)
        return BodyMotion(motion.delta[:count], motion.hands[:count]), replace(state, closed=True)

    def _ready(self, state: BodyState) -> bool:
        reach = state.first_feature + len(state.features) - self.net.audio_future
        return min(reach, state.next_frame + len(state.keypoints)) >= state.next_frame + self.hop

    @torch.no_grad()
    def _hop(self, state: BodyState) -> tuple[Tensor, BodyState]:
        """The next hop, packed `[hop, 144]`."""
        net, hop = self.net, self.hop
        length = net.audio_past + hop + net.audio_future
        audio = state.features[:state.next_frame + hop + net.audio_future - state.first_feature]
        motion, cache = net(
            state.keypoints[None, :hop], pad(audio, (0, 0, length - len(audio), 0))[None],
            gesture_code(state.seed, state.next_frame, hop).to(audio)[None], audio_first=-net.audio_past,
            appearance=None if state.appearance is None else state.appearance[None],
            cache=BodyCache(state.keys, state.values),
        )
        drop = max(state.next_frame + hop - net.audio_past - state.first_feature, 0)
        return motion.packed()[0], replace(
            state, features=state.features[drop:], first_feature=state.first_feature + drop,
            keypoints=state.keypoints[hop:], next_frame=state.next_frame + hop, keys=cache.keys, values=cache.values,
        )

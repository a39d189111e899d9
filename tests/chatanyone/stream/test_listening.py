from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from chatanyone.stream.listening import FPS, ListenerState, listen
from chatanyone.stream.types import SessionState
from motion.types import ARKIT_INDEX, FACE_DIM, FaceMotion

QUIET_DB, LOUD_DB = -75.0, -25.0


def _still(frames: int) -> FaceMotion:
    return FaceMotion.unpack(torch.zeros(frames, FACE_DIM))


def _phrases(count: int, voice_s: float = 1.6, pause_s: float = 0.9) -> Tensor:
    """Loudness of somebody who speaks in phrases, starting with a second of silence."""
    phrase = [LOUD_DB] * round(voice_s * FPS) + [QUIET_DB] * round(pause_s * FPS)
    return torch.tensor([QUIET_DB] * FPS + phrase * count)


def _listen(levels: Tensor, doing: SessionState = SessionState.LISTENING, seed: int = 0,
            face: FaceMotion | None = None) -> FaceMotion:
    return listen(face or _still(len(levels)), ListenerState(seed), doing, levels)[0]


def test_silence_adds_nothing() -> None:
    motion = _listen(torch.full((300,), -100.0))
    assert motion.packed().abs().max() < 1e-6


def test_phrases_get_nods_of_a_natural_size() -> None:
    """Two to four degrees, half to eight tenths of a second, and not for every phrase."""
    levels = _phrases(12)
    pitch = torch.rad2deg(_listen(levels).rotation[:, 0])
    rises = (torch.nonzero(torch.diff((pitch > 0.1).int()) == 1)[:, 0] + 1).tolist()
    falls = (torch.nonzero(torch.diff((pitch > 0.1).int()) == -1)[:, 0] + 1).tolist()
    starts = [rise for rise, before in zip(rises, [-99] + rises) if rise - before > 40]  # others are second swings
    assert 4 <= len(starts) <= 12 and len(rises) > len(starts)
    assert min(b - a for a, b in zip(starts, starts[1:])) >= 2 * FPS - 2
    assert 2.0 <= pitch.max() <= 4.1 and pitch.min() > -0.01
    assert all(0.35 < (fall - rise) / FPS < 0.85 for rise, fall in zip(rises, falls))
    for start in starts:
        assert levels[start - 5] == QUIET_DB and LOUD_DB in levels[start - 15:start], "after a phrase, not in it"


def test_everything_is_smooth() -> None:
    motion = _listen(_phrases(12))
    speed = torch.rad2deg(torch.diff(motion.rotation, dim=0)).abs().max() * FPS
    assert speed < 35  # degrees a second; nods of people reach about 50
    lids = motion.expression[:, ARKIT_INDEX["eyeBlinkLeft"]]
    others = motion.expression.clone()
    others[:, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] = 0
    assert torch.diff(others, dim=0).abs().max() < 0.03
    assert lids.max() > 0.8, "somebody blinks in the pauses"


def test_it_looks_at_who_speaks() -> None:
    aside = _still(400)
    aside.expression[:, ARKIT_INDEX["eyeLookOutLeft"]] = 0.4
    gaze = _listen(_phrases(4), face=FaceMotion(*(part[:len(_phrases(4))] for part in (
        aside.expression, aside.rotation, aside.translation)))).expression[:, ARKIT_INDEX["eyeLookOutLeft"]]
    assert gaze[0] == pytest.approx(0.4, abs=0.01) and gaze[-FPS] < 0.15


def test_who_thinks_looks_aside_and_comes_back() -> None:
    state, frames = ListenerState(3), []
    for doing in [SessionState.THINKING] * 60 + [SessionState.SPEAKING] * 60:
        face, state = listen(_still(1), state, doing, torch.tensor([-100.0]))
        frames.append(face.packed()[0])
    motion = FaceMotion.unpack(torch.stack(frames))
    look = motion.expression[:, [ARKIT_INDEX["eyeLookOutLeft"], ARKIT_INDEX["eyeLookOutRight"]]].amax(1)
    turn = torch.rad2deg(motion.rotation).norm(dim=1)
    assert look[50] > 0.3 and 2 < turn[50] < 5
    assert look[-1] < 0.02 and turn[-1] < 0.2
    assert torch.diff(turn).abs().max() * FPS < 25


def test_nobody_nods_while_speaking() -> None:
    motion = _listen(_phrases(8), SessionState.SPEAKING)
    assert motion.packed().abs().max() < 1e-6


def test_pieces_give_what_the_whole_gives() -> None:
    levels, state, parts = _phrases(6), ListenerState(5), []
    for piece in levels.split(4):
        face, state = listen(_still(len(piece)), state, SessionState.LISTENING, piece)
        parts.append(face.packed())
    torch.testing.assert_close(torch.cat(parts), _listen(levels, seed=5).packed())


def test_the_seed_decides() -> None:
    levels = _phrases(8)
    assert torch.equal(_listen(levels, seed=1).packed(), _listen(levels, seed=1).packed())
    assert not torch.equal(_listen(levels, seed=1).packed(), _listen(levels, seed=2).packed())


def test_a_noisy_room_is_no_voice() -> None:
    noise = torch.full((20 * FPS,), -40.0) + torch.randn(20 * FPS, generator=torch.Generator().manual_seed(0))
    assert torch.rad2deg(_listen(noise).rotation[5 * FPS:, 0]).abs().max() < 0.1
    assert math.isfinite(float(_listen(noise).packed().sum()))

from __future__ import annotations

import threading
import time
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from chatanyone import timebase
from chatanyone.errors import StreamClosed
from chatanyone.pipeline import MOTION_AHEAD, AvatarPipeline, Frame, PipelineState, Stages, Strengths
from motion.types import BodyMotion, FaceMotion
from tests.helpers.stages import FaceStandIn, FlatScene, stand_ins

RATES = [pytest.param(Fraction(r), id=r) for r in ("25", "30", "30000/1001")]


def _speech(samples: int) -> Tensor:
    """Noise under a slow swell, so that neighbouring frames differ."""
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(1))
    return noise * (0.1 + 0.08 * torch.sin(torch.arange(samples) / 900))


def _play(pipeline: AvatarPipeline, speech: Tensor, chunk: int) -> list[Frame]:
    state = pipeline.init(None)
    frames: list[Frame] = []
    for start in range(0, len(speech), chunk):
        made, state = pipeline.step(speech[start:start + chunk], state)
        frames += made
    return frames + pipeline.flush(state)[0]


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("samples", [1, 533, 534, 2133, 2134, 16_000, 23_457])
def test_frame_count_is_exact(fps: Fraction, samples: int) -> None:
    frames = _play(AvatarPipeline(stand_ins(fps), fps), _speech(samples), 1000)
    assert len(frames) == timebase.frames_for_samples(samples, fps)


@pytest.mark.parametrize("chunk", [1, 160, 533, 16_000])
def test_any_chunking_gives_the_same_frames(chunk: int) -> None:
    pipeline, speech = AvatarPipeline(stand_ins()), _speech(5_000 if chunk == 1 else 40_000)
    whole = _play(pipeline, speech, len(speech))
    np.testing.assert_array_equal(_play(pipeline, speech, chunk), whole)
    assert len({frame.tobytes() for frame in whole}) > 0.9 * len(whole), "the test would see nothing"


def test_run_is_step_and_flush() -> None:
    pipeline, speech = AvatarPipeline(stand_ins()), _speech(20_000)
    np.testing.assert_array_equal(list(pipeline.run(speech, pipeline.init(None))), _play(pipeline, speech, 533))


def test_motion_of_later_frames_is_made_while_earlier_ones_are_drawn() -> None:
    """Of two passes that have frames and one more: passes that only hear take no place in the queue."""
    moved: list[int] = []
    pipeline = AvatarPipeline(stand_ins(), on_motion=lambda face, body: moved.append(len(face.expression)))
    frames = pipeline.run(_speech(16_000), pipeline.init(None))
    next(frames)
    end_s = time.monotonic() + 10
    while len(moved) < 2 + MOTION_AHEAD and time.monotonic() < end_s:
        time.sleep(0.01)
    assert len(moved) == 2 + MOTION_AHEAD
    frames.close()  # type: ignore[attr-defined]  # and no thread outlives the loop
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_two_passes_are_drawn_side_by_side() -> None:
    """Each waits until another is being drawn, too; and the film is the same."""
    pipeline, speech = AvatarPipeline(stand_ins()), _speech(12_800)  # 24 frames, in passes of five and six
    wanted, both = _play(pipeline, speech, 533), threading.Barrier(2, timeout=5)

    class Together(FlatScene):
        workers = 2

        def __call__(self, face: FaceMotion, body: BodyMotion) -> Tensor:
            both.wait()
            return super().__call__(face, body)

    beside = AvatarPipeline(Stages(*stand_ins()[:3], Together))
    np.testing.assert_array_equal(list(beside.run(speech, beside.init(None))), wanted)


def test_short_passes_are_drawn_together() -> None:
    """Stages that give frame by frame: each core still has two frames to draw, and the film is the same."""
    drawn: list[int] = []

    class Beside(FlatScene):
        workers = 2

        def __call__(self, face: FaceMotion, body: BodyMotion) -> Tensor:
            drawn.append(len(face.expression))
            return super().__call__(face, body)

    audio, _, body, _ = stand_ins()
    singly, speech = AvatarPipeline(Stages(audio, FaceStandIn(1), body, Beside)), _speech(12_800)
    frames = list(singly.run(speech, singly.init(None)))
    assert sum(drawn) == 24 and set(sorted(drawn)[1:]) <= {4, 5, 6, 7}, "none but the last has fewer than four"
    np.testing.assert_array_equal(frames, _play(singly, speech, 533))


def test_frames_show_their_own_moment() -> None:
    """A click lights the frame it falls in and no other: no stage is off by one."""
    speech = torch.zeros(16_000)
    speech[timebase.first_sample(17, Fraction(30)) + 5] = 1.0
    pipeline = AvatarPipeline(stand_ins())
    red = [frame[0, 0, 0] for frame in _play(pipeline, speech, 777)]
    assert [i for i, level in enumerate(red) if level] == [17]


def test_frames_come_out_while_samples_go_in() -> None:
    pipeline = AvatarPipeline(stand_ins())
    frames, state = pipeline.step(_speech(16_000), pipeline.init(None))
    # the last hop, the audio look-ahead of 2, a block of 3 and the body's 1 may wait
    assert len(frames) >= 30 - (1 + 2 + 2 + 1)


def test_seed_and_strengths_reach_the_stages() -> None:
    pipeline, speech = AvatarPipeline(stand_ins()), _speech(2_000)
    blue = [list(pipeline.run(speech, pipeline.init(None, seed, strengths=Strengths(expression=dial))))[0][0, 0, 2]
            for seed, dial in [(0, 1.0), (50, 1.0), (0, 2.0)]]
    assert len(set(blue)) == 3


def test_state_is_a_value() -> None:
    pipeline, speech = AvatarPipeline(stand_ins()), _speech(30_000)
    _, middle = pipeline.step(speech[:10_007], pipeline.init(None))
    first, second = (_finish(pipeline, speech[10_007:], middle) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_saved_and_restored_state_goes_on_the_same(tmp_path: Path) -> None:
    pipeline, speech = AvatarPipeline(stand_ins()), _speech(30_000)
    _, middle = pipeline.step(speech[:10_007], pipeline.init(None, seed=7))
    safetensors.torch.save_file(middle.tensors(), tmp_path / "session.safetensors")
    restored = pipeline.init(None).restored(safetensors.torch.load_file(tmp_path / "session.safetensors"))
    assert restored.clock.samples == 10_007
    np.testing.assert_array_equal(
        _finish(pipeline, speech[10_007:], restored), _finish(pipeline, speech[10_007:], middle))


def test_foreign_state_is_refused() -> None:
    with pytest.raises(ValueError, match="'other/x' is of another state"):
        AvatarPipeline(stand_ins()).init(None).restored({"other/x": torch.zeros(1)})


def _finish(pipeline: AvatarPipeline, speech: Tensor, state: PipelineState) -> list[Frame]:
    frames, state = pipeline.step(speech, state)
    return frames + pipeline.flush(state)[0]


def test_closed_stream_says_so() -> None:
    pipeline = AvatarPipeline(stand_ins())
    _, state = pipeline.flush(pipeline.step(_speech(1000), pipeline.init(None))[1])
    with pytest.raises(StreamClosed, match="flushed already; start another with init"):
        pipeline.step(_speech(10), state)
    with pytest.raises(StreamClosed):
        pipeline.flush(state)


def test_nothing_said_gives_nothing() -> None:
    pipeline = AvatarPipeline(stand_ins())
    frames, state = pipeline.step(torch.zeros(0), pipeline.init(None))
    assert frames == [] and pipeline.flush(state)[0] == []


def test_stereo_is_refused() -> None:
    pipeline = AvatarPipeline(stand_ins())
    with pytest.raises(ValueError, match=r"expected mono samples \[n\], got shape \[2, 100\]"):
        pipeline.step(torch.zeros(2, 100), pipeline.init(None))


def test_motion_is_handed_out_once_for_every_frame() -> None:
    seen: list[int] = []

    def listen(face: FaceMotion, body: BodyMotion) -> None:
        assert len(face.expression) == len(body.delta)
        seen.append(len(face.expression))

    frames = _play(AvatarPipeline(stand_ins(), on_motion=listen), _speech(20_000), 1000)
    assert sum(seen) == len(frames)


def test_ten_minutes_need_no_more_memory_than_one() -> None:
    """Whatever a session keeps is bounded: its tensors, and what Python allocates while it runs."""
    fps = Fraction(10)
    pipeline = AvatarPipeline(stand_ins(fps, size=(2, 3)), fps)
    state, sizes, second = pipeline.init(None), [], _speech(16_000)
    tracemalloc.start()
    for minute in range(10):
        for _ in range(60):
            _, state = pipeline.step(second, state)
        kept = sum(value.nbytes for value in state.tensors().values())
        sizes.append((kept, tracemalloc.get_traced_memory()[0]))
    tracemalloc.stop()
    assert state.clock.samples == 9_600_000 and state.clock.frames > 5_950
    assert max(kept for kept, _ in sizes) < 50_000
    assert sizes[-1][1] < sizes[0][1] + 50_000

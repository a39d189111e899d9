"""A renderer that draws numbers instead of a person, to prove the clock and to test whatever carries a session.

Each picture bears its frame number (`read_number` reads it back, also from compressed video) and a bar as high as the
sound of that moment is loud (`read_level`): the mouth. Every two seconds a chirp starts exactly with a picture whose
number divides by 60 (`find_chirps`). What is heard and what is seen is then compared by number.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate

from chatanyone.stream.engine import Made, Step
from chatanyone.stream.gate import Hold, MouthGate
from chatanyone.stream.session import Session
from chatanyone.stream.types import SOUND_HZ, UNIT_SAMPLES, SessionEvents
from chatanyone.stream.units import MOTION_FPS, SPEECH_HZ, UNIT_FRAMES, UPSAMPLING, speech_before, stride

LAG_SAMPLES = 8000  # 48 kHz; as the real engine's: 166⅔ ms
CHIRP_EVERY_FRAMES = 60
_CHIRP_S = 0.03
_MOUTH_GAIN = 3.0
_COLUMNS, _ROWS, _CHECK_BITS = 8, 4, 8
_POINTS = 5  # looked at across each block
_KEPT_UNITS, _REDRAWING = 2, 0.8
_NUMBER_BITS = _COLUMNS * _ROWS - _CHECK_BITS


def burn_number(frame: NDArray[np.uint8], number: int) -> None:
    """Into the upper third of the picture ``[H, W, 3]``: 8 × 4 black or white blocks, 24 bits and 8 to check them."""
    bits = (number % (1 << _NUMBER_BITS)) << _CHECK_BITS | _check(number)
    grid = np.array([bits >> index & 1 for index in range(_COLUMNS * _ROWS)], np.uint8).reshape(_ROWS, _COLUMNS)
    rows, columns = _blocks(frame)
    frame[:rows[-1], :] = (16 + 219 * grid[np.repeat(np.arange(_ROWS), np.diff(rows))]
                           [:, np.repeat(np.arange(_COLUMNS), np.diff(columns))])[..., None]


def read_number(frame: NDArray[np.uint8]) -> int | None:
    """The number of a picture of any size, however compressed; None when it bears none or cannot be read."""
    points = frame[_inside(_blocks(frame)[0])][:, _inside(_blocks(frame)[1])]
    bright = points.reshape(_ROWS, _POINTS, _COLUMNS, _POINTS, 3).mean(axis=(1, 3, 4)) > 127
    bits = sum(1 << int(index) for index in np.flatnonzero(bright))
    number, check = bits >> _CHECK_BITS, bits & ((1 << _CHECK_BITS) - 1)
    return number if check == _check(number) else None


def read_level(frame: NDArray[np.uint8]) -> float:
    """How far the mouth of a picture is open, 0 to 1."""
    H, W = frame.shape[:2]
    bar = frame[H // 2:H - 2, W * 7 // 16:W * 9 // 16].mean(axis=(1, 2))
    return float((bar > 127).mean())


def chirp() -> NDArray[np.float32]:
    """30 ms at 48 kHz, from 1 to 4 kHz."""
    time_s = np.arange(round(_CHIRP_S * SOUND_HZ)) / SOUND_HZ
    phase = 2 * np.pi * (1000 * time_s + 3000 / _CHIRP_S * time_s ** 2 / 2)
    return (0.5 * np.sin(phase) * np.hanning(len(time_s))).astype(np.float32)


def find_chirps(sound: NDArray[np.int16] | NDArray[np.float32]) -> list[float]:
    """Seconds from the start at which chirps begin, in mono sound at 48 kHz."""
    sound, template = np.asarray(sound, np.float32), chirp()
    if sound.size and np.abs(sound).max() > 2:
        sound = sound / 32768
    if len(sound) < len(template):
        return []
    match = correlate(sound, template, mode="valid", method="fft")
    energy = np.convolve(sound ** 2, np.ones(len(template)), mode="valid")
    likeness = match / np.sqrt(np.maximum(energy, 1e-3) * (template ** 2).sum())
    found: list[float] = []
    while (best := int(likeness.argmax())) is not None and likeness[best] > 0.6:
        found.append(best / SOUND_HZ)
        likeness[max(best - len(template), 0):best + len(template)] = 0
    return sorted(found)


class StandInEngine:
    """An engine in the event loop itself.

    Args:
        size: width, height.
        work_s: how long the step of a number takes; negative: it never answers.
        chirps: whether chirps are heard beside the speech.
    """

    def __init__(self, size: tuple[int, int] = (256, 384), work_s: Callable[[int], float] = lambda number: 0.02,
                 chirps: bool = True) -> None:
        self.size, self.lag, self._work_s, self._chirps = size, LAG_SAMPLES, work_s, chirps
        self._heard = np.zeros(LAG_SAMPLES // UPSAMPLING, np.float32)
        self._first = 0  # sample at which `_heard` begins
        self._hold, self._steps = Hold(self.lag), 0
        self._drawn: deque[tuple[Step, MouthGate]] = deque(maxlen=_KEPT_UNITS)  # with the gate before it
        self._gate, self._free_s, self._dead = MouthGate(), 0.0, False
        self._chirp = np.zeros(UNIT_SAMPLES, np.int16)
        self._chirp[:len(chirp())] = (chirp() * 32767).astype(np.int16)
        self._background = self._draw_background()

    async def start(self, on_made: Callable[[Made], None], on_lost: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_made, self._on_lost = on_made, on_lost

    def step(self, step: Step) -> None:
        self._heard = np.concatenate([self._heard, step.samples])
        self._hold.feed(step.number, step.samples)
        self._steps = step.number + 1
        work_s = self._work_s(step.number)
        if work_s < 0:
            return
        begun_s = max(self._free_s, self._loop.time())
        self._free_s = begun_s + work_s
        frames: list[NDArray[np.uint8]] = []
        for index in range(step.pictures):
            self._loop.call_at(begun_s + work_s * index / step.pictures, self._paint_in_turn, step, frames, index)
        self._loop.call_at(self._free_s, self._answer, step, work_s, frames)

    def cut(self, unsent: int) -> None:
        """What is drawn already is drawn again after what is in work, in 0.8 of the time, as the renderer does it."""
        self._hold.cut(self._steps)
        work_s = self._work_s(max(self._steps - 1, 0))
        if work_s >= 0 and self._steps > unsent:
            self._free_s = max(self._loop.time(), self._free_s) + _REDRAWING * work_s
            self._loop.call_at(self._free_s, self._redraw, unsent, _REDRAWING * work_s)

    def crash(self) -> None:
        """Dies, as a process would."""
        self._dead = True
        self._on_lost("it was told to")

    async def close(self) -> None:
        self._dead = True

    def _answer(self, step: Step, work_s: float, frames: list[NDArray[np.uint8]]) -> None:
        if self._dead:
            return
        for index in range(len(frames), step.pictures):  # timers of the same moment come in any order
            self._paint_in_turn(step, frames, index)
        starts = step.number * UNIT_FRAMES % CHIRP_EVERY_FRAMES == 0
        done = max(speech_before(max(step.number + 1 - _KEPT_UNITS, 0)) - self._first, 0)
        self._heard, self._first = self._heard[done:], self._first + done
        self._on_made(Made(step.number, np.stack(frames), work_s, sound=self._chirp if self._chirps and starts else None))

    def _redraw(self, unsent: int, work_s: float) -> None:
        if self._dead:
            return
        again = [(step, gate) for step, gate in self._drawn if step.number >= unsent]
        for place, (step, gate) in enumerate(again):
            self._gate = gate if place == 0 else self._gate
            self._on_made(Made(step.number, np.stack([self._paint(step, index) for index in range(step.pictures)]), work_s,
                               again=True))

    def _paint_in_turn(self, step: Step, frames: list[NDArray[np.uint8]], index: int) -> None:
        """One picture after the other, as a renderer does, so that an interruption finds some done and some not."""
        if self._dead or len(frames) != index:
            return
        if index == 0:
            self._drawn.append((step, self._gate))
        frames.append(self._paint(step, index))

    def _paint(self, step: Step, index: int) -> NDArray[np.uint8]:
        every = stride(step.pictures)
        number = step.number * UNIT_FRAMES + index * every
        opened = 1.0
        for frame in range(number, number + every):
            self._gate = self._gate.step(frame < self._hold.before)
            opened = min(opened, self._gate.factor)
        return self._draw(number, _MOUTH_GAIN * step.dials.expression * opened * self._loudness(number))

    def _draw(self, number: int, mouth: float) -> NDArray[np.uint8]:
        frame = np.roll(self._background, number, axis=0)
        burn_number(frame, number)
        H, W = frame.shape[:2]
        bar = frame[H // 2:H - 2, W * 3 // 8:W * 5 // 8]
        bar[:] = 16
        bar[:round(len(bar) * min(mouth, 1.0))] = 235
        return frame

    def _loudness(self, number: int) -> float:
        """RMS of the sound that is heard with a frame."""
        start, end = (round(frame * SPEECH_HZ / MOTION_FPS) for frame in (number, number + 1))
        part = self._heard[max(start - self._first, 0):end - self._first]
        return float(np.sqrt((part ** 2).mean())) if len(part) else 0.0

    def _draw_background(self) -> NDArray[np.uint8]:
        """A soft pattern that moves, so that video has something to encode."""
        width, height = self.size
        y, x = np.mgrid[:height, :width]
        waves = [128 + 60 * np.sin(2 * np.pi * (x / width * (index + 1) + 3 * y / height)) for index in range(3)]
        return np.stack(waves, axis=-1).astype(np.uint8)


async def open_standin(events: SessionEvents | None = None, size: tuple[int, int] = (256, 384), pictures: int = 4,
                       work_s: Callable[[int], float] = lambda number: 0.02, chirps: bool = True) -> Session:
    """A session in which the stand-in draws."""
    return await Session(lambda: StandInEngine(size, work_s, chirps), events, pictures).start()


def _blocks(frame: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Edges of the blocks' rows and columns, px."""
    H, W = frame.shape[:2]
    rows = np.round(np.linspace(0, H / 3, _ROWS + 1)).astype(np.int64)
    return rows, np.round(np.linspace(0, W, _COLUMNS + 1)).astype(np.int64)


def _inside(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places well inside each block, where compression has not blurred its edges in."""
    shares = np.linspace(0.25, 0.75, _POINTS)
    places = edges[:-1, None] + np.diff(edges)[:, None] * shares
    return places.astype(np.int64).ravel()


def _check(number: int) -> int:
    """Eight bits that all of the number's bits change; never those of a black or white picture."""
    number %= 1 << _NUMBER_BITS
    return (number * 0x9E3779B1 >> 16 ^ number ^ 0xA5) & 0xFF

"""Measures a live session on this machine: from speech in to the first picture whose lips move with it, and from an
interruption to silence and a shut mouth. `python -m chatanyone.stream.latency`.

The clock is the session's own: a unit counts from when it is handed out, and sound and pictures inside it from there on.
What comes after, encoding, network and the player's buffer, is not in these numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.cli import set_environment
from chatanyone.stream.session import Session
from chatanyone.stream.types import SOUND_HZ, UNIT_S, Unit
from chatanyone.stream.units import SPEECH_HZ

_AUDIBLE = 327  # of 32767: -40 dB
_PACKET = SPEECH_HZ // 50
Face = tuple[slice, slice]  # rows and columns
Shown = list[tuple[float, NDArray[np.uint8]]]  # pictures with the time from which they are seen
_LOOK_AHEAD_MS = 1000 / 6  # of the engine: a piece of speech lies so far behind the unit that it completes


@dataclass
class Onset:
    """One onset of speech, ms from `speak` (for real-time speech from when the first packet was spoken to its end)."""

    total: float
    lead: float

    @property
    def wait(self) -> float:
        """Until the next step takes it."""
        return self.total - self.lead - _LOOK_AHEAD_MS


@dataclass
class Report:
    """Lists of ms, and what the session said of itself."""

    at_once: list[Onset] = field(default_factory=list)
    real_time: list[Onset] = field(default_factory=list)
    sound_stops: list[float] = field(default_factory=list)
    mouth_shuts: list[float] = field(default_factory=list)  # of those interruptions at which the mouth was open
    stats: dict[str, float] = field(default_factory=dict)
    title: str = ""

    def __str__(self) -> str:
        rows = [("speech given at once → first lip-synced picture", [one.total for one in self.at_once]),
                ("&nbsp;&nbsp;wait for the next step", [one.wait for one in self.at_once]),
                ("&nbsp;&nbsp;look-ahead of encoder and face windows", [_LOOK_AHEAD_MS]),
                ("&nbsp;&nbsp;lead: motion, drawing, spare", [one.lead for one in self.at_once]),
                ("speech in 20 ms packets → first lip-synced picture", [one.total for one in self.real_time]),
                ("interruption → silence", self.sound_stops), ("interruption → mouth shut", self.mouth_shuts)]
        lines = [self.title, "", "| | ms, p50 | ms, p95 |", "|---|---|---|"]
        lines += [f"| {name} | {np.percentile(v, 50):.0f} | {np.percentile(v, 95):.0f} |" for name, v in rows if v]
        lines += [f"| mouth shut: the slowest of {len(self.mouth_shuts)} | | {max(self.mouth_shuts):.0f} |"
                  ] if self.mouth_shuts else []
        lines += [f"| step: {name} | {self.stats[f'{name}_ms_p50']:.0f} | {self.stats[f'{name}_ms_p95']:.0f} |"
                  for name in ("motion", "drawing", "step", "redrawing") if f"{name}_ms_p50" in self.stats]
        counts = ", ".join(f"{self.stats[name]:.0f} {name}" for name in ("units", "underruns", "skipped", "crashes"))
        return "\n".join([*lines, "", counts])


class Measurement:
    """Args: session: running; speech: 16 kHz, starts with voice; seed: of the phases at which things happen."""

    def __init__(self, session: Session, speech: NDArray[np.float32], seed: int = 0) -> None:
        self.session, self.speech = session, speech
        self._random = np.random.default_rng(seed)
        self._seen: list[tuple[float, Unit]] = []
        self._interrupted: list[tuple[float, Shown]] = []
        self._face: Face = slice(None), slice(None)
        self._came = asyncio.Event()

    async def run(self, onsets: int, interruptions: int, mouth: bool = True) -> Report:
        """So many of each kind; `mouth`: keeps the pictures, for `look_at_lips`."""
        report = Report()
        watching = asyncio.create_task(self._watch())
        if mouth:
            await self._first(lambda unit: True)
            self._face = _around_face(self._seen[-1][1].frames[-1])
        for number in range(max(onsets, interruptions)):
            if number < onsets:
                report.at_once.append(await self._onset(real_time=False))
                report.real_time.append(await self._onset(real_time=True))
            if number < interruptions:
                report.sound_stops.append(await self._interruption(mouth))
        watching.cancel()
        report.stats = dict(self.session.stats())
        report.title = (f"{self.session.size[0]} × {self.session.size[1]} at {float(self.session.fps):g} pictures a second, "
                        f"{onsets} onsets of each kind, {interruptions} interruptions, "
                        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        return report

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        async for unit in self.session.units():
            self._seen = [*self._seen[-60:], (loop.time(), unit)]
            self._came.set()

    async def _calm(self) -> None:
        """Some silence, of a length that lets the next event fall anywhere in a unit."""
        await asyncio.sleep(0.8 + float(self._random.uniform(0, float(UNIT_S))))

    async def _onset(self, real_time: bool) -> Onset:
        await self._calm()
        loop, turn = asyncio.get_running_loop(), self.session.begin_turn()
        start, lead_ms = loop.time(), self.session.stats()["lead_ms"]
        speaking = asyncio.create_task(self._speak(turn, real_time, start))
        time_s, unit = await self._first(lambda unit: unit.turn == turn and bool((np.abs(unit.sound) > _AUDIBLE).any()))
        onset = int(np.flatnonzero(np.abs(unit.sound) > _AUDIBLE)[0])
        picture = -(-onset * len(unit.frames) // len(unit.sound))  # the first that starts with it
        shown = time_s + min(onset / SOUND_HZ, picture / len(unit.frames) * float(UNIT_S))
        self.session.interrupt()
        speaking.cancel()
        return Onset(1000 * (shown - start), lead_ms)

    async def _speak(self, turn: int, real_time: bool, start: float) -> None:
        if not real_time:
            await self.session.speak(self.speech, turn)
            return
        loop = asyncio.get_running_loop()
        for index in range(0, len(self.speech), _PACKET):
            await asyncio.sleep(max(start + (index + _PACKET) / SPEECH_HZ - loop.time(), 0))
            await self.session.speak(self.speech[index:index + _PACKET], turn)

    def look_at_lips(self, report: Report) -> None:
        """Afterwards, when the session is closed: finding lips takes as long as drawing them, and would be measured, too."""
        times = [_shut(at, shown) for at, shown in self._interrupted]
        report.mouth_shuts += [time_ms for time_ms in times if time_ms is not None]

    async def _interruption(self, mouth: bool) -> float:
        await self._calm()
        loop, turn = asyncio.get_running_loop(), self.session.begin_turn()
        speaking = asyncio.create_task(self.session.speak(self.speech, turn))
        await self._first(lambda unit: unit.turn == turn)
        await asyncio.sleep(0.6 + float(self._random.uniform(0, 2.5)))
        at = loop.time()
        self.session.interrupt()
        speaking.cancel()
        await asyncio.sleep(0.6)
        if mouth:
            self._interrupted.append((at, self._shown(at)))
        return self._silent(at)

    async def _first(self, wanted: Any) -> tuple[float, Unit]:
        while not (self._seen and wanted(self._seen[-1][1])):
            self._came.clear()
            await self._came.wait()
        return self._seen[-1]

    def _silent(self, at: float) -> float:
        """Ms until the last sample that can be heard."""
        ends = [time_s + (int(loud[-1]) + 1) / SOUND_HZ for time_s, unit in self._seen
                if len(loud := np.flatnonzero(np.abs(unit.sound) > _AUDIBLE)) and time_s > at - 1]
        return 1000 * (max(ends, default=at) - at)

    def _shown(self, at: float) -> Shown:
        return [(time_s + index / len(unit.frames) * float(UNIT_S), frame) for time_s, unit in self._seen
                if time_s > at - 0.2 for index, frame in enumerate(unit.frames[:, self._face[0], self._face[1]].copy())]


def _shut(at: float, shown: Shown) -> float | None:
    """Ms until the lips are, and stay, as near as they are 0.5 s later; None where they were shut already."""
    gaps = [(time_s, lips) for time_s, frame in shown if (lips := _lips(frame)) is not None]
    rest = float(np.median([gap for time_s, gap in gaps if time_s > at + 0.4] or [0.0]))
    wide = [time_s for time_s, gap in gaps if gap > rest + 0.02]
    if not wide or max(wide) < at:
        return None
    return 1000 * (min([time_s for time_s, _ in gaps if time_s > max(wide)], default=max(wide)) - at)


def _around_face(frame: NDArray[np.uint8]) -> Face:
    """Twice as large as the face, so that it stays inside; the whole picture where a face cannot be found in so little."""
    from chatanyone.vision import detect_faces

    faces = detect_faces(frame)
    if not faces:
        return slice(None), slice(None)
    low, high = faces[0].landmarks[:, :2].min(0), faces[0].landmarks[:, :2].max(0)
    margin = float((high - low).max()) / 2
    (x0, y0), (x1, y1) = np.maximum(low - margin, 0).astype(int), (high + margin).astype(int)
    window = slice(int(y0), int(y1)), slice(int(x0), int(x1))
    return window if _lips(frame[window].copy()) is not None else (slice(None), slice(None))


def _lips(frame: NDArray[np.uint8]) -> float | None:
    """Distance of the inner lips over the height of the face."""
    from chatanyone.vision import detect_faces

    faces = detect_faces(frame)
    if not faces:
        return None
    points = faces[0].landmarks[:, :2]
    return float(np.linalg.norm(points[13] - points[14]) / np.linalg.norm(points[10] - points[152]))


async def _main(options: argparse.Namespace) -> None:
    from chatanyone.config import load_config
    from chatanyone.portrait import prepare_portrait
    from chatanyone.stream.choose import choose_here
    from chatanyone.stream.live import open_session

    config = load_config(options.config)
    picture = _picture(options.image)
    if options.size:
        width, _, height = options.size.partition("x")
        size, pictures = (int(width), int(height)), options.pictures
    else:
        choice = await choose_here(config, picture)
        print(choice)
        size, pictures = choice.size, choice.pictures
    session = await open_session(prepare_portrait(picture, size), config, pictures=pictures)
    measurement = Measurement(session, _voice())
    try:
        report = await measurement.run(options.onsets, options.interruptions)
    finally:
        await session.close()
    measurement.look_at_lips(report)
    print(report)


def _picture(path: str | None) -> NDArray[np.uint8]:
    from chatanyone import demo
    from chatanyone.media.image import read_image

    return demo.picture() if path is None else read_image(path)


def _voice() -> NDArray[np.float32]:
    """The demo's, from its first audible sample on."""
    from chatanyone import demo

    voice = demo.speech()
    return voice[int(np.flatnonzero(np.abs(voice) > 0.02)[0]):]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(prog="python -m chatanyone.stream.latency", description="Latency of a live session.")
    parser.add_argument("--onsets", type=int, default=24, metavar="N", help="of speech, of each kind (24)")
    parser.add_argument("--interruptions", type=int, default=48, metavar="N", help="(48)")
    parser.add_argument("--image", metavar="FILE", help="picture of a person (the demo's)")
    parser.add_argument("--size", metavar="WxH", help="pixels, such as 256x384; without it the machine is tried out")
    parser.add_argument("--pictures", type=int, default=2, choices=(1, 2, 4), help="in a unit of 2/15 s (2)")
    parser.add_argument("--config", metavar="FILE", help="settings, see configs/README.md")
    set_environment()
    asyncio.run(_main(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()

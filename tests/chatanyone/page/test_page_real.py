"""A minute with the real renderer in Chromium: the person says what the fake microphone says. Prints what it measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from numpy.typing import NDArray

from chatanyone.vision.faces import detect_faces, face_landmarks
from tests.helpers.page import steps
from tests.helpers.page.receiver import Seen
from tests.helpers.page.server import served

SECONDS = 60
SETTLING_S = 6
FACE_PX = 256
_UPPER_LIP, _LOWER_LIP, _FOREHEAD, _CHIN = 13, 14, 10, 152
TOGETHER_MS = 40


@pytest.fixture(scope="module")
def real_address(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("people")
    (folder / "Mara.jpg").write_bytes((shared_data / "portraits/halfbody/woman_0035.jpg").read_bytes())
    with served("--portraits", str(folder), log=folder / "log") as address:
        yield address


@pytest.fixture(scope="module")
def met(browser: Any, real_address: str) -> Any:
    """What was seen and heard, and the offsets the browser told."""
    context = browser.new_context(viewport={"width": 1000, "height": 700}, bypass_csp=True)
    page = context.new_page()
    page.goto(real_address)
    page.wait_for_selector(".portrait[data-state=ready]:has-text('Mara')", timeout=120_000)
    page.check(".portrait:has-text('Mara') input", force=True)
    steps.start(page, "mirror", timeout_s=60)
    page.wait_for_timeout(1000 * SETTLING_S)
    steps.begin_recording(page, FACE_PX, FACE_PX, _face(page))
    page.wait_for_timeout(1000 * SECONDS)
    seen = steps.end_recording(page)
    offsets = np.array(page.evaluate("chatanyone.telemetry.offsets"), float)
    server = page.evaluate("chatanyone.telemetry.server")
    steps.stop(page)
    context.close()
    _tell(real_address, seen, offsets, server)
    return seen, offsets


def _face(page: Any) -> tuple[float, ...]:
    """A square around the face, px of the video; the detector wants room around it."""
    width, height = page.evaluate("((video) => [video.videoWidth, video.videoHeight])(document.querySelector('#person'))")
    steps.begin_recording(page, width, height)
    page.wait_for_timeout(500)
    face = detect_faces(steps.end_recording(page).frames[-1])[0]
    side = 2.6 * face.height_px
    return face.center[0] - side / 2, face.center[1] - side / 2, side, side


def _tell(address: str, seen: Seen, offsets: NDArray[np.float64], server: dict[str, float]) -> None:
    with urlopen(f"{address}v1/info") as answer:
        info = json.load(answer)
    print(f"\n{info['sentence']} measured: {info.get('measured')}")
    print(f"frames a second at the receiver: {seen.rate:.2f}")
    print("server:", {name: round(value, 1) for name, value in server.items() if "ms" in name or "under" in name})
    print("offsets of the browser, ms:", offsets.astype(int).tolist())


def opening(seen: Seen) -> NDArray[np.float64]:
    """Of the lips, in heights of the face; NaN where no face was found."""
    found, opened = detect_faces(seen.frames[0])[0].landmarks, []
    for frame in seen.frames:
        points = face_landmarks(frame, found)
        found = found if points is None else points
        height = np.linalg.norm(found[_FOREHEAD] - found[_CHIN])
        opened.append(np.nan if points is None else np.linalg.norm(found[_UPPER_LIP] - found[_LOWER_LIP]) / height)
    return np.array(opened)


@pytest.mark.slow
@pytest.mark.usefixtures("time_counts")
def test_lips_and_sound_are_together_for_a_minute(met: Any) -> None:
    seen, offsets = met
    latest = np.abs(offsets[-SECONDS + 2:])
    print(f"|offset| over {len(latest)} s: p50 {np.percentile(latest, 50):.0f} ms, p95 {np.percentile(latest, 95):.0f} ms")
    assert np.percentile(latest, 95) <= TOGETHER_MS


@pytest.mark.slow
@pytest.mark.usefixtures("time_counts")
def test_the_mouth_moves_with_the_voice(met: Any) -> None:
    seen, _ = met
    times, loudness = seen.loudness(0.05)
    heard = np.interp(seen.shown_s, times, np.convolve(loudness, np.ones(3) / 3, mode="same"))
    lips = opening(seen)
    known = np.isfinite(lips)
    lags_s = np.arange(-0.3, 0.31, 0.05)
    likeness = [np.corrcoef(lips[known], np.interp(seen.shown_s[known] - lag, seen.shown_s, heard))[0, 1] for lag in lags_s]
    loud = heard > 0.3 * np.percentile(heard, 90)
    quiet = heard < 0.05 * np.percentile(heard, 90)
    moving = np.abs(np.diff(lips, prepend=lips[0]))
    ratio = np.nanmean(moving[loud]) / np.nanmean(moving[quiet])
    print(f"lips and loudness: r {max(likeness):.2f}, lips {1000 * lags_s[int(np.argmax(likeness))]:.0f} ms after the sound; "
          f"lips move {ratio:.1f} times as much in speech as in silence")
    assert ratio > 1.5
    if len(seen.shown_s) > 12 * (seen.shown_s[-1] - seen.shown_s[0]):  # fewer pictures a second cannot follow syllables
        assert max(likeness) > 0.3

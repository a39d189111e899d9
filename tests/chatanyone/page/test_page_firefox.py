"""The same page in Firefox: a call with the stand-in is seen and heard, and the interrupt button silences it.

What is heard is what the browser has decoded, by its own count of energy: without a sound card Firefox runs no AudioContext.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chatanyone.stream.standin import read_number
from tests.helpers.page import receiver, steps
from tests.helpers.page.firefox import FIREFOX, Page, firefox

SECONDS = 5
# Firefox's level holds the loudest for 0.1 s, then falls to a quarter each 0.1 s: what follows speech must not count,
# and the stand-in's chirp of 30 ms counts as 0.2 s. Of speech more than half is loud.
LOUD, SPEECH_S, CHIRP_S = 0.12, 0.5, 0.35
STOPPED_S = 0.5  # the promised 150 ms, the jitter buffer and the way
LATEST_S = 1.5  # however busy the machine is
TRIES = 3  # it may spoil one
PROBE = Path(receiver.__file__).with_name("probe.js")
LISTEN = """globalThis.heard = [];
    globalThis.ear = setInterval(async () => (await chatanyone.talk.call.peer.getStats()).forEach((row) => {
        if (row.type === "inbound-rtp" && row.kind === "audio") {
            heard.push([performance.now(), row.totalAudioEnergy, row.totalSamplesDuration]);
        }
    }), 20);
    document.querySelector("#interrupt").addEventListener("click", () => { globalThis.pressed = performance.now(); }); 0"""
WATCH = """Object.assign(probe, { frames: [], blocks: [], keys: [], marks: {}, width: 64, height: 96, crop: null,
                         running: true });
    probe.watch(document.querySelector("#person"))"""


@pytest.fixture(scope="module")
def page(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """In a call in which the person says what the fake microphone hums; complaints of the console fail the test."""
    if not FIREFOX.exists():
        pytest.skip(f"no Firefox at {FIREFOX}; on Debian: apt-get install firefox-esr")
    with firefox(tmp_path_factory.mktemp("firefox")) as bidi:
        opened = Page(bidi)
        opened.goto(address)
        opened.wait_for_selector("#start:enabled")
        steps.start(opened, "mirror")
        opened.evaluate(PROBE.read_text())
        opened.evaluate(LISTEN)
        yield opened
        steps.stop(opened)
        assert bidi.complaints == []


def loudness(page: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Time, length (s) and RMS of what was decoded between two polls."""
    at, energy, lasted = np.array(page.evaluate("heard"), np.float64).T
    length = np.diff(lasted)
    known = length > 0
    return at[1:][known] / 1000, length[known], np.sqrt(np.diff(energy)[known] / length[known])


def test_pictures_follow_each_other(page: Any) -> None:
    page.evaluate(WATCH)
    page.wait_for_timeout(1000 * SECONDS)
    page.evaluate("probe.running = false")
    frames = receiver.read(page.evaluate("probe.result()")).frames
    numbers = np.array([number for frame in frames if (number := read_number(frame)) is not None])
    assert len(numbers) > 0.9 * len(frames) and len(numbers) > 8 * SECONDS
    assert (np.diff(numbers) > 0).mean() > 0.8 and (np.diff(numbers) >= 0).all()  # held where the machine was too slow


def test_lips_and_sound_are_told(page: Any) -> None:
    """Firefox also says what plays when, which `lipsync.js` needs."""
    known = "chatanyone.telemetry.offsets.filter(Number.isFinite)"
    steps.wait_until(page, f"{known}.length > 3")
    print("offsets, ms:", page.evaluate(known))


@pytest.mark.usefixtures("time_counts")
def test_sound_arrives_and_the_button_silences(page: Any) -> None:
    steps.choose_mode(page, "say")
    steps.mute(page)
    soon: list[bool] = []
    while not any(soon) and len(soon) < TRIES:
        soon.append(interrupted_soon(page))
    assert soon[-1]
    assert page.evaluate("document.querySelectorAll('#conversation .person.cut').length") == len(soon)


def interrupted_soon(page: Any) -> bool:
    """Types, interrupts what is said of it; whether it was silent as soon as it should be. Silent it must be in any case."""
    page.click("#tab-talk")
    page.fill("#say", "This sentence is long on purpose, so that there is enough of it left to be interrupted. " * 2)
    page.press("#say", "Enter")
    page.wait_for_selector("html[data-person=speaking]")
    page.wait_for_timeout(2500)
    page.click("#interrupt")
    page.wait_for_timeout(3000)
    pressed_s = page.evaluate("pressed") / 1000
    at, length, level = loudness(page)
    after_s = at - pressed_s

    def loud_s(start_s: float) -> float:
        return float(length[(level > LOUD) & (after_s > start_s) & (after_s <= start_s + 1)].sum())

    print("loud in the second that begins 0, 0.1, 0.2 … s after the button:", [round(loud_s(0.1 * n), 2) for n in range(8)])
    assert loud_s(-1) > SPEECH_S
    assert loud_s(LATEST_S) < CHIRP_S
    return loud_s(STOPPED_S) < CHIRP_S

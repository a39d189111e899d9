"""What the tests do on the page, by the names a person would use."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.helpers.page.receiver import Seen, read

_HERE = Path(__file__).parent


def choose_mode(page: Any, mode: str) -> None:
    page.click("#tab-start")
    page.check(f"#modes input[value={mode}]", force=True)


def mute(page: Any) -> None:
    """The fake microphone never stops talking: it would interrupt whatever the person says by itself."""
    if page.get_attribute("#mute", "aria-pressed") == "false":
        page.click("#mute")


def start(page: Any, mode: str = "mirror", timeout_s: float = 60) -> None:
    """Starts talking and waits until pictures come."""
    choose_mode(page, mode)
    page.click("#start")
    page.wait_for_selector("html[data-call=live]", timeout=1000 * timeout_s)
    wait_until(page, "document.querySelector('#person').videoWidth > 0", timeout_s)


def wait_until(page: Any, condition: str, timeout_s: float = 60) -> None:
    """Asks again and again; Playwright's own way needs `eval`, which the page's policy forbids."""
    end_s = time.monotonic() + timeout_s
    while not page.evaluate(f"() => Boolean({condition})"):
        assert time.monotonic() < end_s, f"never came true: {condition}"
        page.wait_for_timeout(20)


def stop(page: Any) -> None:
    page.click("#stop")
    page.wait_for_selector("html[data-call=ended]")


def begin_recording(page: Any, width: int = 64, height: int = 96, crop: tuple[float, ...] | None = None) -> None:
    """From here on, what is seen and heard is kept: frames of `width` × `height` px, of all or of `crop` (left, top, width,
    height, px). The page must have been visited with `bypass_csp`: the probe's worklet is no file of the server."""
    page.evaluate((_HERE / "probe.js").read_text())
    page.evaluate("""([code, width, height, crop]) => probe.start(chatanyone.talk.call.stream,
                     document.querySelector('#person'), URL.createObjectURL(new Blob([code], {type: 'text/javascript'})),
                     width, height, crop)""", [(_HERE / "probe_worklet.js").read_text(), width, height, crop])


def end_recording(page: Any) -> Seen:
    page.evaluate("probe.stop()")
    return read(page.evaluate("probe.result()"))


def wait_for_sound(page: Any, level: float = 0.02, timeout_s: float = 60) -> None:
    wait_until(page, f"probe.level() > {level}", timeout_s)


def notice(page: Any) -> str:
    """The sentence that the page shows, once there is one."""
    page.wait_for_selector("#notice:not([hidden])")
    return str(page.inner_text("#notice-text"))

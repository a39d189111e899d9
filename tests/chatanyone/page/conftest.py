"""One server with the stand-in and one Chromium for all tests of the page: both take seconds to start."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.page.server import CHROMIUM, served, spoken

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("aiortc", reason="the extra 'serve' is not installed")

Visit = Callable[..., Any]
BUSY = 4.0  # processes that wait for each core; server and browser alone make about one


@pytest.fixture
def time_counts() -> None:
    """For tests that measure time: a machine with far too much to do would only measure itself."""
    waiting, cores = os.getloadavg()[0], os.cpu_count() or 1
    if waiting > BUSY * cores:
        pytest.skip(f"{waiting:.0f} processes wait for {cores} cores; no time can be measured")


@pytest.fixture(scope="package")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Chromium's fake microphone plays, again and again."""
    return spoken(tmp_path_factory.mktemp("microphone") / "speech.wav")


@pytest.fixture(scope="package")
def browser(microphone: Path) -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"no Chromium at {CHROMIUM}; on Debian: apt-get install chromium")
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
             f"--use-file-for-fake-audio-capture={microphone}", "--autoplay-policy=no-user-gesture-required"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server in which the stand-in draws; one call at a time."""
    with served("--stand-in", log=tmp_path_factory.mktemp("server") / "log") as found:
        yield found


@pytest.fixture(scope="package")
def visit(browser: Any, address: str) -> Visit:
    """Opens the page in a browser profile of its own; complaints of the browser's console fail the test."""

    @contextmanager
    def opened(width: int = 1280, height: int = 800, prepare: str = "", loud: bool = False, **options: Any) -> Iterator[Any]:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        page = context.new_page()
        complaints: list[str] = []
        asked: set[str] = set()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(f"{message.text} {message.location['url']}")
                if message.type == "error" else None)
        page.on("request", lambda request: asked.add(request.url))
        if prepare:
            page.add_init_script(prepare)
        page.goto(address)
        page.wait_for_selector("html[data-loaded=yes]")
        page.wait_for_selector("#start:enabled", state="attached")
        try:
            yield page
        finally:
            context.close()
        assert loud or not complaints
        assert all(url.startswith((address.rstrip("/"), "blob:", "data:")) for url in asked)

    return opened

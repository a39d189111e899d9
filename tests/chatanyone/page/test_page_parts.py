"""The page beside the call: pictures one brings, refusals, keyboard and screen reader, both themes, phones."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chatanyone.demo import picture
from tests.helpers.page import steps
from tests.helpers.page.server import served

TOKEN = "a-token-for-the-test"
NO_MICROPHONE = """navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'))"""
# Every control without a name that a screen reader could say.
NAMELESS = """[...document.querySelectorAll('button, input:not([hidden]), select, [role=tab]')].filter((e) => !(
    e.innerText?.trim() || e.getAttribute('aria-label') || e.labels?.[0]?.innerText.trim())).map((e) => e.outerHTML)"""
# What reaches over the right edge, or the edge itself.
OVERFLOW = """[...document.querySelectorAll('body *')].filter((e) => e.getClientRects().length &&
    e.getBoundingClientRect().right > innerWidth + 1 && getComputedStyle(e).position !== 'absolute').map((e) => e.outerHTML)"""


def upload(page: Any, name: str, data: bytes, kind: str) -> None:
    page.set_input_files("#picture-file", files=[{"name": name, "mimeType": kind, "buffer": data}])


def test_without_a_transcription_service_the_page_says_so(visit: Any) -> None:
    """And it begins with the configured mode."""
    with visit() as page:
        assert page.get_attribute("html", "data-mode") == "companion"
        assert page.inner_text("#conversation-empty").endswith(
            "What you speak is not written down: this server has no transcription service.")


def test_a_picture_one_brings_becomes_a_person(visit: Any) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture()[::-1, :, [2, 1, 0]]).save(buffer, "PNG")
    with visit() as page:
        upload(page, "me.png", buffer.getvalue(), "image/png")
        page.wait_for_selector(".portrait:has-text('me') input:checked")
        assert steps.notice(page) == "me is ready."
        assert page.inner_text("#person-name") == "me"


@pytest.mark.parametrize("name, data, kind", [
    ("notes.jpg", b"these are words, no picture", "image/jpeg"),
    ("broken.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 200, "image/png")])
def test_a_wrong_file_gets_a_sentence(visit: Any, name: str, data: bytes, kind: str) -> None:
    with visit(loud=True) as page:
        upload(page, name, data, kind)
        sentence = steps.notice(page)
        assert sentence.endswith(".") and ("picture" in sentence.lower() or "image" in sentence.lower())
        assert page.get_attribute("#notice", "data-kind") == "bad"
        assert page.is_hidden("#upload")


@pytest.mark.parametrize("width, height", [(1280, 800), (360, 640)])
def test_a_notice_covers_nothing_one_needs_in_a_call(visit: Any, width: int, height: int) -> None:
    with visit(width, height) as page:
        steps.start(page, "say")
        page.click("#tab-talk")
        page.evaluate("import('/static/dom.js').then(({ tell }) => tell('A sentence, long enough for two lines. '.repeat(2)))")
        lowest = page.evaluate("document.querySelector('#notice').getBoundingClientRect().bottom")
        assert lowest > 0
        for needed in ("#say", "#interrupt", "#caption"):
            assert page.evaluate(f"document.querySelector('{needed}').getBoundingClientRect().top") >= lowest, needed
        steps.stop(page)


def test_a_blocked_microphone_gets_a_sentence(visit: Any) -> None:
    with visit(prepare=NO_MICROPHONE) as page:
        steps.choose_mode(page, "mirror")
        page.click("#start")
        assert "microphone is blocked" in steps.notice(page)
        page.wait_for_selector("html[data-call=ended]")
        assert page.is_enabled("#start")


def test_who_cannot_speak_can_type(visit: Any) -> None:
    """And a second visitor is told that the server is full, and where in the line they are; a lost call is begun again."""
    with visit(prepare=NO_MICROPHONE) as page:
        steps.start(page, "say")
        with visit(loud=True) as second:
            steps.choose_mode(second, "say")
            second.click("#start")
            second.wait_for_selector("html[data-call=waiting]")
            assert "number 1 in line" in second.inner_text("#veil-text")
            second.click("#stop-waiting")
            second.wait_for_selector("html[data-call=ended]")
        path = page.evaluate("chatanyone.talk.call.path")
        page.evaluate("chatanyone.talk.call.peer.dispatchEvent(new Event('connectionstatechange'))")
        page.evaluate("chatanyone.talk.call.dispatchEvent(new CustomEvent('lost', { detail: 'The connection was lost.' }));"
                      "chatanyone.talk.call.stop()")
        page.wait_for_selector("html[data-call=again]")
        page.wait_for_selector("html[data-call=live]", timeout=20000)
        assert page.evaluate("chatanyone.talk.call.path") != path
        steps.stop(page)


def test_every_control_has_a_name_and_tabs_follow_the_arrows(visit: Any) -> None:
    with visit() as page:
        assert page.evaluate(NAMELESS) == []
        page.focus("#tab-start")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == "tab-talk"
        assert page.is_visible("#panel-talk") and page.is_hidden("#panel-start")
        page.keyboard.press("End")
        assert page.is_visible("#panel-details")
        assert page.get_attribute("#conversation", "aria-live") == "polite"


def test_push_to_talk_opens_the_microphone_while_space_is_held(visit: Any) -> None:
    with visit() as page:
        page.check("#push-to-talk")
        steps.start(page, "companion")
        enabled = "chatanyone.talk.devices.track.enabled"
        assert page.evaluate(enabled) is False
        page.evaluate("document.activeElement.blur()")
        page.keyboard.down("Space")
        assert page.evaluate(enabled) is True
        page.keyboard.up("Space")
        assert page.evaluate(enabled) is False
        steps.stop(page)


@pytest.mark.parametrize("width, height", [(1280, 800), (820, 1100), (360, 640)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_every_width_in_both_themes(visit: Any, width: int, height: int, theme: str) -> None:
    with visit(width, height, color_scheme=theme) as page:
        for tab in ("start", "talk", "manner", "details"):
            page.click(f"#tab-{tab}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(OVERFLOW) == []
        pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L"))
        assert (np.median(pixels[:40]) < 60) == (theme == "dark")
        page.click("#theme")
        assert page.get_attribute("html", "data-theme") == ("light" if theme == "dark" else "dark")


def test_a_token_comes_with_the_address_and_does_not_stay_in_it(browser: Any, tmp_path: Path) -> None:
    with served("--stand-in", "--token", TOKEN, log=tmp_path / "log") as address:
        assert address.endswith(f"#token={TOKEN}")
        page = browser.new_page()
        page.goto(address.split("#")[0])
        assert "token" in steps.notice(page)
        page.goto("about:blank")
        page.goto(address)
        page.wait_for_selector("#start:enabled", state="attached")
        assert TOKEN not in page.url
        page.reload()
        page.wait_for_selector("#start:enabled", state="attached")
        page.close()

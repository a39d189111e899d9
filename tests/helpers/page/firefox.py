"""Debian's Firefox without a window, driven over WebDriver BiDi (https://w3c.github.io/webdriver-bidi/): Playwright drives
only Firefoxes it has built itself. `Page` understands what `steps` asks of a page."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import subprocess
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

FIREFOX = Path("/usr/bin/firefox-esr")
START_S = 60.0
ANSWER_S = 40.0
PREFERENCES: dict[str, bool | int | str] = {
    "media.navigator.streams.fake": True,  # its microphone hums at 440 Hz
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False}
_KEYS = {"Enter": "\ue007", "Escape": "\ue00c"}  # https://www.w3.org/TR/webdriver2/#keyboard-actions


class Bidi:
    """Commands over one connection, each waited for; the connection lives in a thread of its own, beside Playwright's loop."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []  # of the browser's console
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._http, self._socket = self._do(self._connect(url))

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, ANSWER_S), self._loop).result()

    async def _connect(self, url: str) -> tuple[aiohttp.ClientSession, Any]:
        http = aiohttp.ClientSession()
        return http, await http.ws_connect(url, max_msg_size=0)

    def __call__(self, method: str, **parameters: Any) -> Any:
        """The result of a command."""
        return self._do(self._ask(method, parameters))

    async def _ask(self, method: str, parameters: dict[str, Any]) -> Any:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            answer = await self._socket.receive_json()
            if answer.get("id") == number:
                assert answer["type"] == "success", f"{method}: {answer.get('message')}"
                return answer["result"]
            if answer.get("params", {}).get("level") == "error":
                self.complaints.append(str(answer["params"].get("text")))

    def close(self) -> None:
        """Ends the connection and its thread."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _end(self) -> None:
        await self._socket.close()
        await self._http.close()


class Page:
    """A tab. Selectors are plain CSS; names and waits as Playwright's."""

    def __init__(self, bidi: Bidi) -> None:
        self._bidi = bidi
        self._context = bidi("browsingContext.create", type="tab")["context"]

    def goto(self, url: str) -> None:
        """Until it has loaded."""
        self._bidi("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, code: str, given: Any = None) -> Any:
        """The value of a script, or of a function (arrow) that takes what is given; promises are waited for."""
        if re.match(r"\(.*?\) =>", code):
            code = f"({code})({json.dumps(given)})"
        answer = self._bidi("script.evaluate", target={"context": self._context}, expression=code, awaitPromise=True,
                            userActivation=True)
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return _plain(answer["result"])

    def wait_for_selector(self, selector: str, timeout: float = 30_000, state: str = "attached") -> None:
        """Until there is such an element."""
        end_s = time.monotonic() + timeout / 1000
        while not self.evaluate(f"document.querySelector({json.dumps(selector)}) !== null"):
            assert time.monotonic() < end_s, f"never there: {selector}"
            time.sleep(0.02)

    def wait_for_timeout(self, ms: float) -> None:
        """Waits."""
        time.sleep(ms / 1000)

    def get_attribute(self, selector: str, name: str) -> str | None:
        """Of the first such element."""
        found: str | None = self._of(selector, f"getAttribute({json.dumps(name)})")
        return found

    def inner_text(self, selector: str) -> str:
        """Of the first such element."""
        return str(self._of(selector, "innerText"))

    def check(self, selector: str, force: bool = True) -> None:
        """A box or a radio button, hidden behind its label or not."""
        self._of(selector, "click()")

    def click(self, selector: str) -> None:
        """With the mouse, in the middle of the element."""
        self._of(selector, "scrollIntoView({block: 'center', behavior: 'instant'})")
        box = self._of(selector, "getBoundingClientRect().toJSON()")
        at = {"x": round(box["x"] + box["width"] / 2), "y": round(box["y"] + box["height"] / 2)}
        self._act("pointer", {"type": "pointerMove", **at}, {"type": "pointerDown", "button": 0},
                  {"type": "pointerUp", "button": 0})

    def fill(self, selector: str, text: str) -> None:
        """Types into a field."""
        self._of(selector, "focus()")
        self._act("key", *({"type": kind, "value": letter} for letter in text for kind in ("keyDown", "keyUp")))

    def press(self, selector: str, key: str) -> None:
        """A key while the element has the focus."""
        self._of(selector, "focus()")
        self._act("key", {"type": "keyDown", "value": _KEYS[key]}, {"type": "keyUp", "value": _KEYS[key]})

    def _of(self, selector: str, property_name: str) -> Any:
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).{property_name}")

    def _act(self, kind: str, *actions: dict[str, Any]) -> None:
        source = {"type": kind, "id": kind, "actions": list(actions)}
        self._bidi("input.performActions", context=self._context, actions=[source])


def _plain(value: dict[str, Any]) -> Any:
    """From BiDi's form of a value; what is neither number, text, truth, list nor object becomes None."""
    kind, held = value["type"], value.get("value")
    if kind == "array":
        return [_plain(one) for one in held or ()]
    if kind == "object":
        return {name: _plain(one) for name, one in held or ()}
    if kind == "number" and isinstance(held, str):
        return float(held.replace("Infinity", "inf"))  # NaN, Infinity, -Infinity, -0
    return held if kind in ("number", "string", "boolean") else None


@contextmanager
def firefox(folder: Path) -> Iterator[Bidi]:
    """A browser with a new profile in `folder`, which ends with the block."""
    profile = folder / "profile"
    profile.mkdir()
    (profile / "user.js").write_text("".join(
        f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items()))
    command = [str(FIREFOX), "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0",
               "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        killer = threading.Timer(START_S, process.kill)
        killer.start()
        bidi: Bidi | None = None
        try:
            bidi = Bidi(f"{_address(process)}/session")
            killer.cancel()
            bidi("session.new", capabilities={})
            bidi("session.subscribe", events=["log.entryAdded"])
            yield bidi
        finally:
            killer.cancel()
            if bidi is not None:
                bidi.close()
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(r"WebDriver BiDi listening on (ws://\S+)", line)
        if found:
            threading.Thread(target=process.stderr.read, daemon=True).start()  # or Firefox waits for a reader
            return found[1].rstrip("/")
    raise AssertionError("Firefox ended before it could be driven")

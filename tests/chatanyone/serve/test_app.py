"""The routes, over HTTP, with the stand-in behind them."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from chatanyone.errors import ConfigError
from chatanyone.serve.server import Server
from tests.helpers.media import gradient
from tests.helpers.rtc_client import base, calling, stand_in_server

TOKEN = "0123456789abcdefgh"


class Http:
    """A browser without WebRTC: keeps cookies, speaks JSON."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session, self._address = session, address

    async def __call__(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        """Status, body (parsed where it is JSON), headers."""
        async with self._session.request(method, self._address + path, **options) as answer:
            data = await answer.read()
            body = json.loads(data) if answer.content_type == "application/json" else data
            return answer.status, body, answer.headers

    async def upload(self, data: bytes, path: str = "/v1/portraits", name: str = "me.png") -> tuple[int, Any, Any]:
        form = aiohttp.FormData()
        form.add_field("file", data, filename=name)
        return await self("POST", path, data=form)


def browsing(body: Callable[[Http, Server], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        async with stand_in_server(**settings) as server, new_browser(server) as session:
            await body(Http(session, base(server)), server)

    asyncio.run(run())


def new_browser(server: Server) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


def png(size: int = 100) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(gradient(size, size)).save(buffer, "PNG")
    return buffer.getvalue()


def test_page_and_its_headers() -> None:
    async def body(http: Http, server: Server) -> None:
        status, page, headers = await http("GET", "/")
        assert status == 200 and b"<!doctype html>" in page[:50].lower() and "charset=utf-8" in headers["Content-Type"]
        assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["X-Content-Type-Options"] == "nosniff"
        assert "HttpOnly" in headers["Set-Cookie"] and "SameSite=Strict" in headers["Set-Cookie"]
        assert (await http("GET", "/static/main.js"))[0] == 200
        assert (await http("GET", "/check"))[0] == (await http("GET", "/static/check/check.js"))[0] == 200
        for outside in ("/static/../server.py", "/static/%2e%2e/server.py", "/static/check/../../app.py"):
            assert (await http("GET", outside))[0] in (403, 404)
        assert (await http("GET", "/nowhere"))[1]["error"]["message"].endswith("404 Not Found.")

    browsing(body)


def test_information_ice_health_metrics() -> None:
    async def body(http: Http, server: Server) -> None:
        _, info, _ = await http("GET", "/v1/info")
        assert info["size"] == [128, 192] and info["limits"]["session_s"] == 1800 and "mirror" in info["modes"]
        assert "stand-in" in info["sentence"]
        assert (await http("GET", "/v1/ice"))[1]["iceServers"] == []
        status, health, _ = await http("GET", "/healthz")
        assert (status, health["ok"], health["coding"]) == (200, True, "works")
        text = (await http("GET", "/metrics"))[1].decode()
        for name in ("chatanyone_sessions 0.0", "chatanyone_stage_seconds", "chatanyone_rejects", "chatanyone_ready 1.0",
                     'chatanyone_requests_total{method="GET",status="200"}'):
            assert name in text, name

    browsing(body)


def test_upload_of_a_portrait() -> None:
    async def body(http: Http, server: Server) -> None:
        await http("GET", "/")
        status, entry, headers = await http.upload(png(), name="Ada.png")
        assert status == 202 and entry["state"] == "preparing" and entry["name"] == "Ada"
        path = headers["Location"]
        while (shown := (await http("GET", path))[1])["state"] == "preparing":
            await asyncio.sleep(0.02)
        assert shown["state"] == "ready" and shown["progress"] == 1
        status, thumbnail, headers = await http("GET", path + "/thumbnail")
        assert status == 200 and thumbnail[:3] == b"\xff\xd8\xff" and headers["Content-Type"] == "image/jpeg"
        listed = (await http("GET", "/v1/portraits"))[1]["portraits"]
        assert [one["id"] for one in listed][-1] == entry["id"]
        async with new_browser(server) as other:
            listed = (await Http(other, base(server))("GET", "/v1/portraits"))[1]["portraits"]
            assert entry["id"] not in [one["id"] for one in listed]  # somebody else's picture

    browsing(body)


@pytest.mark.parametrize(("data", "status", "message"), [
    (b"hello", 415, "This file is not a picture"), (b"", 400, "The picture is empty"),
    (b"\x89PNG\r\n\x1a\n" + bytes(30), 415, "This picture is damaged"),
    (png() + bytes(30_000), 413, "larger than 0.02 MB; choose a smaller file"), (png(700), 415, "more than 0.1 megapixels")])
def test_a_wrong_file_gets_a_sentence(data: bytes, status: int, message: str) -> None:
    async def body(http: Http, server: Server) -> None:
        got, answer, _ = await http.upload(data)
        assert got == status and message in answer["error"]["message"], answer
        assert not [entry for entry in server.portraits.library.seen_by("me") if entry.owner]

    browsing(body, limits__upload_bytes=20_000, limits__upload_pixels=100_000)


def test_forms_that_are_none() -> None:
    async def body(http: Http, server: Server) -> None:
        for path in ("/v1/portraits", "/v1/styles"):
            assert "multipart/form-data" in (await http("POST", path, json={}))[1]["error"]["message"]
        form = aiohttp.FormData({"other": "x"}, default_to_multipart=True)
        assert "in the form's field 'file'" in (await http("POST", "/v1/portraits", data=form))[1]["error"]["message"]
        assert (await http.upload(b"no film", "/v1/styles"))[1]["error"]["message"].startswith("This file is not a film")

    browsing(body)


@pytest.mark.parametrize(("request_", "status", "message"), [
    ({"data": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "application/sdp, or as JSON"),
    ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "not JSON"),
    ({"data": b"[" * 50_000, "headers": {"Content-Type": "application/json"}}, 400, "not JSON"),
    ({"json": [1]}, 400, "one JSON object"), ({"json": {"sdp": 3}}, 400, "offer as text in sdp"),
    ({"json": {"sdp": "x", "session": [1]}}, 400, "object in session"),
    ({"json": {"sdp": "v=0", "session": {"portrait": "nobody"}}}, 404, "no such portrait"),
    ({"json": {"sdp": "v=0", "session": {"portrait": 7}}}, 400, "the id of one"),
    ({"json": {"sdp": "v=0", "session": {"mood": "good"}}}, 400, "nknown setting"),
    ({"json": {"sdp": "rubbish"}}, 400, "must be SDP"),
    ({"data": b"v" * 200_000, "headers": {"Content-Type": "application/sdp"}}, 413, "larger than 100 kB"),
    ({"data": b"\xff\xfe", "headers": {"Content-Type": "application/sdp"}}, 400, "not UTF-8")])
def test_calls_that_cannot_be(request_: dict[str, Any], status: int, message: str) -> None:
    async def body(http: Http, server: Server) -> None:
        got, answer, _ = await http("POST", "/v1/realtime/calls", **request_)
        assert got == status and message in answer["error"]["message"], answer
        assert server.calls.admission.taken == 0 and not server.calls.running

    browsing(body)


def test_the_one_too_many() -> None:
    async def body(http: Http, server: Server) -> None:
        async with calling(server) as client:
            await client.until(lambda: client.numbers)
            status, answer, headers = await http("POST", "/v1/realtime/calls", json={"sdp": "v=0"})
            assert status == 503 and answer["error"]["position"] == 1 and headers["Retry-After"] == "10"
            assert (await http("GET", "/healthz"))[1]["calls"] == 1
            text = (await http("GET", "/metrics"))[1].decode()
            assert "chatanyone_sessions 1.0" in text and 'chatanyone_rejects_total{reason="full"} 1.0' in text
        assert server.calls.admission.taken == 0

    browsing(body)


def test_recording(tmp_path: Path) -> None:
    async def body(http: Http, server: Server) -> None:
        async with calling(server) as client:
            path = client.location + "/recording"
            assert (await http("GET", path))[0] == 404
            assert (await http("POST", path, json={"action": "dance"}))[0] == 400
            assert (await http("POST", path, json={"action": "start"}))[1] == {"recording": True}
            call = next(iter(server.calls.running.values()))
            await client.until(lambda: call.recorder is not None and call.recorder._remux.pictures > 10)
            assert (await http("POST", path, json={"action": "stop"}))[1] == {"recording": False}
            status, film, headers = await http("GET", path)
            assert status == 200 and film[4:8] == b"ftyp" and headers["Content-Type"] == "video/mp4"
            await http("POST", path, json={"action": "start"})  # a second one, ended by the call's end
            await client.until(lambda: call.recorder is not None and call.recorder._remux.pictures > 3)
        status, film, _ = await http("GET", path)
        assert status == 200 and film[4:8] == b"ftyp"
        assert (await http("POST", path, json={"action": "start"}))[0] == 404

    browsing(body)


def test_recordings_can_be_forbidden() -> None:
    async def body(http: Http, server: Server) -> None:
        assert (await http("POST", "/v1/realtime/calls/x/recording", json={"action": "start"}))[0] == 403

    browsing(body, output__recordings=False)


def test_too_many_requests() -> None:
    async def body(http: Http, server: Server) -> None:
        statuses = [(await http("GET", "/v1/info"))[0] for _ in range(6)]
        assert statuses == [200] * 4 + [429] * 2
        assert (await http("GET", "/healthz"))[0] == (await http("GET", "/static/main.js"))[0] == 200

    browsing(body, limits__requests=4, limits__requests_per_s=0.01)


def test_too_many_uploads() -> None:
    async def body(http: Http, server: Server) -> None:
        statuses = [(await http.upload(png()))[0] for _ in range(3)]
        assert statuses == [202, 202, 429]

    browsing(body, limits__uploads=2)


def test_token_guards_everything_but_the_page() -> None:
    async def body(http: Http, server: Server) -> None:
        assert server.url.endswith(f"/#token={TOKEN}")
        assert (await http("GET", "/"))[0] == (await http("GET", "/healthz"))[0] == 200
        for method, path in (("GET", "/v1/info"), ("GET", "/metrics"), ("POST", "/v1/realtime/calls"),
                             ("GET", "/v1/portraits")):
            status, answer, headers = await http(method, path)
            assert status == 401 and headers["WWW-Authenticate"] == "Bearer"
            assert "asks for a token" in answer["error"]["message"]
        async with calling(server) as client:
            await client.until(lambda: client.numbers)

    browsing(body, server__token=TOKEN)


def test_a_listed_origin_may_call_another_may_not() -> None:
    async def body(http: Http, server: Server) -> None:
        good, bad = {"Origin": "https://my.site"}, {"Origin": "https://evil.example"}
        status, _, headers = await http("OPTIONS", "/v1/realtime/calls", headers=good)
        assert status == 204 and headers["Access-Control-Allow-Origin"] == "https://my.site"
        assert (await http("GET", "/v1/info", headers=good))[2]["Access-Control-Allow-Origin"] == "https://my.site"
        assert "Access-Control-Allow-Origin" not in (await http("GET", "/v1/info", headers=bad))[2]
        assert (await http("POST", "/v1/realtime/calls", headers=bad, json={}))[0] == 403

    browsing(body, server__origins=["https://my.site"])


def test_the_port_is_taken() -> None:
    async def body(http: Http, server: Server) -> None:
        port = int(base(server).rsplit(":", 1)[1])
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}: .*; choose another with --port"):
            async with stand_in_server(server__port=port):
                pass

    browsing(body)

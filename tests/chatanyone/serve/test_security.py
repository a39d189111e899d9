from __future__ import annotations

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from chatanyone.errors import ConfigError
from chatanyone.live_config import ServerConfig
from chatanyone.serve.refusals import Refused
from chatanyone.serve.security import Guard, check_exposure, is_loopback

TOKEN = "0123456789abcdef"


def check(config: ServerConfig, method: str = "GET", path: str = "/v1/info", **headers: str) -> str:
    """The kind of the refusal; empty when the request passes."""
    given = {name.replace("_", "-"): value for name, value in {"Host": "localhost:8080", **headers}.items()}
    try:
        Guard(config).check(make_mocked_request(method, path, headers=given))
    except Refused as refused:
        return refused.kind
    return ""


@pytest.mark.parametrize(("host", "own"), [("127.0.0.1", True), ("::1", True), ("[::1]", True), ("localhost", True),
                                           ("127.8.9.1", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False),
                                           ("example.org", False), ("localhost.example.org", False)])
def test_loopback(host: str, own: bool) -> None:
    assert is_loopback(host) is own


@pytest.mark.parametrize(("settings", "message"), [
    ({}, "live.server.token must be set"),
    ({"insecure": True}, "live.server.token must be set"),
    ({"token": TOKEN}, "tls_certificate and tls_key must be set; .*--insecure")])
def test_strangers_need_token_and_tls(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_exposure(ServerConfig(host="0.0.0.0", **settings))


def test_what_is_safe_enough_to_listen() -> None:
    check_exposure(ServerConfig())
    check_exposure(ServerConfig(host="0.0.0.0", token=TOKEN, insecure=True))
    check_exposure(ServerConfig(host="0.0.0.0", token=TOKEN, tls_certificate="a", tls_key="b"))


@pytest.mark.parametrize(("settings", "message"), [
    ({"token": "short"}, "at least 16 characters"), ({"tls_key": "b"}, "belong together"),
    ({"port": 70000}, "between 0 and 65535")])
def test_mistakes(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ServerConfig(**settings)


def test_token() -> None:
    config = ServerConfig(host="0.0.0.0", token=TOKEN, insecure=True)
    assert check(config) == "token"
    assert check(config, Authorization=f"Bearer {TOKEN}") == ""
    assert check(config, Authorization=f"bearer {TOKEN} ") == ""
    for wrong in (f"Bearer {TOKEN}0", "Bearer", f"Basic {TOKEN}", "Bearer ä", f"Bearer {TOKEN[:-1]}"):
        assert check(config, Authorization=wrong) == "token"
    for path in ("/", "/healthz", "/check", "/static/main.js"):
        assert check(config, path=path) == ""
    for path in ("/metrics", "/v1/portraits/x/thumbnail", "/v1/realtime/calls/x/recording"):
        assert check(config, path=path) == "token"


def test_other_sites_pages_change_nothing() -> None:
    config = ServerConfig()
    for method in ("POST", "DELETE"):
        assert check(config, method) == ""  # a program
        assert check(config, method, Origin="http://localhost:8080") == ""
        assert check(config, method, Origin="https://evil.example") == "origin"
        assert check(config, method, Origin="http://localhost:9999") == "origin"
        assert check(config, method, Origin="null") == "origin"
        assert check(config, method, Sec_Fetch_Site="cross-site") == "origin"
    assert check(config, "GET", Origin="https://evil.example") == ""
    assert check(ServerConfig(origins=["https://my.site/"]), "POST", Origin="https://my.site") == ""


def test_names_that_point_here_from_elsewhere_are_refused() -> None:
    assert check(ServerConfig(), Host="evil.example:8080") == "host"
    assert check(ServerConfig(), Host="127.0.0.1:1234") == check(ServerConfig(), Host="[::1]:8080") == ""
    assert check(ServerConfig(origins=["https://my.site"]), Host="my.site") == ""
    assert check(ServerConfig(host="0.0.0.0", token=TOKEN, insecure=True), Host="my.site", path="/") == ""


def test_whose_address_counts() -> None:
    request = make_mocked_request("GET", "/", headers={"X-Forwarded-For": "6.6.6.6, 9.9.9.9"})
    assert Guard(ServerConfig(trust_proxy=True)).client(request) == "9.9.9.9"
    assert Guard(ServerConfig()).client(request) != "9.9.9.9"

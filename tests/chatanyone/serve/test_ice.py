from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from chatanyone.errors import ConfigError
from chatanyone.live_config import IceConfig
from chatanyone.serve.ice import servers_for_client, servers_for_server, turn_credentials


def test_credentials_are_what_coturn_computes() -> None:
    user, password = turn_credentials("north", "guest", 3600, 1_700_000_000.9)
    assert user == "1700003600:guest"
    # openssl: printf 1700003600:guest | openssl dgst -sha1 -hmac north -binary | base64
    assert password == "f6APOwAPtvnfK0Fcg7xo8pkVaqo="
    assert base64.b64decode(password) == hmac.new(b"north", user.encode(), hashlib.sha1).digest()


def test_the_client_gets_new_ones_each_time() -> None:
    config = IceConfig(stun=["stun:s.example:3478"], turn=["turn:t.example:3478?transport=udp"], turn_secret="north")
    first, second = servers_for_client(config, lambda: 1000.0), servers_for_client(config, lambda: 1000.0)
    assert first["iceServers"][0] == {"urls": ["stun:s.example:3478"]}
    assert first["iceServers"][1]["username"].startswith("4600:") and first["ttl"] == 3600
    assert first["iceServers"][1]["username"] != second["iceServers"][1]["username"]
    assert "north" not in str(first)


def test_without_servers_nobody_is_asked() -> None:
    assert servers_for_client(IceConfig())["iceServers"] == [] and servers_for_server(IceConfig()) == []


def test_our_own_side() -> None:
    config = IceConfig(stun=["stun:a:1", "stun:b:1"], turn=["turn:t:1"], turn_secret="north")
    assert [server.urls for server in servers_for_server(config)] == ["stun:a:1", "turn:t:1"]
    config.public_address = "203.0.113.9"
    assert [server.urls for server in servers_for_server(config)] == ["stun:a:1"]


@pytest.mark.parametrize(("settings", "message"), [
    ({"stun": ["example.org"]}, "must hold addresses like stun:host:port"),
    ({"turn": ["turn:t:1"]}, "needs live.ice.turn_secret")])
def test_mistakes(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        IceConfig(**settings)

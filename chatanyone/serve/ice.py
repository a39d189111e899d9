"""Ways through networks: short-lived TURN credentials as coturn's `use-auth-secret` checks them.

The user name is the time of expiry and a name, the password is base64(HMAC-SHA1(secret, user name)): the scheme of the
draft "A REST API For Access To TURN Services" (draft-uberti-behave-turn-rest-00).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any

from aiortc import RTCIceServer

from chatanyone.live_config import IceConfig


def turn_credentials(secret: str, name: str, ttl_s: int, now_s: float) -> tuple[str, str]:
    """User name and password that are good until `now_s` + `ttl_s` (Unix time)."""
    user = f"{int(now_s) + ttl_s}:{name}"
    digest = hmac.new(secret.encode(), user.encode(), hashlib.sha1).digest()
    return user, base64.b64encode(digest).decode()


def servers_for_client(config: IceConfig, now: Callable[[], float] = time.time) -> dict[str, Any]:
    """``{"iceServers": [...], "ttl": seconds}`` as `RTCPeerConnection` takes it; new credentials each time."""
    servers: list[dict[str, Any]] = [{"urls": list(config.stun)}] if config.stun else []
    if config.turn and config.turn_secret:
        user, password = turn_credentials(config.turn_secret, secrets.token_hex(4), config.turn_ttl_s, now())
        servers.append({"urls": list(config.turn), "username": user, "credential": password})
    return {"iceServers": servers, "ttl": config.turn_ttl_s}


def servers_for_server(config: IceConfig, now: Callable[[], float] = time.time) -> list[RTCIceServer]:
    """For our own side: STUN to learn our address, TURN only when there is no public address."""
    servers = [RTCIceServer(url) for url in config.stun[:1]]
    if config.turn and config.turn_secret and not config.public_address:
        user, password = turn_credentials(config.turn_secret, "server", config.turn_ttl_s, now())
        servers += [RTCIceServer(url, user, password) for url in config.turn[:1]]
    return servers

"""Who may come in: loopback by default, a token and TLS elsewhere, no request from other sites' pages, strict headers."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
import ssl
from urllib.parse import urlsplit

from aiohttp import web

from chatanyone.errors import ConfigError, reason
from chatanyone.live_config import ServerConfig
from chatanyone.serve.refusals import Refused

CLIENT: web.RequestKey[str] = web.RequestKey("client", str)  # the client's address
OWNER: web.RequestKey[str | None] = web.RequestKey("owner")  # the browser's name, if it has one
OWNER_COOKIE = "chatanyone_owner"  # a random name for a browser: who uploaded a picture sees it, nobody else does
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
OPEN_PATHS = ("/", "/healthz", "/check", "/favicon.ico")  # nothing in them is anybody's; the page asks with the token
_POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
           "connect-src 'self'; font-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; "
           "form-action 'none'; frame-ancestors 'none'")
HEADERS = {
    "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(self), speaker-selection=(self), geolocation=(), usb=()",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(config: ServerConfig) -> None:
    """Refuses to listen where strangers are without a token and TLS.

    Raises:
        ConfigError: with what to do.
    """
    if is_loopback(config.host):
        return
    if not config.token:
        raise ConfigError(f"{config.host} is reachable from other machines, so live.server.token must be set; "
                          f"this one would do: {secrets.token_urlsafe(24)}")
    if not config.tls_certificate and not config.insecure:
        raise ConfigError(f"{config.host} is reachable from other machines, so live.server.tls_certificate and tls_key "
                          "must be set; behind a reverse proxy that speaks TLS give --insecure instead")


def tls_context(config: ServerConfig) -> ssl.SSLContext | None:
    """Of the configured certificate; None where there is none.

    Raises:
        ConfigError: it cannot be read, or its key is another's.
    """
    if config.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.tls_certificate, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the TLS certificate {config.tls_certificate} or its key cannot be used: {reason(error)}") from None
    return context


def check_address(config: ServerConfig) -> None:
    """Refuses an address that is nobody's here, or another program's.

    Raises:
        ConfigError: with what the system says.
    """
    try:
        found = socket.getaddrinfo(config.host.strip("[]"), config.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server itself
            trial.bind(address)
    except OSError as error:
        raise cannot_listen(config, error) from None


def cannot_listen(config: ServerConfig, error: OSError) -> ConfigError:
    """The error in words."""
    return ConfigError(f"cannot listen on {config.host} port {config.port}: {error.strerror}; choose another with --port")


class Guard:
    """The checks of one request, in order: host, origin, token."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._loopback = is_loopback(config.host)
        self._origins = {origin.rstrip("/").lower() for origin in config.origins}

    def check(self, request: web.Request) -> None:
        """Raises `Refused` when the request may not pass."""
        self._check_host(request)
        self._check_origin(request)
        if request.path not in OPEN_PATHS and not request.path.startswith("/static/"):
            self._check_token(request)

    def client(self, request: web.Request) -> str:
        """The client's address, for limits."""
        if self._config.trust_proxy and (given := request.headers.get("X-Forwarded-For")):
            return given.split(",")[-1].strip()[:64]
        return request.remote or "unknown"

    def _check_host(self, request: web.Request) -> None:
        """On loopback only loopback's names, or a foreign page could reach us by letting its own name point here."""
        name = urlsplit(f"//{request.host}").hostname or ""
        allowed = {urlsplit(origin).hostname for origin in self._origins}
        if self._loopback and not is_loopback(name) and name not in allowed:
            raise Refused(403, "host", f"This server answers to localhost only, not to '{name[:80]}'.")

    def _check_origin(self, request: web.Request) -> None:
        """Whatever changes something must come from our own page, a listed origin, or a program (which sends no Origin)."""
        if request.method in SAFE_METHODS:
            return
        origin = request.headers.get("Origin")
        same = request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
        if origin is not None:
            same = urlsplit(origin).netloc.lower() == request.host.lower() or origin.lower() in self._origins
        if not same:
            raise Refused(403, "origin", "This request came from another site's page and is refused.")

    def _check_token(self, request: web.Request) -> None:
        if self._config.token is None:
            return
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._config.token.encode()):
            raise Refused(401, "token", "This server asks for a token: open the address it printed at start.")

    def cors(self, request: web.Request) -> dict[str, str]:
        """Headers that let a listed origin's page read the answer."""
        origin = request.headers.get("Origin", "")
        if origin.lower() not in self._origins:
            return {}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin",
                "Access-Control-Allow-Headers": "Authorization, Content-Type",
                "Access-Control-Allow-Methods": "GET, POST, DELETE", "Access-Control-Expose-Headers": "Location, Retry-After",
                "Cross-Origin-Resource-Policy": "cross-origin"}


def new_owner() -> str:
    """A name for a browser."""
    return secrets.token_urlsafe(16)

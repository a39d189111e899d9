"""All routes of the server in one place, and what surrounds each request: guard, limits, headers, metrics, log."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from chatanyone.errors import ChatAnyoneError
from chatanyone.live_config import LiveConfig
from chatanyone.serve.calls import Calls
from chatanyone.serve.echo import Echo
from chatanyone.serve.health import Health
from chatanyone.serve.ice import servers_for_client
from chatanyone.serve.limits import TokenBuckets
from chatanyone.serve.metrics import Metrics
from chatanyone.serve.portraits import Portraits
from chatanyone.serve.refusals import Refused
from chatanyone.serve.security import CLIENT, HEADERS, OWNER, OWNER_COOKIE, SAFE_METHODS, Guard, new_owner
from chatanyone.serve.signalling import Signalling
from chatanyone.serve.styles import Styles

PAGE = Path(__file__).with_name("page")
CHECK = Path(__file__).with_name("check")
_HTML = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache"}
_OWNER_S = 30 * 86400
_log = logging.getLogger("chatanyone.serve.access")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class App:
    """Joins the handlers.

    Args:
        config: the live section.
        info: what ``/v1/info`` says.
        echo: the connection check.
    """

    def __init__(self, config: LiveConfig, info: dict[str, Any], calls: Calls, portraits: Portraits, styles: Styles,
                 metrics: Metrics, health: Health, echo: Echo) -> None:
        self._config, self._info, self._metrics, self._health = config, info, metrics, health
        self._calls, self._echo = calls, echo
        self._guard = Guard(config.server)
        limits = config.limits
        self._requests = TokenBuckets(limits.requests, limits.requests_per_s)
        self._uploads = TokenBuckets(limits.uploads, 1 / 60)
        self._signalling = Signalling(calls, portraits.library)
        self._portraits, self._styles = portraits, styles

    def build(self) -> web.Application:
        """The application."""
        app = web.Application(middlewares=[self._surround], client_max_size=1 << 20)
        app.add_routes([
            web.get("/", self._page), web.get("/favicon.ico", self._icon), web.get("/check", self._check),
            web.get("/healthz", self._healthz), web.get("/metrics", self._prometheus),
            web.get("/v1/info", self._say_info), web.get("/v1/ice", self._ice), web.post("/v1/check", self._echo.check),
            web.get("/v1/portraits", self._portraits.list), web.post("/v1/portraits", self._portraits.upload),
            web.get("/v1/portraits/{id}", self._portraits.show),
            web.get("/v1/portraits/{id}/thumbnail", self._portraits.thumbnail),
            web.get("/v1/styles", self._styles.list), web.post("/v1/styles", self._styles.upload),
            web.get("/v1/styles/{id}", self._styles.show),
            web.post("/v1/realtime/calls", self._signalling.call),
            web.delete("/v1/realtime/calls/{id}", self._signalling.hang_up),
            web.post("/v1/realtime/calls/{id}/whep", self._signalling.watch),
            web.delete("/v1/realtime/calls/{id}/whep/{watcher}", self._signalling.unwatch),
            web.post("/v1/realtime/calls/{id}/recording", self._signalling.record),
            web.get("/v1/realtime/calls/{id}/recording", self._signalling.recording),
            web.static("/static/check", CHECK), web.static("/static", PAGE)])
        return app

    # Around every request.

    @web.middleware
    async def _surround(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        begun = time.monotonic()
        response = await self._answered(request, handler)
        if not response.prepared:
            response.headers.update(HEADERS | self._guard.cors(request))
            if self._config.server.tls_certificate:
                response.headers["Strict-Transport-Security"] = "max-age=31536000"
            self._name_browser(request, response)
        self._metrics.answered(request.method, response.status)
        _log.info("request", extra={"method": request.method, "path": request.path, "status": response.status,
                                    "ms": round(1000 * (time.monotonic() - begun), 1), "client": request.get(CLIENT)})
        return response

    async def _answered(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            self._admit(request)
            if request.method == "OPTIONS" and self._guard.cors(request):
                return web.Response(status=204)
            return await handler(request)
        except Refused as refused:
            self._metrics.reject(refused.kind)
            return refused.response()
        except web.HTTPException as error:
            if error.status < 400:
                return error
            return Refused(error.status, "http", f"This server answers {request.method} {request.path[:80]} with "
                                                 f"{error.status} {error.reason}.").response()
        except ChatAnyoneError as error:
            return Refused(500, "server_error", str(error)).response()
        except ConnectionError:
            raise
        except Exception:
            _log.exception("a request failed", extra={"path": request.path})
            return Refused(500, "server_error", "Something in the server is broken; its log says what.").response()

    def _admit(self, request: web.Request) -> None:
        request[CLIENT] = self._guard.client(request)
        request[OWNER] = request.cookies.get(OWNER_COOKIE, "")[:64] or None
        self._guard.check(request)
        if not request.path.startswith("/v1/") or request.path.endswith("/thumbnail"):
            return
        wait_s = self._requests.take(request[CLIENT])
        if wait_s == 0 and request.method == "POST" and request.path in ("/v1/portraits", "/v1/styles"):
            wait_s = self._uploads.take(request[CLIENT])
        if wait_s:
            raise Refused(429, "rate", "Too many requests from your address; wait a moment and try again.", wait_s)

    def _name_browser(self, request: web.Request, response: web.StreamResponse) -> None:
        if request.path == "/" and request.method in SAFE_METHODS and not request.get(OWNER):
            response.set_cookie(OWNER_COOKIE, new_owner(), httponly=True, samesite="Strict", max_age=_OWNER_S,
                                secure=bool(self._config.server.tls_certificate))

    # Handlers without a home of their own.

    async def _page(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE / "index.html", headers=_HTML)

    async def _icon(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE / "icon.svg")

    async def _check(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(CHECK / "index.html", headers=_HTML)

    async def _healthz(self, request: web.Request) -> web.Response:
        report = await self._health.report()
        return web.json_response(report, status=200 if report["ok"] else 503, headers={"Cache-Control": "no-store"})

    async def _prometheus(self, request: web.Request) -> web.Response:
        report = await self._health.report()
        calls = list(self._calls.running.values())
        self._metrics.census(len(calls), sum(len(call.watchers) for call in calls), self._calls.admission.waiting,
                             bool(report["ok"]))
        return web.Response(body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _say_info(self, request: web.Request) -> web.Response:
        return web.json_response(self._info)

    async def _ice(self, request: web.Request) -> web.Response:
        return web.json_response(servers_for_client(self._config.ice), headers={"Cache-Control": "no-store"})

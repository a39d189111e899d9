"""`chatanyone serve`: puts the parts together, listens, and stops gracefully."""

from __future__ import annotations

import asyncio
import logging
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from chatanyone.config import Config
from chatanyone.errors import ConfigError
from chatanyone.live_config import LiveConfig, ServerConfig
from chatanyone.serve.app import App
from chatanyone.serve.broadcast import Broadcast
from chatanyone.serve.calls import Calls, MakePeer, TalkerMaker
from chatanyone.serve.echo import Echo
from chatanyone.serve.engines import Engines, Pick
from chatanyone.serve.health import Health
from chatanyone.serve.ice import servers_for_server
from chatanyone.serve.metrics import Metrics
from chatanyone.serve.portraits import Portraits, Prepare, as_it_is
from chatanyone.serve.rtc import AiortcPeer
from chatanyone.serve.security import cannot_listen, check_exposure, is_loopback, tls_context
from chatanyone.serve.styles import Styles, Track, no_style
from chatanyone.serve.transport import Peer, PeerEvents
from chatanyone.talk.commands import read_changes
from chatanyone.talk.conversation import Conversation
from chatanyone.talk.parts import Parts

_log = logging.getLogger(__name__)


@dataclass
class Server:
    """A server that listens.

    app: its routes; url: of the page, with the token if there is one; calls: all of them
    """

    app: web.Application
    url: str
    calls: Calls
    portraits: Portraits
    styles: Styles
    metrics: Metrics


@asynccontextmanager
async def serving(config: Config, engines: Engines, prepare: Prepare = as_it_is, track: Track = no_style,
                  folder: Path | None = None) -> AsyncIterator[Server]:
    """Listens inside the `async with`; afterwards everything is freed.

    folder: for uploads and recordings; None: a temporary one

    Raises:
        ConfigError: the settings would expose it, or the port is taken.
    """
    live = config.live
    check_exposure(live.server)
    async with AsyncExitStack() as stack:
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chatanyone-")))
        parts = await stack.enter_async_context(Parts(live.talk))
        stack.push_async_callback(engines.close)
        pick = await engines.start()
        metrics = Metrics()
        portraits, styles = Portraits(live.limits, folder, prepare), Styles(live.limits, folder, track)
        stack.push_async_callback(portraits.library.close)
        stack.push_async_callback(styles.library.close)
        portraits.add_house(live.portraits)
        styles.add_house(engines.styles())
        make_peer = peer_maker(live)
        calls = Calls(live, engines, make_peer, talker_maker(parts, styles, pick.groups), metrics, folder)
        stack.push_async_callback(calls.close)
        echo = Echo(partial(make_peer, False, None))
        stack.push_async_callback(echo.close)
        app = App(live, information(live, pick, parts), calls, portraits, styles, metrics, Health(calls), echo).build()
        url = await _listen(app, live.server, stack)
        yield Server(app, url, calls, portraits, styles, metrics)


def peer_maker(live: LiveConfig) -> MakePeer:
    """Connections as configured."""
    def make(speaks: bool, broadcast: Broadcast | None, events: PeerEvents) -> Peer:
        return AiortcPeer(broadcast, events, servers_for_server(live.ice), live.carriage.codec, speaks,
                          is_loopback(live.server.host), live.ice.public_address)

    return make


def talker_maker(parts: Parts, styles: Styles, groups: tuple[str, ...]) -> TalkerMaker:
    """Conversations with the settings a call began with; groups: the dials there are, none where nobody is rendered."""
    def make(send: Callable[[Mapping[str, Any]], None], wishes: Mapping[str, Any]) -> Conversation:
        conversation = Conversation(parts, send, styles=styles.style, groups=groups or None)
        if wishes:
            conversation.apply(read_changes(wishes))
        return conversation

    return make


def information(live: LiveConfig, pick: Pick, parts: Parts) -> dict[str, Any]:
    """``GET /v1/info``"""
    limits = live.limits
    return {"size": list(pick.size), "fps": float(pick.fps), "sentence": pick.sentence, "modes": list(parts.modes),
            "default_mode": live.talk.mode, "understands": parts.ear.understands, "groups": list(pick.groups),
            "recordings": live.output.recordings, "measured": dict(pick.numbers),
            "limits": {"sessions": limits.sessions, "watchers": limits.watchers, "upload_bytes": limits.upload_bytes,
                       "upload_pixels": limits.upload_pixels, "style_bytes": limits.style_bytes,
                       "style_s": limits.style_s, "session_s": limits.session_s}}


async def run(config: Config, engines: Engines, prepare: Prepare, track: Track, folder: Path) -> None:
    """Serves until SIGTERM or SIGINT, then drains: no new calls, those that run may end in peace. A second signal ends
    them at once."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    async with serving(config, engines, prepare, track, folder) as server:
        print(f"chatanyone: open {server.url}", flush=True)
        await stop.wait()
        _log.info("draining", extra={"calls": len(server.calls.running)})
        draining = asyncio.create_task(server.calls.drain(config.live.server.drain_s))
        await asyncio.wait([draining, asyncio.create_task(hurry.wait())], return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)


@contextmanager
def data_folder(live: LiveConfig) -> Iterator[Path]:
    """The configured one, or a temporary one.

    Raises:
        ConfigError: it cannot be made.
    """
    if live.data is None:
        with tempfile.TemporaryDirectory(prefix="chatanyone-") as folder:
            yield Path(folder)
        return
    try:
        Path(live.data).mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"live.data {live.data} cannot be made: {error.strerror}") from None
    yield Path(live.data)


async def _listen(app: web.Application, config: ServerConfig, stack: AsyncExitStack) -> str:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, config.host, config.port, ssl_context=tls_context(config))
    try:
        await site.start()
    except OSError as error:
        raise cannot_listen(config, error) from None
    port = runner.addresses[0][1]
    shown = f"[{config.host}]" if ":" in config.host else config.host
    token = f"/#token={config.token}" if config.token else "/"
    return f"{'https' if config.tls_certificate else 'http'}://{shown}:{port}{token}"

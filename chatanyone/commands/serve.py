"""`chatanyone serve`."""

from __future__ import annotations

import argparse
from typing import Any

from chatanyone.commands.options import add_backend_option, add_machine_options, add_verb
from chatanyone.errors import ConfigError

_SETTINGS = {"host": "live.server.host", "port": "live.server.port", "token": "live.server.token",
             "certificate": "live.server.tls_certificate", "key": "live.server.tls_key", "portraits": "live.portraits",
             "size": "live.size", "fps": "live.fps", "sessions": "live.limits.sessions",
             "backend": "motion.backend",
             "device": "device", "precision": "precision"}


def add(verbs: Any) -> None:
    """Declares the verb."""
    verb = add_verb(verbs, "serve", "a page on which one talks with the person in a picture", _run)
    verb.add_argument("--host", metavar="ADDRESS", help="where to listen (127.0.0.1; elsewhere a token and TLS are required)")
    verb.add_argument("--port", type=int, metavar="N", help="0 takes a free one (8080)")
    verb.add_argument("--token", metavar="TEXT", help="what visitors must know; 16 characters or more")
    verb.add_argument("--certificate", metavar="FILE.pem", help="TLS certificate with its chain")
    verb.add_argument("--key", metavar="FILE.pem", help="of the certificate")
    verb.add_argument("--insecure", action="store_true", help="off loopback without TLS, behind a proxy that speaks TLS")
    verb.add_argument("--sessions", type=int, metavar="N", help="calls at a time (1)")
    verb.add_argument("--size", choices=("auto", "512x768", "384x576", "256x384"), help="pixels (auto: what runs live here)")
    verb.add_argument("--fps", choices=("auto", "30", "15", "7.5"), help="pictures a second (auto)")
    verb.add_argument("--portraits", metavar="FOLDER", help="pictures to choose from, besides the demo's")
    verb.add_argument("--log-json", action="store_true", help="logs as one JSON object a line")
    verb.add_argument("--stand-in", action="store_true", help="draw numbers instead of a person; tests the way")
    add_backend_option(verb)
    add_machine_options(verb)


def _run(options: argparse.Namespace) -> None:
    from chatanyone.config import load_config

    given = {key: getattr(options, name) for name, key in _SETTINGS.items()}
    given |= {"live.server.insecure": options.insecure or None, "live.server.log_json": options.log_json or None}
    config = load_config(options.config, {key: value for key, value in given.items() if value is not None})
    try:
        import aiohttp  # noqa: F401
        import aiortc  # noqa: F401
        import prometheus_client  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"the live server needs {error.name}; pip install 'chatanyone[serve]'") from None
    import asyncio

    from chatanyone.serve import logs
    from chatanyone.serve.security import check_address, check_exposure, tls_context
    from chatanyone.serve.server import data_folder, run
    from chatanyone.serve.setup import engines_and_preparers

    check_exposure(config.live.server)
    tls_context(config.live.server)  # this and the next before a minute is spent on trying out the machine
    check_address(config.live.server)
    logs.set_up(config.live.server.log_json)
    with data_folder(config.live) as folder:
        asyncio.run(run(config, *engines_and_preparers(config, options.stand_in, folder), folder))

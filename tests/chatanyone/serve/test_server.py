"""The command as a person or a service manager runs it."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import logging
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from chatanyone import cli
from chatanyone.errors import ConfigError, MediaError
from chatanyone.live_config import LiveConfig
from chatanyone.serve import logs
from chatanyone.serve.metrics import Metrics
from chatanyone.serve.server import data_folder
from chatanyone.serve.workshop import Workshop
from tests.helpers.rtc_client import live_config, stand_in_server


def test_serve_answers_drains_on_sigterm_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chatanyone", "serve", "--stand-in", "--port", "0", "--log-json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"chatanyone: open (http://127.0.0.1:\d+/)", server.stdout.readline())
        assert found
        with urllib.request.urlopen(found[1] + "healthz", timeout=60) as answer:
            assert json.load(answer)["ok"]
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=60)
    assert server.returncode == 0, errors
    lines = [json.loads(line) for line in errors.splitlines()]
    assert {"request", "draining"} <= {line["message"] for line in lines}
    request = next(line for line in lines if line["message"] == "request")
    assert (request["path"], request["status"], request["level"]) == ("/healthz", 200, "info")


@pytest.mark.parametrize(("options", "message"), [
    (["--host", "0.0.0.0"], "0.0.0.0 is reachable from other machines, so live.server.token must be set"),
    (["--host", "0.0.0.0", "--token", "0123456789abcdef"], "tls_certificate and tls_key must be set"),
    (["--token", "short"], "at least 16 characters"),
    (["--port", "99999"], "live.server.port must be between 0 and 65535"),
    (["--certificate", "none.pem", "--key", "none.pem"], "the TLS certificate none.pem or its key cannot be used"),
    (["--portraits", "/nowhere"], "live.portraits must be a folder of pictures, /nowhere is none")])
def test_mistakes_are_one_line(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        assert cli.main(["serve", "--stand-in", "--port", "0", *options]) == cli.USER_MISTAKE
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_bad_certificate_is_refused_before_the_machine_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                                                  capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("chatanyone.serve.setup.engines_and_preparers", lambda *_: pytest.fail("too late"))
    assert cli.main(["serve", "--certificate", "none.pem", "--key", "none.pem"]) == cli.USER_MISTAKE
    assert "the TLS certificate none.pem or its key cannot be used: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(("host", "reason"), [("127.0.0.1", "Address already in use"),
                                              ("no.such.host.invalid", "")])
def test_an_address_that_cannot_be_had_is_refused_before_the_machine_is_tried(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str, reason: str) -> None:
    monkeypatch.setattr("chatanyone.serve.setup.engines_and_preparers", lambda *_: pytest.fail("too late"))
    monkeypatch.setattr("chatanyone.serve.security.check_exposure", lambda _: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["serve", "--host", host, "--port", port]) == cli.USER_MISTAKE
    error = capsys.readouterr().err
    assert f"cannot listen on {host} port {port}: {reason}" in error and error.count("\n") == 1


def certificate(folder: Path) -> dict[str, str]:
    """A self-signed one for 127.0.0.1."""
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    key = ec.generate_private_key(ec.SECP256R1())
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(key, hashes.SHA256()))
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {"server__tls_certificate": str(folder / "cert.pem"), "server__tls_key": str(folder / "key.pem")}


def test_tls(tmp_path: Path) -> None:
    async def body() -> None:
        async with stand_in_server(**certificate(tmp_path)) as server, aiohttp.ClientSession() as http:
            assert server.url.startswith("https://")
            trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
            async with http.get(server.url, ssl=trust) as answer:
                assert answer.status == 200 and "max-age" in answer.headers["Strict-Transport-Security"]
                assert "Secure" in answer.headers["Set-Cookie"]

    asyncio.run(body())


def test_the_data_folder(tmp_path: Path) -> None:
    with data_folder(LiveConfig()) as folder:
        assert folder.is_dir()
    assert not folder.exists()
    with data_folder(LiveConfig(data=str(tmp_path / "kept"))) as folder:
        pass
    assert (tmp_path / "kept").is_dir() and (tmp_path / "kept").stat().st_mode & 0o077 == 0
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="live.data .*file cannot be made"):
        with data_folder(LiveConfig(data=str(tmp_path / "file"))):
            pass


def record(**extra: object) -> logging.LogRecord:
    line = logging.makeLogRecord({"name": "a", "levelno": logging.INFO, "levelname": "INFO", "msg": "call %s",
                                  "args": ("began",)})
    vars(line).update(extra)
    return line


def test_log_lines() -> None:
    entry = json.loads(logs.JsonLines().format(record(call="x", seconds=1.5, nothing=None)))
    assert (entry["message"], entry["call"], entry["seconds"], entry["level"]) == ("call began", "x", 1.5, "info")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"]) and "nothing" not in entry
    assert logs.TextLines().format(record(call="x")).endswith(" info call began call=x")


def test_metrics_of_two_servers_stay_apart() -> None:
    one, two = Metrics(), Metrics()
    one.reject("full")
    one.observe_call({"underruns": 3.0, "transport_av_offset_ms": 4.0})
    assert 'chatanyone_rejects_total{reason="full"} 1.0' in one.text().decode()
    assert 'chatanyone_session{number="underruns"} 3.0' in one.text().decode()
    assert 'chatanyone_av_offset_milliseconds_bucket{le="5.0"} 1.0' in one.text().decode()
    assert 'reason="full"' not in two.text().decode()


@pytest.mark.slow
def test_the_load_tool_finds_the_limit(repository: Path) -> None:
    command = [sys.executable, "tools/load_sessions.py", "--most", "1", "--seconds", "2", "--size", "128x192",
               "--pictures", "1"]
    out = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=120, check=True).stdout
    assert re.search(r"[01] calls of 128x192 at 7.5 pictures a second hold on \d+ cores", out)
    assert "1 calls: held" not in out or "refused with 503, Retry-After 10" in out


@pytest.mark.slow
def test_the_workshop_refuses_with_a_sentence_and_survives_a_crash(tmp_path: Path) -> None:
    async def body() -> None:
        workshop = Workshop(live_config(), tmp_path, (64, 96))
        (tmp_path / "text").write_text("no picture")
        with pytest.raises(MediaError, match="is not a picture"):
            await workshop.portrait(tmp_path / "text")
        with pytest.raises(MediaError, match="could not be worked on"):
            await workshop._run(_die)
        with pytest.raises(MediaError, match="is not a picture"):  # a new process
            await workshop.portrait(tmp_path / "text")
        await workshop.close()

    asyncio.run(body())


def _die() -> None:
    import os

    os._exit(3)

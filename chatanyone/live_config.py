"""Section `live` of the settings: the server of `chatanyone serve`. All limits are our choice."""

from __future__ import annotations

from dataclasses import dataclass, field

from chatanyone.config_checks import between, one_of
from chatanyone.errors import ConfigError
from chatanyone.talk.settings import TalkConfig


@dataclass
class ServerConfig:
    """Where the server listens and who may come in."""

    host: str = "127.0.0.1"  # off loopback a token and TLS are required, see `insecure`
    port: int = 8080  # 0 takes a free one
    token: str | None = None  # what clients send as 'Authorization: Bearer ...'; at least 16 characters
    tls_certificate: str | None = None  # PEM file, with its chain
    tls_key: str | None = None  # PEM file
    insecure: bool = False  # True: off loopback without TLS, for a reverse proxy that speaks TLS itself
    trust_proxy: bool = False  # True: the client's address is the last one in X-Forwarded-For
    origins: list[str] = field(default_factory=list)  # further origins whose pages may call, such as https://my.site
    drain_s: float = 30.0  # after SIGTERM running calls have so long
    log_json: bool = False  # one JSON object a line instead of text

    def __post_init__(self) -> None:
        between("live.server.port", self.port, 0, 65535)
        between("live.server.drain_s", self.drain_s, 0, 3600)
        if self.token is not None and len(self.token) < 16:
            raise ConfigError("live.server.token must have at least 16 characters; "
                              "python -c 'import secrets; print(secrets.token_urlsafe())' makes one")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ConfigError("live.server.tls_certificate and live.server.tls_key belong together; give both or none")


@dataclass
class LimitsConfig:
    """What one server, one client and one call may take."""

    sessions: int = 1  # calls at a time; each needs about what `chatanyone bench` shows
    watchers: int = 8  # that look at one call
    session_s: float = 1800.0  # longest call
    idle_s: float = 15.0  # nothing came from the client for so long: it is gone
    connect_s: float = 20.0  # from the answer to the first media
    retry_s: float = 10.0  # a refused caller is told to come back after so long for each place in the queue
    requests: int = 30  # that one client may send at once
    requests_per_s: float = 5.0  # that one client may send in the long run
    uploads: int = 6  # that one client may send at once; they come back at one a minute
    upload_bytes: int = 20_000_000  # of a picture
    upload_pixels: int = 50_000_000  # of a picture
    style_bytes: int = 200_000_000  # of a reference clip
    style_s: float = 30.0  # of a reference clip
    stored: int = 64  # uploaded pictures, and clips, kept; the oldest goes first

    def __post_init__(self) -> None:
        for name, low, high in (("sessions", 1, 1000), ("watchers", 0, 1000), ("session_s", 1, 86400),
                                ("idle_s", 1, 600), ("connect_s", 1, 600), ("retry_s", 1, 3600), ("requests", 1, 10000),
                                ("requests_per_s", 0.01, 10000), ("uploads", 1, 10000), ("upload_bytes", 1000, 1e9),
                                ("upload_pixels", 1000, 1e9), ("style_bytes", 1000, 1e10), ("style_s", 1, 600),
                                ("stored", 1, 100000)):
            between(f"live.limits.{name}", getattr(self, name), low, high)


@dataclass
class CarriageConfig:
    """How sound and pictures are coded for the way."""

    codec: str = "auto"  # auto: H.264, VP8 where the client has no H.264 | h264 | vp8
    video_kbps: int = 1500  # at 512 x 768 and 30 pictures a second; smaller sessions take less
    video_min_kbps: int = 200  # the client's own estimate may lower the rate down to this
    sound_kbps: int = 48  # Opus, mono
    key_s: float = 10.0  # a key frame at least so often; more on request
    queue_units: int = 6  # a viewer that is further behind loses pictures up to the next key frame

    def __post_init__(self) -> None:
        one_of("live.carriage.codec", self.codec, ("auto", "h264", "vp8"))
        for name, low, high in (("video_kbps", 50, 20000), ("video_min_kbps", 30, 20000), ("sound_kbps", 6, 256),
                                ("key_s", 0.5, 60), ("queue_units", 2, 60)):
            between(f"live.carriage.{name}", getattr(self, name), low, high)


@dataclass
class IceConfig:
    """How client and server find a way to each other. Without servers, only networks that reach each other directly."""

    stun: list[str] = field(default_factory=list)  # such as stun:stun.example.org:3478
    turn: list[str] = field(default_factory=list)  # such as turn:turn.example.org:3478?transport=udp
    turn_secret: str | None = None  # coturn's static-auth-secret (use-auth-secret)
    turn_ttl_s: int = 3600  # life of one credential
    public_address: str | None = None  # of a server behind one-to-one NAT: also offered as its own address

    def __post_init__(self) -> None:
        between("live.ice.turn_ttl_s", self.turn_ttl_s, 60, 86400)
        for url in (*self.stun, *self.turn):
            if url.split(":")[0] not in ("stun", "stuns", "turn", "turns"):
                raise ConfigError(f"live.ice must hold addresses like stun:host:port and turn:host:port, not '{url}'")
        if self.turn and not self.turn_secret:
            raise ConfigError("live.ice.turn needs live.ice.turn_secret, coturn's static-auth-secret")


@dataclass
class OutputConfig:
    """Where else the frames go."""

    rtmp: str | None = None  # rtmp://host/app/key: the first call is sent there
    camera: bool = False  # True: the first call is a virtual camera (pip install 'chatanyone[camera]')
    recordings: bool = True  # callers may record their call and fetch the MP4

    def __post_init__(self) -> None:
        if self.rtmp and not self.rtmp.startswith(("rtmp://", "rtmps://")):
            raise ConfigError(f"live.output.rtmp must start with rtmp:// or rtmps://, not '{self.rtmp}'")


@dataclass
class LiveConfig:
    """The live server."""

    server: ServerConfig = field(default_factory=ServerConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    carriage: CarriageConfig = field(default_factory=CarriageConfig)
    ice: IceConfig = field(default_factory=IceConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    talk: TalkConfig = field(default_factory=TalkConfig)
    size: str = "auto"  # of the pictures, px: auto (what this machine can draw live) | 512x768 | 384x576 | 256x384
    fps: str = "auto"  # pictures a second: auto | 30 | 15 | 7.5
    filter: bool = False  # True: the reconstruction filter in calls too; it takes two fifths of a unit's time on top
    portraits: str | None = None  # folder of pictures to choose from, besides the demo's
    data: str | None = None  # folder for uploads and recordings; None: a temporary one, gone at the end

    def __post_init__(self) -> None:
        one_of("live.size", self.size, ("auto", "512x768", "384x576", "256x384"))
        one_of("live.fps", self.fps, ("auto", "30", "15", "7.5"))

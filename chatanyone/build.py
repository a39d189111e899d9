"""Settings → nets: the only reader of `Config`, and the only place that knows where the shipped weights are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from chatanyone.checkpoints import load_weights
from chatanyone.config import LIVE_SPEECH, LOOPY, RANDOM, SHIPPED, Config
from chatanyone.errors import CheckpointError, ConfigError
from chatanyone.pipeline import AvatarPipeline, Stages, Strengths
from motion.types import BodyMotion, FaceMotion

NetT = TypeVar("NetT", bound=nn.Module)

# kind of a weights file → the package that ships it, as weights/<kind>.safetensors
PACKAGES = {"audio_encoder": "motion", "face": "motion", "body": "motion", "live_speech_portraits": "motion",
            "render": "render"}

# Parts of the renderer that settings may switch off, named as the arguments of `Renderer.forward`.
ABLATIONS = ("hand_injection", "face_refine", "implicit_offset")

# Tiny nets for `weights: random`; they fit together.
TINY: dict[str, dict[str, Any]] = {
    "audio_encoder": dict(dim=16, heads=2, layers=2, context=12, delay=2),
    "face": dict(width=20, depth=1, heads=2, ratio=2),
    "live_speech_portraits": dict(mouth_width=16, mouth_layers=2, pose_width=8, pose_layers=2, pose_condition=8, pose_skip=8,
                                  bank=32),
    "loopy": dict(width=20, depth=1, heads=2, ratio=2, segments=3, embeddings=4),
    "body": dict(width=16, depth=1, heads=2, ratio=2),
    "render": dict(features=8, motion=8, generator=8, face=8),
}


def pipeline(config: Config, on_motion: Callable[[FaceMotion, BodyMotion], None] | None = None) -> AvatarPipeline:
    """The engine with all its nets loaded."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return AvatarPipeline(stages(config), config.media.rate, on_motion=on_motion)


def stages(config: Config, compiled: bool = True) -> Stages:
    """Every stage of the engine; compiled: on a CPU the motion nets run in ONNX Runtime."""
    from chatanyone.runtime import compile_motion
    from chatanyone.stages import ExpressionStage, GestureStage, SpeechStage

    where, template = device(config), head_template(config)
    speech = speech_features(config, where)
    face = face_sampler(config, speech.feature_dim, where, getattr(speech.encoder, "curves", None))
    if compiled and where.type == "cpu":
        compile_motion(speech, getattr(face, "sampler", face))  # with a manifold before it, it is inside
    gesture = GestureStage(body_sampler(config, speech.feature_dim, where), template)
    return Stages(SpeechStage(speech), ExpressionStage(face), gesture, scene_maker(config, template, where))


def device(config: Config) -> torch.device:
    """`auto` takes the GPU where there is one."""
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("device is cuda, but torch finds no CUDA device here; use --device cpu")
    return torch.device(config.device)


def strengths(config: Config) -> Strengths:
    motion = config.motion
    return Strengths(motion.expression, motion.pose, motion.gesture, dict(motion.groups))


def head_template(config: Config) -> Any:
    """The shipped head, or the user's FLAME."""
    from motion.template.head import HeadTemplate

    if config.template.head == "flame":
        from motion.template.flame import load_flame

        return _refused(lambda: load_flame(str(config.template.flame_model)))
    return HeadTemplate.load()


def hand_templates(config: Config) -> tuple[Any, Any]:
    """Left and right: the shipped hand, or the user's MANO."""
    from motion.template.hands import HandTemplate

    if config.template.hands == "mano":
        from motion.template.mano import load_mano

        folder = Path(str(config.template.mano_folder))
        return _refused(lambda: (load_mano(folder / "MANO_LEFT.npz", "left"), load_mano(folder / "MANO_RIGHT.npz", "right")))
    return HandTemplate.load("left"), HandTemplate.load("right")


def speech_features(config: Config, where: torch.device) -> Any:
    """The speech front end at the film's frame rate."""
    from motion.audio.encoder import AudioEncoder
    from motion.audio.features import AudioStream

    if config.audio.backend == "whisper":
        from motion.audio.whisper import WhisperStream

        return _refused(lambda: WhisperStream(config.audio.whisper, fps=config.media.rate))
    encoder = _net(AudioEncoder, "audio_encoder", config.audio.weights, where, {})
    return AudioStream(encoder, config.media.rate)


def face_sampler(config: Config, audio_dim: int, where: torch.device, anchor: Callable[..., Any] | None = None) -> Any:
    """Speech features to face and head; anchor is the encoder's own estimate of the mouth, where it has one."""
    live = config.motion.backend == LIVE_SPEECH
    make = live_speech_sampler if live else diffusion_sampler
    sampler = make(config, audio_dim, where, anchor)
    if not config.audio.manifold:
        return sampler
    from motion.audio.encoder import SPEAKING
    from motion.live_speech_portraits.manifold import Manifold, ProjectedSampler

    net = sampler.net if live else _live_speech_net(config, audio_dim, where)
    return ProjectedSampler(sampler, _refused(lambda: Manifold(net.bank, net.audio_std, config.audio.manifold, SPEAKING)))


def diffusion_sampler(config: Config, audio_dim: int, where: torch.device, anchor: Callable[..., Any] | None) -> Any:
    """ChatAnyone's face net, or Loopy's, which is the same with a long past."""
    from motion.face import FaceDenoiser
    from motion.loopy.net import LoopyDenoiser
    from motion.sampler import FaceSampler

    motion, given = config.motion, {"audio_dim": audio_dim}
    net = (_net(LoopyDenoiser, "loopy", str(motion.loopy_weights), where, given) if motion.backend == LOOPY else
           _net(FaceDenoiser, "face", motion.face_weights, where, given))
    return FaceSampler(net, steps=motion.steps, anchor=anchor, anchor_weight=motion.anchor,
                       guidance_audio=motion.guidance_audio, guidance_style=motion.guidance_style)


def live_speech_sampler(config: Config, audio_dim: int, where: torch.device, anchor: Callable[..., Any] | None) -> Any:
    from motion.live_speech_portraits.sampler import LiveSpeechSampler

    net = _live_speech_net(config, audio_dim, where)
    return LiveSpeechSampler(net, sigma=config.motion.pose_sigma, anchor=anchor, anchor_weight=config.motion.anchor)


def _live_speech_net(config: Config, audio_dim: int, where: torch.device) -> Any:
    from motion.live_speech_portraits.net import LiveSpeechPortraits

    return _net(LiveSpeechPortraits, "live_speech_portraits", config.motion.lsp_weights, where, {"audio_dim": audio_dim})


def body_sampler(config: Config, audio_dim: int, where: torch.device) -> Any:
    """Speech and the head's keypoints to body and hands, in hops as long as the face's."""
    from motion.body import BodyTransformer
    from motion.body_sampler import BodySampler

    net = _net(BodyTransformer, "body", config.motion.body_weights, where, {"audio_dim": audio_dim})
    return BodySampler(net, hop=1) if config.motion.backend == LIVE_SPEECH else BodySampler(net)


def scenes(config: Config) -> Callable[[Any], Any]:
    """What turns a portrait into something that can be drawn, without the nets that hear."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return scene_maker(config, head_template(config), device(config))


def scene_maker(config: Config, template: Any, where: torch.device) -> Callable[[Any], Any]:
    """What turns a portrait into something that can be drawn."""
    from chatanyone.driver import Driver
    from chatanyone.stages import PortraitScene

    draw, hands, workers = renderer(config, where), hand_templates(config), torch.get_num_threads()
    return lambda portrait: PortraitScene(Driver(portrait, template, hands=hands), draw, where, workers=workers)


def as_in_calls(config: Config) -> Config:
    """The settings as calls draw: without the reconstruction filter, unless `live.filter` says otherwise."""
    wanted = config.render.use_filter and (config.live.filter or config.render.use_networks)
    return replace(config, render=replace(config.render, use_filter=wanted))


def renderer(config: Config, where: torch.device) -> Any:
    """Geometry, and the nets that finish its pictures unless they are switched off."""
    if not config.render.use_networks and not config.render.use_filter:
        from render.geometry import coarse_flow, draw

        return lambda source, drive: draw(source, drive, coarse_flow(source, drive)).frame
    from render.renderer import Renderer

    net = _net(Renderer, "render", config.render.weights, where, {"precision": config.precision})
    off = {part: False for part in (*ABLATIONS, "use_filter", "use_networks") if not getattr(config.render, part)}
    return partial(net, **off) if off else net


def _net(kind_of_net: Callable[..., NetT], kind: str, weights: str, where: torch.device, given: dict[str, Any]) -> NetT:
    """A net in evaluation mode: tiny and random, or as its weights file describes it; `given` must agree with the file."""
    if weights == RANDOM:
        return _tiny(kind_of_net, kind, given).to(where).eval()
    path = weights_path(kind, weights)
    config, tensors = load_weights(path, kind=kind)
    for name, value in given.items():
        if config.get(name, value) != value:
            raise CheckpointError(f"{path} was trained for {name} {config[name]}, but here it is {value}; "
                                  "the motion weights must be trained on the speech encoder in use")
    net = kind_of_net(**{**given, **config})
    _refused(lambda: net.load_state_dict(tensors), CheckpointError)
    return net.to(where).eval()


def _tiny(kind_of_net: Callable[..., NetT], kind: str, given: dict[str, Any]) -> NetT:
    """The same random net every time; its motion is scaled down to what a person could do."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = kind_of_net(**TINY[kind], **given)
    deviation = getattr(net, "motion_std", None)
    if isinstance(deviation, torch.Tensor):
        deviation.fill_(0.02)
    return net


def weights_path(kind: str, weights: str) -> Path:
    """Where the weights of a kind are."""
    if weights != SHIPPED:
        return Path(weights)
    return Path(str(resources.files(PACKAGES[kind]))) / "weights" / f"{kind}.safetensors"


def _refused(make: Callable[[], Any], error: type[Exception] = ConfigError) -> Any:
    """What the nets refuse is the settings' fault."""
    try:
        return make()
    except (ValueError, RuntimeError, OSError) as reason:
        raise error(" ".join(str(reason).split())) from reason

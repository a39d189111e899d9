"""`chatanyone export onnx`: builds the nets, writes and checks their files, then puts them where they are wanted."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from chatanyone import build
from chatanyone.checkpoints import read_info, tensors_sha256
from chatanyone.config import DIFFUSION, RANDOM, Config
from chatanyone.errors import ConfigError, MediaError
from chatanyone.export import files, run_onnx
from chatanyone.export.files import LEAST_OPSET, MOST_OPSET, TOLERANCE, ExportError, Parity
from chatanyone.export.graphs import Graph
from chatanyone.export.manifest import manifest, metadata, readme
from chatanyone.export.motion_graphs import body_graphs, face_graphs
from chatanyone.export.real import Calls, TorchNets, drawn_inputs, engine_motion, voice
from chatanyone.export.render_graphs import render_graphs
from chatanyone.export.speech_graphs import speech_graphs
from motion.audio.features import AudioStream
from motion.body_sampler import BodySampler
from motion.sampler import FaceSampler
from render.renderer import Renderer

PARTS = ("audio", "face", "body", "render")
MOTION = PARTS[:3]
MOTION_TOLERANCE = 1e-4  # weights, rad, m or shoulder widths; rounding does not add up: 90 s stay within 1e-6
Say = Callable[[str], None]


@dataclass(frozen=True)
class Engine:
    """The nets of a config, on the CPU."""

    speech: AudioStream
    face: FaceSampler
    body: BodySampler
    render: Renderer
    template: Any

    def graphs(self, size: tuple[int, int]) -> list[Graph]:
        """All files there can be; size: width and height of the frames, px."""
        encoder = self.speech.encoder
        return [*speech_graphs(self.speech), *face_graphs(self.face, encoder), *body_graphs(self.body, self.template),
                *render_graphs(self.render, size)]


def export_onnx(output: Path, config: Config, only: Sequence[str] = PARTS, opset: int = 18, force: bool = False,
                say: Say = print) -> dict[str, Any]:
    """Writes the folder and returns its manifest. A new folder appears whole or not at all.

    Args:
        only: of `PARTS`.
        force: replace an export that is there already.
        say: is handed one line for each file and for the whole.

    Raises:
        ChatAnyoneError: the request cannot be met, or a file does not do what its net does; nothing is written then.
    """
    _check(output, config, only, opset, force)
    engine = load(config)
    weights = weights_in_use(engine, config)
    rate = [config.media.rate.numerator, config.media.rate.denominator]
    graphs = engine.graphs(config.media.width_height)
    wanted = [graph for graph in graphs if graph.part in only]
    if not wanted:
        raise ConfigError("the rendering nets of these weights have learned nothing yet, so there is nothing to export; train "
                          "them or name other parts with --only")
    output.parent.mkdir(parents=True, exist_ok=True)
    with _beside(output) as folder:
        real, motion = _seen(engine, graphs, config, only)
        parity = {}
        for graph in wanted:
            files.write(graph, folder / graph.file, opset, metadata(graph, weights, rate))
            parity[graph.name] = files.compare(graph, folder / graph.file, real.get(graph.name, []))
            say(_line(graph, parity[graph.name], (folder / graph.file).stat().st_size))
        content = manifest(wanted, weights, rate, config.media.size, opset, parity)
        (folder / "manifest.json").write_text(json.dumps(content, indent=1) + "\n")
        (folder / "README.md").write_text(readme(content))
        if set(MOTION) <= set(only):
            shutil.copyfile(run_onnx.__file__, folder / "run_onnx.py")
            say(_whole(folder, motion))
        _put(folder, output, content)
    say(f"{output}: {len(wanted)} nets, opset {opset}; README.md says what each takes and gives")
    return content


def load(config: Config) -> Engine:
    """The nets, on the CPU, those of the renderer too where settings leave them out of films. Guidance is the caller's: passes
    with `keep_audio` or `keep_style` false."""
    where = torch.device("cpu")
    config = replace(config, motion=replace(config.motion, guidance_audio=1.0, guidance_style=1.0))
    speech = build.speech_features(config, where)
    drawing = replace(config, precision="fp32", render=replace(
        config.render, use_filter=True, use_networks=True, hand_injection=True, face_refine=True, implicit_offset=True))
    return Engine(speech, build.face_sampler(config, speech.feature_dim, where, speech.encoder.curves),
                  build.body_sampler(config, speech.feature_dim, where), build.renderer(drawing, where),
                  build.head_template(config))


def _check(output: Path, config: Config, only: Sequence[str], opset: int, force: bool) -> None:
    unknown = [name for name in only if name not in PARTS]
    if unknown or not only:
        raise ConfigError(f"--only takes {', '.join(PARTS)}, not '{','.join(unknown or only)}'")
    if not LEAST_OPSET <= opset <= MOST_OPSET:
        raise ConfigError(f"--opset must be {LEAST_OPSET} to {MOST_OPSET}, not {opset}")
    if config.audio.backend != "compact":
        raise ConfigError(f"audio.backend is {config.audio.backend}, but only the compact encoder and the motion nets behind "
                          "it can be exported; leave audio.backend at compact")
    if config.motion.backend != DIFFUSION or config.audio.manifold:
        raise ConfigError("only the diffusion backend without the manifold can be exported; leave motion.backend at diffusion "
                          "and audio.manifold at 0")
    if config.template.head != "anny" and "body" in only:
        raise ConfigError(f"template.head is {config.template.head}, whose numbers are licensed to you alone, and body.onnx "
                          "would carry some of them; leave template.head at anny, or leave body out of --only")
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"the export needs {' and '.join(missing)}; pip install {' '.join(missing)}")
    if output.exists() and not output.is_dir():
        raise MediaError(f"--output must be a folder, but {output} is a file")
    if output.is_dir() and any(output.iterdir()) and not force:
        raise MediaError(f"{output} is not empty; choose another folder or give --force")


def weights_in_use(engine: Engine, config: Config) -> dict[str, dict[str, Any]]:
    """kind → sha256 and config of the weights in use."""
    nets: dict[str, tuple[nn.Module, str]] = {
        "audio_encoder": (engine.speech.encoder, config.audio.weights),
        "face": (engine.face.denoiser, config.motion.face_weights),
        "body": (engine.body.net, config.motion.body_weights), "render": (engine.render, config.render.weights)}
    found = {}
    for kind, (net, name) in nets.items():
        if name == RANDOM:
            found[kind] = {"sha256": tensors_sha256(net.state_dict()), "config": build.TINY[kind]}
        else:
            info = read_info(build.weights_path(kind, name))
            found[kind] = {"sha256": info.sha256, "config": info.config}
    return found


def _seen(engine: Engine, graphs: list[Graph], config: Config, only: Sequence[str]) -> tuple[Calls, Any]:
    """Inputs of real use, and the motion of the voice they come from as films have it.

    The graphs in torch must give that motion: it shows that they, and `run_onnx`, are all there is to it.
    """
    samples = voice()
    nets = TorchNets([graph for graph in graphs if graph.part in MOTION])
    found = run_onnx.motion(run_onnx.Stream(nets), samples)
    motion = engine_motion(engine.speech, engine.face, engine.body, engine.template, samples)
    _compare_motion(found, motion, "the graphs in torch")
    nets.meet(motion[0])
    real = nets.some_calls()
    if "render" in only:
        real |= drawn_inputs(engine.render, config, engine.template, motion)
    return real, motion


def _whole(folder: Path, motion: Any) -> str:
    """A voice through the files alone, against the film's motion."""
    found = run_onnx.motion(run_onnx.Stream(run_onnx.Nets(folder)), voice())
    worst = _compare_motion(found, motion, "the exported nets")
    return (f"{len(found[0])} frames of a voice through the files alone: motion differs by at most {worst:.1e} from that of "
            f"`chatanyone animate` (tolerance {MOTION_TOLERANCE:g})")


def _compare_motion(found: Sequence[Any], wanted: Sequence[Any], what: str) -> float:
    if [part.shape for part in found] != [part.shape for part in wanted]:
        raise ExportError(f"{what} gave {len(found[0])} frames where the engine gives {len(wanted[0])}; nothing was written")
    worst = max(float(np.abs(a - b).max()) for a, b in zip(found, wanted))
    if not worst <= MOTION_TOLERANCE:
        raise ExportError(f"{what} differ from the engine's motion by {worst:.2g}, more than {MOTION_TOLERANCE:g}; nothing "
                          "was written, please report it with your versions of torch and onnxruntime")
    return worst


def _line(graph: Graph, parity: Parity, size: int) -> str:
    real = "no real input" if parity.real is None else f"real {parity.real:.1e}"
    return (f"{graph.file:<20}{size / 2**20:>6.1f} MiB   differs from torch by at most: random {parity.random:.1e}, {real} "
            f"(tolerance {TOLERANCE:g})")


@contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """A folder to write in, on the same disk; gone afterwards unless it was renamed."""
    folder = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}.", suffix=".part"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(folder: Path, output: Path, content: Mapping[str, Any]) -> None:
    """Renames the folder, or where there is one already every file of it; nets of an earlier export that are not in this one
    go."""
    for path in folder.iterdir():
        path.chmod(0o644)
    if not output.exists():
        folder.chmod(0o755)  # mkdtemp's 0700 would hide it from other users
        folder.rename(output)
        return
    before = output / "manifest.json"
    stale = set()
    if before.is_file():
        try:
            stale = {graph["file"] for graph in json.loads(before.read_text())["graphs"]}
        except (ValueError, KeyError, TypeError):
            pass
    for path in sorted(folder.iterdir()):
        os.replace(path, output / path.name)
    for name in stale - {graph["file"] for graph in content["graphs"]}:
        (output / Path(name).name).unlink(missing_ok=True)

"""`chatanyone bench`: what every stage costs on this machine, as a table and as JSON.

A stage's milliseconds are per frame of film: the engine renders in rounds of a few frames, so the seconds a stage spent
since the round before are divided by the round's frames; p50 and p95 are over the rounds, the first ones (warm-up) left
out. GFLOP are 2 · multiply-adds of matrix products, convolutions and attention per frame, counted by PyTorch.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from chatanyone import build, timebase
from chatanyone.config import Config
from chatanyone.config_checks import between
from chatanyone.errors import ConfigError
from chatanyone.export.timing import OnnxRow, onnx_rows, onnx_table
from chatanyone.media.video import VideoWriter, check_output
from chatanyone.pipeline import AvatarPipeline, Stages
from chatanyone.prefetch import ahead

WARM_UP_ROUNDS = 3


@dataclass(frozen=True)
class Row:
    """One stage, or one net of it (``render/generator``); GFLOP and milliseconds per frame of film."""

    stage: str
    p50_ms: float
    p95_ms: float
    gflop: float
    parameters: int


@dataclass(frozen=True)
class Report:
    """Everything measured. Times in seconds or ms as named, memory in MiB."""

    machine: str
    cores: int
    threads: int
    torch_version: str
    device: str
    precision: str
    size: str
    frames: int
    frames_per_second: float
    real_time_factor: float
    first_frame_needs_ms: float
    model_loading_s: float
    portrait_s: float
    peak_memory_mib: float
    rows: list[Row]
    onnx: list[OnnxRow] = field(default_factory=list)


class Stopwatch:
    """Seconds by stage, closed into rounds; on a GPU it waits for the work to be done."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.current: dict[str, float] = defaultdict(float)
        self.rounds: list[tuple[int, dict[str, float]]] = []

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        start = self._now()
        yield
        self.current[name] += self._now() - start

    def close_round(self, frames: int) -> None:
        """Everything since the last round was for these frames."""
        self.rounds.append((frames, dict(self.current)))
        self.current.clear()

    def per_frame_ms(self, name: str) -> NDArray[np.float64]:
        """One number a round, warm-up left out where there are enough rounds."""
        rounds = self.rounds[WARM_UP_ROUNDS:] or self.rounds
        return np.array([1000 * seconds.get(name, 0.0) / frames for frames, seconds in rounds])

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class _Timed:
    """A stage that tells a stopwatch; everything else passes through."""

    def __init__(self, stage: Any, name: str, watch: Stopwatch) -> None:
        self._stage, self._name, self._watch = stage, name, watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    def __call__(self, *arguments: Any) -> Any:
        with self._watch.time(self._name):
            return self._stage(*arguments)

    def step(self, *arguments: Any) -> Any:
        with self._watch.time(self._name):
            return self._stage.step(*arguments)

    def flush(self, *arguments: Any) -> Any:
        with self._watch.time(self._name):
            return self._stage.flush(*arguments)


def bench(config: Config, seconds: float = 4.0, image: str | None = None, json_path: str | None = None,
          onnx: str | None = None) -> Report:
    """Runs the real path on the demo's voice (or noise where there is none) and prints the table; and one of the nets in a
    folder of `chatanyone export onnx`, if there is one."""
    between("--seconds", seconds, 1, 600)
    if json_path is not None:
        check_output(json_path, True, (".json",))
    exported = onnx_rows(Path(onnx), config) if onnx is not None else []
    start = time.perf_counter()
    where, stages = build.device(config), build.stages(config)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    loaded = time.perf_counter()
    portrait = _portrait(config, image)
    prepared = time.perf_counter()
    report = measure(stages, portrait, _speech(seconds), config, where, model_loading_s=loaded - start,
                     portrait_s=prepared - loaded, counted=build.stages(config, compiled=False))
    report = replace(report, onnx=exported)
    print(table(report))
    if exported:
        print(onnx_table(exported))
    if json_path is not None:
        Path(json_path).write_text(json.dumps(asdict(report), indent=2) + "\n")
    return report


def measure(stages: Stages, portrait: Any, speech: NDArray[np.float32], config: Config, where: torch.device,
            model_loading_s: float = 0.0, portrait_s: float = 0.0, counted: Stages | None = None) -> Report:
    """Times the stages of one run, one after another; then a film as users make it; counts arithmetic in a third run, of
    `counted`: the stages with all nets in torch, which can count."""
    watch = Stopwatch(where)
    with _timed_parts(_nets_of_scene(stages, portrait), watch):
        _timed_run(stages, portrait, speech, config, watch)
    wall_s, frames = _film(stages, portrait, speech, config)
    names = sorted({name for _, spent in watch.rounds for name in spent}, key=_order)
    counted = counted or stages
    gflop = _gflop(counted, portrait, speech[:timebase.SAMPLE_RATE_HZ], config)
    parameters = _parameters(counted, portrait)
    ran = [name for name in names if name.startswith("render/")]
    if ran:  # nets that are switched off do not count
        parameters["render"] = sum(parameters.get(name, 0) for name in ran)
    rows = [_row(name, watch, gflop.get(name, 0.0), parameters.get(name, 0)) for name in names]
    return Report(
        machine=_processor(), cores=os.cpu_count() or 1, threads=torch.get_num_threads(),
        torch_version=torch.__version__, device=str(where), precision=config.precision, size=config.media.size,
        frames=frames, frames_per_second=round(frames / wall_s, 2),
        real_time_factor=round(wall_s * float(config.media.rate) / frames, 3),
        first_frame_needs_ms=_first_frame_needs_ms(stages, portrait, speech, config),
        model_loading_s=round(model_loading_s, 2), portrait_s=round(portrait_s, 2),
        peak_memory_mib=round(_peak_memory_mib(where), 1), rows=rows)


def table(report: Report) -> str:
    """For people: one line a stage, then the whole."""
    lines = [f"{'stage':<16}{'p50 ms':>9}{'p95 ms':>9}{'GFLOP':>9}{'M parameters':>14}"]
    lines += [f"{_indented(row.stage):<16}{row.p50_ms:>9.2f}{row.p95_ms:>9.2f}{row.gflop:>9.3f}"
              f"{row.parameters / 1e6:>14.2f}" for row in report.rows]
    whole = [row for row in report.rows if "/" not in row.stage]  # a net's numbers are in its stage's already
    total = [sum(getattr(row, name) for row in whole) for name in ("p50_ms", "gflop", "parameters")]
    lines.append(f"{'sum':<16}{total[0]:>9.2f}{'':>9}{total[1]:>9.3f}{total[2] / 1e6:>14.2f}")
    lines.append(f"per frame of {report.size}, {report.precision}, on {report.machine} ({report.threads} threads, "
                 f"{report.device}, torch {report.torch_version})")
    lines.append(f"{report.frames_per_second:.1f} frames per second, real-time factor {report.real_time_factor:.2f}; "
                 f"the first frame needs {report.first_frame_needs_ms:.0f} ms of sound; model loading "
                 f"{report.model_loading_s:.1f} s, portrait {report.portrait_s:.1f} s, peak memory "
                 f"{report.peak_memory_mib:.0f} MiB")
    return "\n".join(lines)


_ORDER = ("audio", "face", "body", "geometry", "render", "encode")


def _order(name: str) -> tuple[int, str]:
    stage, _, net = name.partition("/")
    return _ORDER.index(stage), net


def _indented(name: str) -> str:
    return "  " + name.partition("/")[2] if "/" in name else name


def _timed_run(stages: Stages, portrait: Any, speech: NDArray[np.float32], config: Config,
               watch: Stopwatch) -> None:
    """Every stage by itself, nothing side by side."""
    engine = AvatarPipeline(_instrumented(stages, watch), config.media.rate)
    with tempfile.TemporaryDirectory() as folder:
        with VideoWriter(Path(folder) / "bench.mp4", config.media.width_height, config.media.rate) as writer:
            for made, _ in _rounds(engine, speech, engine.init(portrait)):
                for frame in made:
                    with watch.time("encode"):
                        writer.write(frame)
                watch.close_round(len(made))


def _film(stages: Stages, portrait: Any, speech: NDArray[np.float32], config: Config) -> tuple[float, int]:
    """Seconds and frames of a whole film, made and written like a user's: frames side by side, encoding beside them."""
    engine = AvatarPipeline(stages, config.media.rate)
    with tempfile.TemporaryDirectory() as folder:
        with VideoWriter(Path(folder) / "bench.mp4", config.media.width_height, config.media.rate) as writer:
            state, frames, start = engine.init(portrait), 0, time.perf_counter()
            for frame in ahead(engine.run(speech, state)):
                writer.write(frame)
                frames += 1
            return time.perf_counter() - start, frames


def _rounds(engine: AvatarPipeline, speech: NDArray[np.float32], state: Any) -> Iterator[tuple[list[Any], Any]]:
    """The passes that gave frames, the last one included."""
    for frames, state in engine.iterate(speech, state):
        if frames:
            yield frames, state
    frames, state = engine.flush(state)
    if frames:
        yield frames, state


def _instrumented(stages: Stages, watch: Stopwatch) -> Stages:
    def scene(portrait: Any) -> Any:
        made: Any = stages.scene(portrait)
        if not hasattr(made, "driver"):
            return _Timed(made, "render", watch)
        made.workers = 1  # time and count in this thread
        made.driver = _Timed(made.driver, "geometry", watch)
        made.renderer = _Timed(made.renderer, "render", watch)
        return made

    return Stages(_Timed(stages.audio, "audio", watch), _Timed(stages.face, "face", watch),
                  _Timed(stages.body, "body", watch), scene)


def _row(name: str, watch: Stopwatch, gflop: float, parameters: int) -> Row:
    p50, p95 = np.percentile(watch.per_frame_ms(name), [50, 95])
    return Row(name, round(float(p50), 3), round(float(p95), 3), round(gflop, 4), parameters)


@contextmanager
def _timed_parts(nets: dict[str, nn.Module], watch: Stopwatch) -> Iterator[None]:
    """Times nets that a stage calls inside."""
    handles: list[Any] = []
    for name, net in nets.items():
        running: list[Any] = []

        def enter(*_: Any, name: str = name, running: list[Any] = running) -> None:
            running.append(watch.time(name))
            running[-1].__enter__()

        def leave(*_: Any, running: list[Any] = running) -> None:
            running.pop().__exit__(None, None, None)

        handles += [net.register_forward_pre_hook(enter), net.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Counter(Stopwatch):
    """Counts arithmetic instead of time, also of the nets inside a stage."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.flop: dict[str, int] = defaultdict(int)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        counter = FlopCounterMode(display=False)
        with counter:
            yield
        self.flop[name] += counter.get_total_flops()
        for module, counts in counter.get_flop_counts().items():
            if module.count(".") == 1:  # Renderer.generator
                self.flop[f"{name}/{module.partition('.')[2]}"] += sum(counts.values())


def _gflop(stages: Stages, portrait: Any, speech: NDArray[np.float32], config: Config) -> dict[str, float]:
    """GFLOP per frame of every stage; a run of its own, because counting is slow."""
    counter = _Counter()
    engine = AvatarPipeline(_instrumented(stages, counter), config.media.rate)
    frames = sum(len(made) for made, _ in _rounds(engine, speech, engine.init(portrait)))
    return {name: flop / frames / 1e9 for name, flop in counter.flop.items()}


def _nets_of_scene(stages: Stages, portrait: Any) -> dict[str, nn.Module]:
    """The renderer's nets by name, ``render/generator``."""
    draw = getattr(stages.scene(portrait), "renderer", None)
    draw = getattr(draw, "func", draw)  # with parts switched off it is a partial
    return {f"render/{name}": net for name, net in draw.named_children()} if isinstance(draw, nn.Module) else {}


def _parameters(stages: Stages, portrait: Any) -> dict[str, int]:
    """Of the nets behind every stage."""
    scene = stages.scene(portrait)
    holders = {"audio": stages.audio, "face": stages.face, "body": stages.body,
               "render": getattr(scene, "renderer", scene)}
    nets = {name: _nets(holder) for name, holder in holders.items()}
    nets |= {name: [net] for name, net in _nets_of_scene(stages, portrait).items()}
    return {name: sum(p.numel() for net in held for p in net.parameters()) for name, held in nets.items()}


def _nets(holder: Any, depth: int = 3) -> list[nn.Module]:
    """The modules an object holds, looked for a few attributes deep."""
    if isinstance(holder, nn.Module):
        return [holder]
    if depth == 0 or not hasattr(holder, "__dict__"):
        return []
    return [net for value in vars(holder).values() for net in _nets(value, depth - 1)]


def _first_frame_needs_ms(stages: Stages, portrait: Any, speech: NDArray[np.float32], config: Config) -> float:
    """How much sound must have come before the first frame comes out: the algorithmic latency, in steps of 10 ms."""
    engine = AvatarPipeline(stages, config.media.rate)
    state, piece = engine.init(portrait), timebase.SAMPLE_RATE_HZ // 100
    for start in range(0, len(speech), piece):
        frames, state = engine.step(speech[start:start + piece], state)
        if frames:
            return 1000.0 * (start + piece) / timebase.SAMPLE_RATE_HZ
    return float("nan")


def _portrait(config: Config, image: str | None) -> Any:
    from chatanyone import demo
    from chatanyone.media.image import read_image
    from chatanyone.portrait import prepare_portrait

    picture = demo.picture() if image is None else read_image(image)
    return prepare_portrait(picture, config.media.width_height)


def _speech(seconds: float) -> NDArray[np.float32]:
    """The demo's voice, repeated to length; noise where espeak-ng is not installed: the work is the same."""
    from chatanyone import demo

    count = round(seconds * timebase.SAMPLE_RATE_HZ)
    try:
        voice = demo.speech()
    except ConfigError:
        voice = 0.1 * np.random.default_rng(0).standard_normal(count).astype(np.float32)
    return np.resize(voice, count).astype(np.float32)


def _peak_memory_mib(where: torch.device) -> float:
    """Of the GPU where there is one, otherwise of the process."""
    if where.type == "cuda":
        return torch.cuda.max_memory_allocated(where) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _processor() -> str:
    """Its name as the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

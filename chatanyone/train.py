"""`chatanyone train`: builds a task from its data and hands it to the solver; resumes where the run stopped."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from chatanyone.build import SHIPPED, weights_path
from chatanyone.checkpoints import load_weights, read_info
from chatanyone.errors import ConfigError
from chatanyone.training import Processes, Solver, SolverConfig, Task
from chatanyone.training.settings import batches_a_step, read_settings

# Examples a step and process, when not told.
BATCH = {"audio": 16, "motion-face": 192, "motion-body": 12, "motion-lsp": 24, "motion-loopy": 192, "render": 1}
FINETUNED = ("motion-face", "render")
BANK = "people.safetensors"  # in a folder of clips: features of people's speech, for the manifold of motion-lsp
_ENCODER = "encoder"  # motion weights go with the encoder whose features they were trained on; this note names it


@dataclass
class Job:
    """A task, and what surrounds it. notes: for the weights file; on_validate: for the solver."""

    task: Task
    notes: dict[str, Any] = field(default_factory=dict)
    on_validate: Callable[[Solver], None] | None = None


def train(name: str, arguments: Sequence[str]) -> None:
    """Trains until the steps or minutes are over and writes the weights.

    Raises:
        ConfigError: the settings contradict each other, or there is no training data where it was looked for.
    """
    options = parse(name, arguments)
    if not sys.stdout.isatty():
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    processes = Processes(options.device)
    level = logging.INFO if processes.is_main else logging.ERROR
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", stream=sys.stdout)
    solver, job = prepare(name, options, processes)
    numbers = solver.run()
    if processes.is_main:
        _write(name, solver, job, options, numbers)
    processes.wait()
    processes.end()


def prepare(name: str, options: argparse.Namespace, processes: Processes) -> tuple[Solver, Job]:
    """Everything up to the first step."""
    if options.total_batch:
        options.accumulate = batches_a_step(options.total_batch, options.batch, processes.count)
    try:
        job = _fine_tuning(name, options, processes) if options.clips_folder else TASKS[name](options, processes)
        config = SolverConfig.from_arguments(options)
        solver = Solver(job.task, config, options.run_folder, processes, job.on_validate)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if options.warm_start and solver.step == 0:
        warm_start(solver, options.warm_start)
    return solver, job


def warm_start(solver: Solver, path: Path) -> None:
    """Begins with the tensors of another weights file that have the same name and shape; the data's moments stay."""
    _, tensors = load_weights(path, kind=solver.task.kind)
    count = solver.begin_with({name: value for name, value in tensors.items() if not name.endswith(("_mean", "_std", "bank"))})
    logging.info("warm start: %d of %d tensors from %s", count, len(solver.average), path)


def _write(name: str, solver: Solver, job: Job, options: argparse.Namespace, numbers: dict[str, float]) -> None:
    """The weights: the best ones where validation chose, else the last."""
    step = solver.restore_best()
    output = options.output or options.run_folder / "weights.safetensors"
    notes = {"validation": numbers, **job.notes} | ({"best_step": step} if step is not None else {})
    solver.export(output, notes, half=name != "audio")
    best = f", best at step {step}" if step is not None else ""
    print(f"{output}: step {solver.step}{best}, " + ", ".join(f"{key} {value:.4g}" for key, value in numbers.items()))


def parse(name: str, arguments: Sequence[str]) -> argparse.Namespace:
    """The options: defaults, then the settings file, then the command line."""
    parser = _parser(name)
    given = parser.parse_args(arguments)
    if given.clips_folder:
        from chatanyone.finetune.defaults import DEFAULTS

        parser.set_defaults(**DEFAULTS[name] if name in DEFAULTS else {})
    if given.config:
        parser.set_defaults(**read_settings(given.config, name))
    options = parser.parse_args(arguments)
    options.batch = options.batch or BATCH[name]
    _check(name, options)
    return options


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"chatanyone train {name}", description=f"Train {name}; the same command goes on after a stop. Under "
        "`accelerate launch -m chatanyone train …` many processes train together.", allow_abbrev=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", metavar="FOLDER", help="training data made by tools/: a folder, or tar shards such as "
                        "'shards/train-{000000..000123}.tar' or their URL")
    source.add_argument("--clips", dest="clips_folder", type=Path, metavar="FOLDER",
                        help="films of one person with sound: fine-tune the shipped weights on them")
    parser.add_argument("--held-out", metavar="PATTERN", help="tar shards to validate on; needed with tar shards")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that read tar shards ahead (0)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="training settings, such as configs/paper.yaml")
    parser.add_argument("--run", dest="run_folder", type=Path, metavar="FOLDER",
                        help="state and log (beside --output, with the ending .run)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="weights (weights.safetensors in the run folder)")
    parser.add_argument("--batch", type=int, metavar="N", help=f"examples a step on each process ({BATCH[name]})")
    parser.add_argument("--total-batch", type=int, metavar="N", help="examples a step over all processes; sets --accumulate")
    parser.add_argument("--sheet-every", type=int, default=500, metavar="N", help="with --clips: steps between sample sheets "
                        "in the run folder, 0 for none (500)")
    if name == "render":
        parser.add_argument("--filter-only", action="store_true", help="teach the reconstruction filter alone")
    if name == "motion-loopy":
        parser.add_argument("--whole", action="store_true", help="teach the face net's weights too, not only what Loopy adds")
    if name == "audio":
        parser.add_argument("--real-share", type=float, default=0.4, metavar="X", help="how many examples are of real voices "
                            "and of those cut from recordings (0.4)")
        parser.add_argument("--keep-features", type=float, default=0.0, metavar="WEIGHT", help="with --warm-start: hold the "
                            "features of espeak-ng's speech where they were, for nets that were trained on them (0)")
    parser.add_argument("--warm-start", type=Path, metavar="FILE", help="weights to begin with")
    parser.set_defaults(net={}, clips=None)
    SolverConfig.add_arguments(parser)
    return parser


def _check(name: str, options: argparse.Namespace) -> None:
    """Refuses what cannot work before anything is loaded."""
    if options.run_folder is None and options.output is None:
        raise ConfigError("training needs a place to keep its state: give --run FOLDER, or --output FILE")
    if options.run_folder is None:
        options.run_folder = options.output.with_suffix(".run")
    if options.batch < 1:
        raise ConfigError(f"--batch must be at least 1, not {options.batch}")
    if options.clips_folder:
        if name not in FINETUNED:
            raise ConfigError(f"--clips fine-tunes {' or '.join(FINETUNED)}, not {name}; give --data instead")
        if not options.clips_folder.is_dir():
            raise ConfigError(f"the folder {options.clips_folder} does not exist; --clips takes a folder of films")
        return
    if ".tar" in options.data:
        if name == "audio":
            raise ConfigError("audio trains from a folder of speech shards, not from tar shards; give --data FOLDER")
        if not options.held_out:
            raise ConfigError("with tar shards give --held-out PATTERN too, the shards to validate on")
    elif not Path(options.data).is_dir():
        raise ConfigError(f"the folder {options.data} does not exist; make training data with the programs in tools/")


def check_net(kind: Callable[..., object], sizes: dict[str, Any]) -> dict[str, Any]:
    """The sizes, when the net knows them all."""
    unknown = sorted(sizes.keys() - signature(kind).parameters.keys())
    if unknown:
        raise ConfigError(f"the net has no size '{unknown[0]}'; it has {', '.join(signature(kind).parameters)}")
    return sizes


def _fine_tuning(name: str, options: argparse.Namespace, processes: Processes) -> Job:
    if name == "motion-face":
        from chatanyone.finetune.face import face_job

        return Job(*face_job(options, processes))
    from chatanyone.finetune.render import render_job

    return Job(*render_job(options, processes))


def _audio(options: argparse.Namespace, processes: Processes) -> Job:
    from motion.audio.encoder import EncoderConfig
    from motion.training.audio_task import AudioTask

    encoder = EncoderConfig(**check_net(EncoderConfig, options.net))
    kept = None
    if options.keep_features:
        from motion.audio.encoder import AudioEncoder

        if not options.warm_start:
            raise ConfigError("--keep-features keeps those of the weights that --warm-start gives; give both")
        sizes, tensors = load_weights(options.warm_start, kind="audio_encoder")
        kept = AudioEncoder(**sizes)
        kept.load_state_dict(tensors)
    return Job(AudioTask(options.data, encoder, batch_size=options.batch, real_share=options.real_share, kept=kept,
                         keep=options.keep_features))


def _face(options: argparse.Namespace, processes: Processes) -> Job:
    from motion.face import FaceDenoiser
    from motion.training.face_task import FaceTask

    data, held_out, notes = _stores(options, processes)
    task = FaceTask(data, held_out, batch=options.batch, config=check_net(FaceDenoiser, options.net))
    return Job(_streamed(task, data), notes)


def _body(options: argparse.Namespace, processes: Processes) -> Job:
    from motion.body import BodyTransformer
    from motion.template.head import HeadTemplate
    from motion.training.body_task import BodyTask

    data, held_out, notes = _stores(options, processes)
    task = BodyTask(data, held_out, HeadTemplate.load().keypoints, batch=options.batch,
                    config=check_net(BodyTransformer, options.net))
    return Job(_streamed(task, data), notes)


def _live_speech(options: argparse.Namespace, processes: Processes) -> Job:
    from motion.live_speech_portraits.net import LiveSpeechPortraits
    from motion.training.live_speech_task import LiveSpeechTask

    data, held_out, notes = _stores(options, processes)
    people = Path(options.data) / BANK
    features = load_file(people)["features"] if ".tar" not in options.data and people.is_file() else None
    task = LiveSpeechTask(data, held_out, features, batch=options.batch, config=check_net(LiveSpeechPortraits, options.net))
    return Job(_streamed(task, data), notes)


def _loopy(options: argparse.Namespace, processes: Processes) -> Job:
    """Begins with the face net that ships, or with the weights of `--warm-start`, whose moments it keeps."""
    from motion.loopy.net import LoopyDenoiser
    from motion.training.loopy_task import LoopyTask

    data, held_out, notes = _stores(options, processes)
    path = options.warm_start or weights_path("face", SHIPPED)
    kind = read_info(path).kind
    config, base = load_weights(path, kind=kind if kind in ("face", "loopy") else "face")
    options.warm_start = None
    task = LoopyTask(data, held_out, base, batch=options.batch, config={**config, **check_net(LoopyDenoiser, options.net)},
                     whole=options.whole)
    return Job(_streamed(task, data), notes)


def _stores(options: argparse.Namespace, processes: Processes) -> tuple[Any, Any, dict[str, Any]]:
    """Training and held-out clips, and which encoder heard them."""
    from motion.training.motion_data import ClipStore

    if ".tar" in options.data:
        from chatanyone.training.streams import StreamedClips, clips_of, encoder_of

        shards = _shards(options, processes)
        data: ClipStore = StreamedClips(shards)
        return data, ClipStore(clips_of(options.held_out)), {_ENCODER: encoder_of(shards)}
    data, held_out = (ClipStore.load(Path(options.data), split) for split in ("train", "held_out"))
    if options.clips not in (None, len(data.frames)):
        logging.info("the settings were made for %d clips, the data holds %d", options.clips, len(data.frames))
    encoder = Path(options.data) / "encoder.sha256"
    return data, held_out, {_ENCODER: encoder.read_text()} if encoder.is_file() else {}


def _streamed(task: Task, data: Any) -> Task:
    from chatanyone.training.streams import StreamedClips, StreamedTask

    if not isinstance(data, StreamedClips):
        return task

    def batches(seed: int) -> Any:
        data.restart(seed)
        return task.batches(seed)

    return StreamedTask(task, batches)


def _shards(options: argparse.Namespace, processes: Processes) -> Any:
    from chatanyone.training.streams import Shards, shard_urls

    return Shards(shard_urls(options.data), processes.rank, processes.count, options.workers)


def _render(options: argparse.Namespace, processes: Processes) -> Job:
    from render.config import RenderConfig
    from render.training.task import RenderTask

    sizes = check_net(RenderConfig, options.net)
    if ".tar" not in options.data:
        return Job(RenderTask(Path(options.data), sizes=sizes, filter_only=options.filter_only))
    from chatanyone.training.streams import StreamedTask, unpack_shards

    shards = _shards(options, processes)
    held_out = options.run_folder / "held_out"  # the task validates on files
    if processes.is_main:
        unpack_shards(held_out, train=islice(shards.first(), 1), held_out=options.held_out)
    processes.wait()
    samples = shards.samples
    task = RenderTask(held_out, sizes=sizes, filter_only=options.filter_only)
    return Job(StreamedTask(task, lambda seed: (
        {name: value[None] for name, value in sample.items()} for sample in samples(seed))))


TASKS: dict[str, Callable[[argparse.Namespace, Processes], Job]] = {
    "audio": _audio, "motion-face": _face, "motion-body": _body, "motion-lsp": _live_speech, "motion-loopy": _loopy,
    "render": _render}

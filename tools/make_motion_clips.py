"""Make the clips the motion nets train on: speech shards and the trained audio encoder → features and performances.

    python tools/make_motion_clips.py --corpus corpus --encoder motion/weights/audio_encoder.safetensors --output clips

``--people FOLDER…`` also writes features of recordings of people, as they are, which need no transcripts: the manifold's bank
of `chatanyone train motion-lsp` is chosen from them.

Clips belong to the encoder they were made with; make them anew when it changes. Mouths are performed anew as well: in the
style of the shard's speaker, or, for recordings and other voices without one, in a random one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from chatanyone.checkpoints import load_weights, read_info
from chatanyone.media.audio import read_audio
from chatanyone.train import BANK
from motion.audio.encoder import AudioEncoder
from motion.audio.features import AudioStream
from motion.training.articulation import MouthStyle, mouth_curves, random_style
from motion.training.augment import augment_samples
from motion.training.corpus import read_shard
from motion.training.motion_data import make_clip, write_clips

SOUNDS = (".flac", ".wav", ".mp3", ".ogg")
CLEAN_SHARE = 0.35  # clips whose sound stays as it is; the rest is heard as the encoder's training heard it


def load_stream(path: Path) -> AudioStream:
    """The speech front end of a weights file, at 30 fps."""
    config, tensors = load_weights(path, kind="audio_encoder")
    encoder = AudioEncoder(**config)
    encoder.load_state_dict(tensors)
    return AudioStream(encoder)


def heard(samples: np.ndarray, rng: np.random.Generator, clean: bool) -> Tensor:
    """Samples as a microphone might give them."""
    return torch.from_numpy(samples if clean else augment_samples(samples, rng)).float()


def make_shard(source: Path, target: Path, stream: AudioStream, first_seed: int) -> None:
    """All clips of one speech shard."""
    clips = []
    for index, item in enumerate(read_shard(source)):
        seed = first_seed + index
        rng = np.random.default_rng(seed + 7)
        clean = "held_out" in source.name or rng.random() < CLEAN_SHARE
        features = stream.parallel(heard(item.speech.samples, rng, clean))
        style = random_style(rng) if item.style == MouthStyle() else item.style
        mouth = mouth_curves(item.speech, style=style, rng=rng)
        clips.append(make_clip(item.speech, np.asarray(mouth, np.float64), features, seed))
    write_clips(target, clips)


def write_people(folders: list[Path], path: Path, stream: AudioStream) -> None:
    """Features of all recordings in the folders."""
    recordings = sorted(file for folder in folders for file in folder.iterdir() if file.suffix in SOUNDS)
    rows = [stream.parallel(torch.from_numpy(read_audio(file))) for file in tqdm(recordings, "people", unit="recording")]
    save_file({"features": torch.cat(rows).half()}, str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder of tools/make_speech_corpus.py")
    parser.add_argument("--encoder", type=Path, default=Path("motion/weights/audio_encoder.safetensors"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--people", type=Path, nargs="+", help="folders of recordings for the manifold's bank")
    parser.add_argument("--limit", type=int, help="only so many training shards")
    arguments = parser.parse_args()
    for folder in arguments.people or []:
        if not folder.is_dir():
            parser.error(f"{folder} is no folder; --people takes folders of recordings")
    arguments.output.mkdir(parents=True, exist_ok=True)
    stream = load_stream(arguments.encoder)
    (arguments.output / "encoder.sha256").write_text(read_info(arguments.encoder).sha256)
    if arguments.people:
        write_people(arguments.people, arguments.output / BANK, stream)
    sources = [path for prefix in ("held_out", "real", "train")
               for path in sorted(arguments.corpus.glob(f"{prefix}_*.safetensors"))[:arguments.limit]]
    for number, source in enumerate(tqdm(sources, unit="shard")):
        name = source.name.replace("real_held", "held_out_real_held") if "held_out" in source.name else source.name
        target = arguments.output / (name if name.startswith(("train", "held_out")) else f"train_{name}")
        if not target.exists():
            make_shard(source, target, stream, 10_000 * number)


if __name__ == "__main__":
    main()

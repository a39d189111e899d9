"""Films of people as pairs for the rendering nets: the person of one frame, followed to others.

    python tools/make_film_pairs.py --films speakers/ --held-out anna ben --output pairs

Of every film two frames become sources, its first and its middle one, prepared as any user's picture; the true pictures are
frames of the same film. Unlike `chatanyone train render --clips`, which makes one person's pairs, this is for many people:
films named in --held-out, and those of no one else, are validated on. Mind the films' licences: what is trained on them is
made of them. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from chatanyone.driver import Driver
from chatanyone.errors import ChatAnyoneError
from chatanyone.evaluation.studio import HEAD, UPPER_BODY
from chatanyone.finetune.pairs import Templates, load_templates, looks, pair_of
from chatanyone.media.video import VideoReader
from chatanyone.portrait import prepare_portrait
from render.training.data import write_pair

FILMS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"}
TALL = 1.2  # height over width from which a film is drawn as an upper body


def write_film(path: Path, prefix: Path, templates: Templates, every: int) -> int:
    """All pairs of one film; how many."""
    with VideoReader(path) as reader:
        frames = list(reader)
    height, width = frames[0].shape[:2]
    size = UPPER_BODY if height >= TALL * width else HEAD
    count = 0
    for source in (0, len(frames) // 2):
        driver = Driver(prepare_portrait(frames[source], size), templates[0], hands=templates[1])
        for look, drive in looks(driver, frames[every // 2 + (source > 0)::every]):
            write_pair(prefix.with_name(f"{prefix.name}_{count:03d}.safetensors"), pair_of(driver, look, drive))
            count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=Path, required=True, help="folder of films, each of one person")
    parser.add_argument("--held-out", nargs="*", default=[], metavar="NAME", help="films, without suffix, to validate on")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--every", type=int, default=6, help="frames between two targets")
    arguments = parser.parse_args()
    films = sorted(path for path in arguments.films.glob("*") if path.suffix.lower() in FILMS)
    unknown = set(arguments.held_out) - {path.stem for path in films}
    if not films or unknown:
        sys.exit(f"make_film_pairs: there is no film {', '.join(sorted(unknown)) or 'at all'} in {arguments.films}")
    if arguments.every < 1:
        sys.exit(f"make_film_pairs: --every must be at least 1, not {arguments.every}")
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    templates = load_templates()
    for path in tqdm(films, unit="film"):
        split = "held_out" if path.stem in arguments.held_out else "train"
        done = arguments.output / f"{split}_{path.stem}.done"
        if done.exists():
            continue
        try:
            write_film(path, arguments.output / f"{split}_{path.stem}", templates, arguments.every)
        except ChatAnyoneError as error:
            print(f"left out: {path.name}: {error}", file=sys.stderr)
        done.touch()


if __name__ == "__main__":
    main()

"""`make demo`: a photograph everybody may use and a sentence spoken here become out/demo.mp4, without any download.

The photograph is NASA's portrait of astronaut Eileen Collins (public domain), which ships inside scikit-image; the
voice is espeak-ng's, which ships inside espeakng-loader.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chatanyone import cli
from chatanyone.errors import ChatAnyoneError, ConfigError

SENTENCE = ("Hello! I am a photograph that has just learned to speak. My lips follow the sound, "
            "and between the sentences I blink, breathe, and look around.")
VOICE = "en-us+Annie"


def picture() -> NDArray[np.uint8]:
    """RGB ``[512, 512, 3]``."""
    try:
        from skimage.data import astronaut
    except ImportError:
        raise ConfigError("the demo's picture comes with scikit-image; pip install 'chatanyone[demo]'") from None
    return np.asarray(astronaut())


def speech(text: str = SENTENCE) -> NDArray[np.float32]:
    """Mono float32 at 16 kHz."""
    from motion.training.speech import Espeak, SpeakRequest

    try:
        with Espeak() as espeak:
            samples: NDArray[np.float32] = espeak.say(SpeakRequest(text, VOICE, rate=160)).samples
    except (ValueError, OSError) as error:
        raise ConfigError(f"the demo's voice comes with espeakng-loader ({error}); "
                          "pip install 'chatanyone[demo]'") from None
    return samples


def write_inputs(folder: Path) -> tuple[Path, Path]:
    """The picture and the voice as files, as a user would have them."""
    from chatanyone.media.audio import write_wav

    image, audio = folder / "astronaut.png", folder / "hello.wav"
    Image.fromarray(picture()).save(image)
    write_wav(audio, speech())
    return image, audio


def main(arguments: list[str] | None = None) -> int:
    """Makes the film with the command a user would type."""
    parser = argparse.ArgumentParser(prog="python -m chatanyone.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out/demo.mp4"), metavar="FILE.mp4")
    options, rest = parser.parse_known_args(arguments)
    started = time.perf_counter()
    cli.set_environment()
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            image, audio = write_inputs(Path(folder))
            print(f"photograph and voice made in {time.perf_counter() - started:.1f} s")
            return cli.main(["animate", "--image", str(image), "--audio", str(audio),
                             "--output", str(options.output), "--force", *rest])
    except ChatAnyoneError as error:
        print(f"chatanyone: error: {error}", file=sys.stderr)
        return cli.USER_MISTAKE


if __name__ == "__main__":
    sys.exit(main())

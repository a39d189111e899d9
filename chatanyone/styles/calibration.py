"""What the face net makes of a style; see `motion.correction` for what it is compared with.

The net hears the clip's own sound, so that like is compared with like: on real voices it moves less than on synthetic
ones. A motion without a sound is compared on a voice that ships.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatanyone import build
from chatanyone.config import Config
from chatanyone.media.audio import SAMPLE_RATE, read_audio
from chatanyone.styles.style import NamedStyle
from motion.correction import fitted
from motion.types import FaceMotion

Samples = NDArray[np.float32]
VOICE = "voice.flac"  # LJ001-0004 and LJ001-0006 of LJSpeech 1.1 (public domain), 10.8 s
SEEDS = (101, 102)  # of blinks, glances and sway; none that films use by default
LEAST_S, MOST_S = 10.0, 20.0  # of sound that is heard: a shorter one is repeated
_STARTS = 30  # frames in which a stream leaves rest
FPS = "30"  # the face net's own rate, whatever the film's


@dataclass(frozen=True)
class Calibration:
    """The nets that hear and move the face, at 30 fps."""

    speech: Any
    sampler: Any

    @classmethod
    def of(cls, config: Config) -> Calibration:
        """Loads the nets."""
        own = copy.deepcopy(config)
        own.media.fps = FPS
        where = build.device(own)
        speech = build.speech_features(own, where)
        return cls(speech, build.face_sampler(own, speech.feature_dim, where, getattr(speech.encoder, "curves", None)))

    def corrected(self, style: NamedStyle, motion: FaceMotion, samples: Samples | None = None) -> NamedStyle:
        """The style with what brings the net to the manner of the clip that it is made of.

        Args:
            motion: of the clip, at 30 fps; samples: its sound, 16 kHz, None where there is none.
        """
        return replace(style, correction=fitted(motion, self.made(style, samples)))

    def made(self, style: NamedStyle, samples: Samples | None = None) -> FaceMotion:
        """What comes out with the style as it is, without a correction."""
        chosen, whole = style.pipeline_style(), []
        with torch.inference_mode():
            features = self._heard(_long_enough(shipped_voice() if samples is None else samples))
            for seed in SEEDS:
                state = self.sampler.init_state(seed, chosen.range, style.reference)
                first, state = self.sampler.step(features, state)
                last, _ = self.sampler.flush(state)
                whole.append(torch.cat([first.packed(), last.packed()])[_STARTS:])
        return FaceMotion.unpack(torch.cat(whole).clone().cpu())

    def _heard(self, samples: Samples) -> Tensor:
        state = self.speech.init_state()
        features, state = self.speech.step(torch.from_numpy(samples), state)
        return torch.cat([features, self.speech.flush(state)])


def shipped_voice() -> Samples:
    """Read English, 10.8 s."""
    return read_audio(Path(str(resources.files("chatanyone"))) / "styles" / "data" / VOICE)


def _long_enough(samples: Samples) -> Samples:
    """Repeated up to `LEAST_S`, cut at `MOST_S`."""
    times = -(-int(LEAST_S * SAMPLE_RATE) // len(samples))
    return np.ascontiguousarray(np.tile(samples, times)[:int(MOST_S * SAMPLE_RATE)])

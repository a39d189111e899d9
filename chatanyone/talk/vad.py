"""Where the user's speech begins and ends: Silero VAD (MIT, the ONNX file of the `silero-vad` wheel) in windows of 32 ms.

The package itself is never imported (that would load torch and look for torchaudio); only its file is read. The network
says how likely each window holds a voice; two thresholds and two durations make events of that: voice begins after
`speech_ms` above the upper threshold and ends after `silence_ms` below the lower one. The gap between the thresholds, 0.15,
is Silero's; the durations are our choice. State is a value.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from chatanyone.errors import ConfigError
from chatanyone.timebase import SAMPLE_RATE_HZ

WINDOW = 512  # samples, 32 ms
_CONTEXT = 64  # samples of the window before, which the network sees too
_HYSTERESIS = 0.15
_PER_MS = SAMPLE_RATE_HZ // 1000


@dataclass(frozen=True)
class VadEvent:
    """Speech began or ended at `sample` of all that was heard (16 kHz); the end is where the last voice was."""

    kind: Literal["start", "stop"]
    sample: int


@dataclass(frozen=True)
class VadState:
    """Everything the detector remembers.

    net: ``[2, 1, 128]``; context: ``[64]``; rest: ``[< 512]``, samples short of a window
    position: samples judged; voiced: of the run of voice that has not become speech yet; speaking: inside speech
    voice_end: where the last window with a voice ended
    """

    net: NDArray[np.float32]
    context: NDArray[np.float32]
    rest: NDArray[np.float32]
    position: int = 0
    voiced: int = 0
    run_start: int = 0
    speaking: bool = False
    voice_end: int = 0


class Vad:
    """One for all conversations: the network holds no state and may be run from any thread.

    Args:
        speech_ms: voice shorter than this is not speech.

    Raises:
        ConfigError: the package `silero-vad` is missing.
    """

    def __init__(self, speech_ms: int = 64) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # 0.1 ms of work; threads would cost more
        options.log_severity_level = 3
        self._net = onnxruntime.InferenceSession(str(model_path()), options, providers=["CPUExecutionProvider"])
        self._speech = speech_ms * _PER_MS
        self._rate = np.array(SAMPLE_RATE_HZ, np.int64)

    def init_state(self, position: int = 0) -> VadState:
        """Nothing heard yet; the next sample has this position."""
        zeros = np.zeros((2, 1, 128), np.float32), np.zeros(_CONTEXT, np.float32), np.zeros(0, np.float32)
        return VadState(*zeros, position=position)

    def step(self, samples: NDArray[np.float32], state: VadState, *, threshold: float = 0.5, silence_ms: int = 500,
             floor: float = 0.0) -> tuple[list[VadEvent], VadState]:
        """What began or ended in `samples`, ``[any length]``, and the new state. Any chunking gives the same events.

        Args:
            threshold: probability from which a window is a voice.
            silence_ms: a pause this long ends speech.
            floor: windows whose root mean square is below this hold nobody's voice.
        """
        sound = np.concatenate([state.rest, np.nan_to_num(np.asarray(samples, np.float32)).clip(-1, 1)])
        whole = len(sound) // WINDOW * WINDOW
        events: list[VadEvent] = []
        state = replace(state, rest=sound[whole:].copy())
        for start in range(0, whole, WINDOW):
            window = sound[start:start + WINDOW]
            voice, state = self._judge(window, state)
            voice *= float(np.sqrt((window ** 2).mean()) >= floor)
            event, state = self._decide(voice, state, threshold, silence_ms * _PER_MS)
            events += [event] if event else []
        return events, state

    def _judge(self, window: NDArray[np.float32], state: VadState) -> tuple[float, VadState]:
        """The probability of a voice in one window."""
        heard = np.concatenate([state.context, window])[None]
        voice, net = self._net.run(None, {"input": heard, "state": state.net, "sr": self._rate})
        return float(voice[0, 0]), replace(state, net=net, context=window[-_CONTEXT:], position=state.position + WINDOW)

    def _decide(self, voice: float, state: VadState, threshold: float, silence: int) -> tuple[VadEvent | None, VadState]:
        lower = max(threshold - _HYSTERESIS, 0.01)
        if voice >= threshold or (voice >= lower and (state.voiced or state.speaking)):
            state = replace(state, voice_end=state.position)
        return self._inside(state, silence) if state.speaking else self._outside(voice, state, threshold, lower)

    def _outside(self, voice: float, state: VadState, threshold: float, lower: float) -> tuple[VadEvent | None, VadState]:
        if voice < lower:
            return None, replace(state, voiced=0)
        if voice < threshold:
            return None, state
        begun = state.position - WINDOW if not state.voiced else state.run_start
        state = replace(state, voiced=state.voiced + WINDOW, run_start=begun)
        if state.voiced < self._speech:
            return None, state
        return VadEvent("start", begun), replace(state, speaking=True, voiced=0)

    def _inside(self, state: VadState, silence: int) -> tuple[VadEvent | None, VadState]:
        if state.position - state.voice_end < silence:
            return None, state
        return VadEvent("stop", state.voice_end), replace(state, speaking=False, voiced=0)


def model_path() -> Path:
    """The ONNX file inside the installed `silero-vad` wheel; found without importing the package.

    Raises:
        ConfigError: it is not installed.
    """
    spec: Any = importlib.util.find_spec("silero_vad")
    path = Path(spec.submodule_search_locations[0]) / "data" / "silero_vad.onnx" if spec else None
    if path is None or not path.is_file():
        raise ConfigError("the voice detector needs the package silero-vad; install chatanyone[serve]")
    return path

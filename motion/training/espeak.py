"""espeak-ng in a process of its own: ``python -m motion.training.espeak`` speaks what arrives on its standard input.

espeak-ng is GPL-3; it is loaded here and nowhere else, and only text, numbers and samples cross the pipe. Request: one
JSON line ``{"text", "voice", "rate", "pitch", "range", "gap"}``. Answer: one JSON line ``{"rate_hz", "samples",
"phones": [[ms, ipa], ...]}`` or ``{"error"}``, then `samples` little-endian int16.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np

# Values of espeak-ng's speak_lib.h.
_RETRIEVAL, _PHONEME_EVENTS, _PHONEME_IPA, _UTF8 = 1, 1, 2, 1
_EVENT_END_OF_LIST, _EVENT_PHONEME = 0, 7
_PARAMETERS = {"rate": 1, "pitch": 3, "range": 4, "gap": 7}


@dataclass(frozen=True)
class SpeakRequest:
    """What to say and how: rate in words a minute (80-450), pitch and range 0-100, gap between words in 10 ms."""

    text: str
    voice: str
    rate: int = 175
    pitch: int = 50
    range: int = 50
    gap: int = 0


class _Identity(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int), ("identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_ms", ctypes.c_int), ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p), ("id", _Identity),
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class EspeakLibrary:
    """The loaded library. One per process: espeak-ng keeps global state."""

    def __init__(self) -> None:
        import espeakng_loader  # in here, so that only the worker process ever loads it

        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        path = str(espeakng_loader.get_data_path()).encode()
        self.rate_hz = int(self._lib.espeak_Initialize(_RETRIEVAL, 0, path, _PHONEME_EVENTS | _PHONEME_IPA))
        self._chunks: list[np.ndarray] = []
        self._phones: list[tuple[int, str]] = []
        self._callback = _CALLBACK(self._receive)  # kept: ctypes does not hold a reference
        self._lib.espeak_SetSynthCallback(self._callback)

    def _receive(self, wave: Any, count: int, events: Any) -> int:
        if wave and count > 0:
            self._chunks.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_END_OF_LIST:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                raw = ctypes.string_at(ctypes.addressof(event.id), 8).split(b"\0")[0]
                self._phones.append((int(event.audio_ms), raw.decode("utf-8", "ignore")))
            index += 1
        return 0

    def speak(self, request: SpeakRequest) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """Samples int16 at `rate_hz` and the phonemes as (start in ms, IPA); an empty IPA is a pause."""
        self._chunks, self._phones = [], []
        if self._lib.espeak_SetVoiceByName(request.voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {request.voice!r}; see `espeak-ng --voices` for those it has")
        for name, number in _PARAMETERS.items():
            self._lib.espeak_SetParameter(number, int(getattr(request, name)), 0)
        data = request.text.encode("utf-8") + b"\0"
        self._lib.espeak_Synth(data, len(data), 0, 1, 0, _UTF8, None, None)
        self._lib.espeak_Synchronize()
        samples = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)
        return samples, self._phones


def _answer(library: EspeakLibrary, line: bytes, output: BinaryIO) -> None:
    try:
        samples, phones = library.speak(SpeakRequest(**json.loads(line)))
    except (ValueError, TypeError) as error:
        output.write(json.dumps({"error": str(error)}).encode() + b"\n")
    else:
        header = {"rate_hz": library.rate_hz, "samples": len(samples), "phones": phones}
        output.write(json.dumps(header).encode() + b"\n" + samples.astype("<i2").tobytes())
    output.flush()


def request_line(request: SpeakRequest) -> bytes:
    """The request as it goes over the pipe."""
    return json.dumps(asdict(request)).encode() + b"\n"


def main() -> None:
    """Answer requests until the input ends."""
    # espeak-ng prints warnings to stdout; they must not land between the samples.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    library = EspeakLibrary()
    for line in sys.stdin.buffer:
        _answer(library, line, output)


if __name__ == "__main__":
    main()

"""Units → packets: H.264 or VP8 and Opus, coded once for all who look at a session.

Both time stamps derive from the unit's index alone: picture ``j`` of ``n`` in unit ``i`` is at ``12000·i + 12000·j/n``
ticks of 90 kHz, the unit's first sample at ``6400·i`` of 48 kHz. All numbers of the coders are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from chatanyone.stream.types import SOUND_HZ, UNIT_S, UNIT_SAMPLES, Unit

VideoCodec = Literal["h264", "vp8"]
VIDEO_HZ = 90_000
UNIT_TICKS = int(UNIT_S * VIDEO_HZ)  # 12000
SOUND_BLOCK = 960  # samples: 20 ms, one Opus packet
OPUS_LOOKAHEAD = 312  # samples by which libopus delays what it codes, at 48 kHz (its encoder's pre-skip)
# Blocks do not divide a unit: one that begins up to so many samples before a unit's end waits for the next unit. All
# sound leaves that much after its time, so that packets leave evenly.
SOUND_WAIT = 640
_BT709 = 1  # ITU-T H.273
_STEP = 0.2  # of VP8's rate; smaller changes are not worth a key frame


@dataclass(frozen=True)
class Packet:
    """One coded picture, or 20 ms of coded sound.

    pts: 90 kHz (video) or 48 kHz (sound), from the session's t0; may be negative by the coder's look-ahead
    due_s: seconds after t0 when it may leave
    key: everything from here on can be shown without what was before
    unit: whose content it is (its last sample's, for sound)
    """

    kind: Literal["video", "sound"]
    data: bytes
    pts: int
    due_s: float
    key: bool
    unit: int


class VideoEncoder:
    """Pictures of one size and rate → packets, each at once (no look-ahead, no reordering).

    Args:
        codec: h264 (constrained baseline, level 3.1 or what the size needs) or vp8.
        size: width, height, even, px.
        fps: pictures per second.
        kbps: bit rate aimed at; a key frame may use the rate of half a second.
        key_s: longest time between key frames.
    """

    def __init__(self, codec: VideoCodec, size: tuple[int, int], fps: Fraction, kbps: int, key_s: float) -> None:
        self.codec, self.size, self.fps = codec, size, fps
        self._convert = VideoReformatter()
        self._key_s = key_s
        self._context: Any = _open_video(codec, size, fps, kbps, key_s)

    def encode(self, frame: NDArray[np.uint8], pts: int, unit: int, key: bool = False) -> Packet:
        """One picture, RGB ``[H, W, 3]``."""
        picture = self._convert.reformat(
            av.VideoFrame.from_ndarray(frame, format="rgb24"), format="yuv420p",
            dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        picture.pts, picture.time_base = pts, Fraction(1, VIDEO_HZ)
        picture.pict_type = PictureType.I if key else PictureType.NONE
        made = self._context.encode(picture)
        return Packet("video", b"".join(bytes(part) for part in made), pts, pts / VIDEO_HZ,
                      any(part.is_keyframe for part in made), unit)

    @property
    def kbps(self) -> int:
        """Bit rate aimed at; may be changed between pictures."""
        return int(self._context.bit_rate) // 1000

    @kbps.setter
    def kbps(self, value: int) -> None:
        if self.codec == "h264":
            self._context.bit_rate = value * 1000  # x264 follows at the next picture
        elif abs(value - self.kbps) > _STEP * self.kbps:  # libvpx must be opened again, which costs a key frame
            self._context = _open_video(self.codec, self.size, self.fps, value, self._key_s)


class SoundEncoder:
    """Sound of units → Opus packets of 20 ms, mono; losses up to a tenth are covered by in-band error correction."""

    def __init__(self, kbps: int) -> None:
        self._context: Any = _open_sound(kbps)
        self._kept = np.empty(0, np.int16)
        self._position = 0  # of the first kept sample, from t0

    def encode(self, sound: NDArray[np.int16], unit: int) -> list[Packet]:
        """What can be coded now; up to 13⅓ ms wait for the next unit. A missing unit is a gap in the time stamps."""
        packets = self._meet(unit)
        self._kept = np.concatenate([self._kept, sound])
        while len(self._kept) >= SOUND_BLOCK:
            packets.append(self._block(self._kept[:SOUND_BLOCK], unit))
            self._kept = self._kept[SOUND_BLOCK:]
        return packets

    def _meet(self, unit: int) -> list[Packet]:
        """Ends the block before a gap with silence and goes on after it."""
        start = unit * UNIT_SAMPLES
        if start == self._position + len(self._kept):
            return []
        packets = []
        if len(self._kept):
            packets.append(self._block(np.pad(self._kept, (0, SOUND_BLOCK - len(self._kept))), unit))
        self._kept, self._position = np.empty(0, np.int16), start
        return packets

    def _block(self, samples: NDArray[np.int16], unit: int) -> Packet:
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SOUND_HZ, self._position
        frame.time_base = Fraction(1, SOUND_HZ)
        data = b"".join(bytes(part) for part in self._context.encode(frame))
        begins, self._position = self._position, self._position + SOUND_BLOCK
        return Packet("sound", data, begins - OPUS_LOOKAHEAD, (begins + SOUND_WAIT) / SOUND_HZ, True, unit)


def picture_pts(unit: Unit) -> list[int]:
    """Time stamps of a unit's pictures, 90 kHz."""
    count = len(unit.frames)
    return [unit.index * UNIT_TICKS + UNIT_TICKS * j // count for j in range(count)]


def fair_kbps(size: tuple[int, int], fps: Fraction, kbps_full: int) -> int:
    """The configured rate is for 512 x 768 at 30; smaller sessions take less, by the square root of pixels a second:
    halving both sides loses detail, but edges stay."""
    part = size[0] * size[1] * float(fps) / (512 * 768 * 30)
    return max(100, round(kbps_full * min(1.0, part) ** 0.5))


def _open_video(codec: VideoCodec, size: tuple[int, int], fps: Fraction, kbps: int, key_s: float) -> Any:
    context: Any = av.CodecContext.create({"h264": "libx264", "vp8": "libvpx"}[codec], "w")
    context.width, context.height = size
    context.pix_fmt = "yuv420p"
    context.framerate, context.time_base = fps, Fraction(1, VIDEO_HZ)
    context.bit_rate = kbps * 1000
    context.gop_size = max(1, round(key_s * fps))
    context.thread_count = 1  # the renderer needs the other cores
    if codec == "h264":
        # Players guess the matrix by picture height if it is not said, and skin turns green or red.
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = ColorRange.MPEG
        context.profile = "Baseline"
        context.options = {"preset": "veryfast", "tune": "zerolatency", "forced-idr": "1",
                           "maxrate": str(kbps * 1000), "bufsize": str(kbps * 500)}
    else:
        context.qmin, context.qmax = 2, 56
        context.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "error-resilient": "default",
                           "minrate": str(kbps * 1000), "maxrate": str(kbps * 1000), "bufsize": str(kbps * 1000),
                           "undershoot-pct": "100", "overshoot-pct": "15"}
    context.open()
    return context


def _open_sound(kbps: int) -> Any:
    context: Any = av.CodecContext.create("libopus", "w")
    context.sample_rate, context.format, context.layout = SOUND_HZ, "s16", "mono"
    context.bit_rate = kbps * 1000
    context.time_base = Fraction(1, SOUND_HZ)
    context.options = {"application": "audio", "frame_duration": "20", "fec": "1", "packet_loss": "10"}
    context.open()
    return context

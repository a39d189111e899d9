"""Samples → log mel → features, as graphs that carry their state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chatanyone.export.graphs import NEXT, Graph, Port
from motion.audio.encoder import SILENT_MEL, AudioEncoder, EncoderState
from motion.audio.features import AudioStream
from motion.audio.mel import HALF, HOP, N_FFT, SAMPLE_RATE, mel_filters, normalise_stream
from motion.audio.resample import ROW_SAMPLES

DIGIT, DIGITS = 256, 3  # a position is a number of so many digits to this base: 93 hours of rows at 50 Hz


class MelGraph(nn.Module):
    """Samples ``[B, N]`` → normalised log mel ``[B, J, M]``: the windows' Fourier transform is a matrix product here, so that
    no runtime needs one."""

    cosine: Tensor
    sine: Tensor
    filters: Tensor

    def __init__(self, block: int, n_mels: int) -> None:
        super().__init__()
        self.block = block
        n = torch.arange(N_FFT, dtype=torch.float64)[:, None]
        angle = 2 * torch.pi * ((n * torch.arange(HALF + 1)) % N_FFT) / N_FFT
        window = torch.hann_window(N_FFT, dtype=torch.float64)[:, None]
        self.register_buffer("cosine", (window * angle.cos()).float())
        self.register_buffer("sine", (window * angle.sin()).float())
        self.register_buffer("filters", mel_filters(n_mels))

    def forward(self, samples: Tensor) -> Tensor:
        windows = torch.stack([samples[:, i * HOP:i * HOP + N_FFT] for i in range(self.block)], dim=1)
        power = (windows @ self.cosine).square() + (windows @ self.sine).square()
        return normalise_stream((power @ self.filters).clamp(min=1e-10).log10())


class RotaryDigits(nn.Module):
    """`motion.audio.encoder.rotary_table` of positions that are a tensor: the angle of each digit of the position is looked
    up, and the angles are added. Exact to float32 at any position, without the double precision many runtimes lack."""

    table: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        rates = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        digits = torch.arange(DIGIT, dtype=torch.float64)[:, None] * rates
        angles = torch.stack([digits * DIGIT**place for place in range(DIGITS)])
        self.register_buffer("table", torch.stack([angles.cos(), angles.sin()], dim=1).float())

    def forward(self, position: Tensor) -> Tensor:
        """Positions ``[T]`` (int64) → cosine and sine ``[2, T, width / 2]``."""
        cosine, sine = self.table[0][:, position % DIGIT]
        for place in range(1, DIGITS):
            c, s = self.table[place][:, position // DIGIT**place % DIGIT]
            cosine, sine = cosine * c - sine * s, sine * c + cosine * s
        return torch.stack([cosine, sine])


class AudioGraph(nn.Module):
    """One block of `AudioEncoder.step`."""

    def __init__(self, encoder: AudioEncoder) -> None:
        super().__init__()
        self.encoder, self.rotary = encoder, RotaryDigits(encoder.dim // encoder.heads)

    def forward(self, mel: Tensor, mel_past: Tensor, stem: Tensor, cache: Tensor, energy: Tensor, position: Tensor,
                ) -> tuple[Tensor, ...]:
        table = self.rotary(position + torch.arange(self.encoder.block))
        features, after = self.encoder.advance(mel, EncoderState(mel_past, stem, cache, energy, position), table,
                                               self.encoder.step_mask(position))
        return features, after.mel, after.stem, after.cache, after.energy, after.position


def speech_graphs(speech: AudioStream) -> list[Graph]:
    """Of the shipped kind of encoder."""
    net = speech.encoder
    frames, state = 2 * net.block, net.init_state()
    samples = N_FFT + (frames - 1) * HOP
    past = (
        Port("mel_past", ("batch", 2, net.n_mels), "mel frames before these", start=SILENT_MEL),
        Port("stem", ("batch", 1, net.dim), "last row between the convolutions", start=0.0),
        Port("cache", (len(net.blocks), 2, "batch", *state.cache.shape[3:]), "keys and values of the last rows", start=0.0),
        Port("energy", ("batch", net.delay, 1), "log energy of the last rows, mel scale", start=SILENT_MEL),
        Port("position", (1,), f"rows so far, below {DIGIT**DIGITS}", "int64", start=0, span=(0, DIGIT**DIGITS - net.block)),
    )
    mel = Port("mel", ("batch", frames, net.n_mels), "log mel, (log10 power + 4) / 4, clamped to -0.5 from below",
               span=(SILENT_MEL, 1.5))
    constants = {
        "sample_rate_hz": SAMPLE_RATE, "fps": [speech.fps.numerator, speech.fps.denominator], "lead_samples": HALF,
        "block_samples": samples, "advance_samples": frames * HOP, "row_samples": ROW_SAMPLES, "skip_rows": net.delay}
    return [
        Graph("mel", "audio", ("audio_encoder",), "samples to log mel", MelGraph(frames, net.n_mels),
              (Port("samples", ("batch", samples), "sound, mono in [-1, 1], 16 kHz", span=(-1, 1)),), (mel,),
              {"batch": (1, 3)}),
        Graph("audio", "audio", ("audio_encoder",), "log mel to speech features, 40 ms a call", AudioGraph(net), (mel, *past),
              (Port("features", ("batch", net.block, net.feature_dim),
                    f"features at 50 Hz, {net.delay} rows late; the last two channels: somebody speaks 0 to 1, log energy"),
               *(Port(NEXT + port.name, port.axes, port.meaning, port.dtype) for port in past)),
              {"batch": (1, 3)}, constants)]

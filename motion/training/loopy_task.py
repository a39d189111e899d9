"""What `LoopyDenoiser` learns: the face stage's windows, with the long past before them and movement in place of sound.

Two stages, as the paper's section 3.4: the face net without the additions is trained first (`face_task.py`), the second begins
with its weights. Ours: what the first stage learned stays as it is, unless `whole`; only the additions are taught.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from motion.face import FaceDenoiser
from motion.loopy.latents import SOURCES, Movement
from motion.loopy.net import LoopyDenoiser
from motion.loopy.segments import segment_frames
from motion.training.face_task import ConditionDropout, FaceTask, out_of_manner
from motion.training.motion_data import ClipStore
from motion.training.sizes import complete

# Chance that the long past, and the latents beside the audio's own chance, show nothing; the paper drops motion frames and its
# audio conditions as well, how often is not known to us.
PAST_DROPOUT, LATENTS_DROPOUT = 0.4, 0.1
# Oftener than in the first stage: what nobody tells the net is what the past can tell (our choice).
DROPOUT = ConditionDropout(controls=0.25, expression=0.3, pose=0.3)
PAST_NOISE = 0.04  # deviations at most, as of the previous motion: in use it is the net's own


class LoopyTask(FaceTask):
    """`chatanyone.training.Task` of the `LoopyDenoiser`.

    Args:
        store, held_out, batch: as of `FaceTask`; clips should be longer than the segments reach.
        base: tensors of the face net, or of an earlier Loopy, to begin with; its moments included.
        config: keyword arguments of the net.
        whole: teach the face net's weights as well.
        further: as of `FaceTask`.
    """

    kind = "loopy"

    def __init__(self, store: ClipStore, held_out: ClipStore, base: Mapping[str, Tensor], *, batch: int = 192,
                 config: dict[str, Any] | None = None, whole: bool = False, **further: Any) -> None:
        super().__init__(store, held_out, batch=batch, config=config, **{"dropout": DROPOUT, **further})
        self.config = complete(LoopyDenoiser, self.config)
        self.base, self.whole = {name: value.float() for name, value in base.items()}, whole
        self.frames = segment_frames(*(int(self.config[name]) for name in ("stride", "expand", "segments")))

    def build(self) -> LoopyDenoiser:
        """The base's net with additions that change nothing yet."""
        net = LoopyDenoiser(**self.config)
        missing = set(net.load_state_dict(self.base, strict=False).missing_keys)
        added = set(net.added())
        if missing - added:
            raise ValueError(f"Expected weights of a face net of these sizes to begin with; they lack {min(missing - added)}.")
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(self.whole or name in added)
        return net

    def _more(self, clip: Tensor, frame: Tensor) -> dict[str, Tensor]:
        """The long past before each window, and as seen a hop earlier, ``[B, L, 58]``; rest before the clip."""
        return {"past": self._past(clip, frame), "past_before": self._past(clip, frame - self.hop)}

    def _past(self, clip: Tensor, frame: Tensor) -> Tensor:
        at = frame[:, None] - 1 - self.frames
        rows = self.store.data["face"][(self.store.first[clip][:, None] + at).clamp(min=0)].float()
        return torch.where((at >= 0)[..., None], rows, 0)

    def _given(self, model: FaceDenoiser, batch: dict[str, Tensor], motion: Tensor, rows: int | None = None) -> dict[str, Any]:
        if rows is not None:
            return {"past": model.normalise(batch["past_before"][:rows])}
        past = model.normalise(batch["past"])
        if "reference" in batch:
            past = out_of_manner(past, model.normalise_expression(batch["reference"]).mean(1))
        heard = motion[:, -self.audio_past - self.window:]
        source = torch.randint(len(SOURCES), (len(motion),), device=motion.device)
        strength = PAST_NOISE * torch.rand(len(past), 1, 1, device=past.device)
        return {"past": past + strength * torch.randn_like(past), "movement": Movement.of(heard, source)}

    def _kept(self, batch: int, device: torch.device) -> dict[str, Tensor]:
        chances = {"past": PAST_DROPOUT, "latents": LATENTS_DROPOUT}
        return super()._kept(batch, device) | {
            name: torch.rand(batch, device=device) >= chance for name, chance in chances.items()}

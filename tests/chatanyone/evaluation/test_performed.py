from __future__ import annotations

import pytest
import torch

from chatanyone.evaluation import performed
from motion.style import style_range


def test_a_person_keeps_the_manner_and_changes_the_words() -> None:
    pytest.importorskip("espeakng_loader")
    person = performed.pair(3)
    frames = int(performed.SECONDS * 30)
    assert person.target.expression.shape == person.reference.expression.shape == (frames, 52)
    assert len(person.samples) == performed.SECONDS * 16000 and abs(person.samples).max() > 0.05
    assert (person.target.expression - person.reference.expression).abs().mean() > 0.01  # other words
    here, there = (style_range(motion).expression for motion in (person.target, person.reference))
    assert here is not None and there is not None
    others = style_range(performed.pair(4).target).expression
    assert others is not None
    assert (here - there).abs().sum() < (here - others).abs().sum()  # the same manner
    assert torch.equal(performed.pair(3).target.rotation, person.target.rotation)

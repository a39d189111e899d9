from __future__ import annotations

from pathlib import Path

import pytest

from chatanyone.config import Config, load_config
from motion.template.head import HeadTemplate
from tests.helpers.template_person import template_portrait

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """Tiny untrained nets on one thread."""
    return load_config(CONFIGS / "debug.yaml")


@pytest.fixture(scope="session")
def portrait_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared portrait of 128 × 192 pixels, whose face is the template's."""
    path = tmp_path_factory.mktemp("portrait") / "template.safetensors"
    template_portrait(HeadTemplate.load()).save(path)
    return path

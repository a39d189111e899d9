"""How fine-tuning trains unless told otherwise. Our choice: small steps from the shipped weights, and a stop in time."""

from __future__ import annotations

from typing import Any

_COMMON: dict[str, Any] = dict(warmup_steps=50, weight_decay=0.0, ema_decay=0.99, segment_steps=50, log_every=25,
                               save_minutes=1.0, patience=6)
DEFAULTS: dict[str, dict[str, Any]] = {
    "motion-face": {**_COMMON, "steps": 3000, "batch": 64, "learning_rate": 3e-5, "validate_every": 100},
    "render": {**_COMMON, "steps": 2000, "learning_rate": 5e-4, "ema_decay": 0.995, "validate_every": 200},
}

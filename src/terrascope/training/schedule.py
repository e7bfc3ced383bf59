"""The learning rate's course: of recipes, and of the dense pre-training of `nano`."""

from __future__ import annotations

import math
from typing import Literal

Course = Literal["cosine", "linear", "constant"]


def cosine_rate(step: int, num_steps: int, *, warmup_steps: int, floor: float = 0.02) -> float:
    """Share (0-1) of the peak rate at a step: a linear warm-up times half a cosine that falls from 1 to `floor`."""
    progress = min(1.0, step / num_steps)
    return min(1.0, (step + 1) / warmup_steps) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))


def rate_share(step: int, *, num_steps: int, num_warmup: int, course: Course) -> float:
    """Share (0-1) of the peak rate at a step, from 0: a linear warm-up that begins above zero, then half a cosine or a
    line that falls to zero, or the peak itself."""
    if step < num_warmup:
        return (step + 1) / num_warmup
    if course == "constant":
        return 1.0
    progress = min(1.0, (step - num_warmup) / max(1, num_steps - num_warmup))
    return 1 - progress if course == "linear" else 0.5 * (1 + math.cos(math.pi * progress))

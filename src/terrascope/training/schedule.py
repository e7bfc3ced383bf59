"""The learning rate's course, the same in all stages."""

from __future__ import annotations

import math


def cosine_rate(step: int, num_steps: int, *, warmup_steps: int, floor: float = 0.02) -> float:
    """Share (0-1) of the peak rate at a step: a linear warm-up times half a cosine that falls from 1 to `floor`."""
    progress = min(1.0, step / num_steps)
    return min(1.0, (step + 1) / warmup_steps) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))

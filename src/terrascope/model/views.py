"""How a scene larger than the model's view is covered by overlapping views, and what each counts where they overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Axis:
    """Views of `size` pixels along one axis of `length` pixels, at least `overlap` of them shared by neighbours.

    The views lie at even steps, the first at the one edge and the last at the other.
    """

    length: int
    view: int
    overlap: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.view:
            raise ValueError(f"views of {self.view} pixels cannot overlap by {self.overlap}")

    @property
    def size(self) -> int:
        """Pixels of a view: those asked for, or all where there are fewer."""
        return min(self.view, self.length)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First pixel of each view, increasing."""
        num = max(1, math.ceil((self.length - self.overlap) / (self.view - self.overlap)))
        return tuple(int(start) for start in np.linspace(0, self.length - self.size, num).round())

    def slice(self, view: int) -> slice:
        """The pixels of a view."""
        return slice(self.starts[view], self.starts[view] + self.size)

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """float32 `[views, size]`: what each pixel of each view counts; over all views a pixel's weights sum to 1.

        A view counts most in its middle and least at a border that a neighbour overlaps, where it sees the least of
        what surrounds a pixel. At the edge of the scene, which no neighbour covers, it counts fully.
        """
        last = len(self.starts) - 1
        from_start = np.arange(self.size) + 0.5
        ramps = np.ones((last + 1, self.size))
        for number in range(last + 1):
            if number > 0:
                ramps[number] = np.minimum(ramps[number], from_start / max(self.overlap, 1))
            if number < last:
                ramps[number] = np.minimum(ramps[number], from_start[::-1] / max(self.overlap, 1))
        total = np.zeros(self.length)
        for number, ramp in enumerate(ramps):
            total[self.slice(number)] += ramp
        shares = [ramp / total[self.slice(number)] for number, ramp in enumerate(ramps)]
        return np.stack(shares).astype(np.float32)

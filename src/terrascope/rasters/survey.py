"""One pass over a whole image: which pixels are valid, whether the numbers can be what they claim, and an overview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from terrascope.rasters.grids import Part
from terrascope.rasters.layers import LayerReader, Measured, NumberRange, OpenPath, measure
from terrascope.rasters.plausibility import check_decibels
from terrascope.rasters.registry import Sensor
from terrascope.rasters.windows import Mask, both
from terrascope.reduction import Reduced, Reduction, reduced_size
from terrascope.scene import OVERVIEW_SIDE

_SAMPLED_DECIBELS = 4_000_000
"""Values of backscatter that are kept to see whether they can be decibels: all of a small image."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one part of an image adds to the survey."""

    stored: list[NumberRange]
    decibels: NDArray[np.float32] | None
    summed: tuple[Part, NDArray[np.float32], NDArray[np.float32]] | None


class Survey:
    """What is found out of an image part by part. Threads may `look` at parts at a time; `take` is for one thread.

    Attributes:
        valid: bool `[H, W]`.
        pixels: float32 `[bands, H, W]`, 0 outside `valid`, if they are kept.
    """

    def __init__(
        self,
        readers: Sequence[LayerReader],
        quality: Sequence[tuple[LayerReader, int]],
        sensor: Sensor,
        shape: tuple[int, int],
        *,
        keep: bool,
    ) -> None:
        """`quality` are layers with the code that says "not measured"; `keep` is whether the pixels are kept."""
        self._readers, self._quality, self._sensor = readers, quality, sensor
        self.valid = np.zeros(shape, bool)
        self.pixels = np.empty((len(readers), *shape), np.float32) if keep else None
        size = reduced_size(shape, OVERVIEW_SIDE)
        # An image that is not kept would need another pass for its overview.
        self._reduction = Reduction(len(readers), shape, size) if not keep and size != shape else None
        self._ranges = [NumberRange() for _ in readers]
        self._decibels: list[NDArray[np.float32]] = []
        self._step = max(1, round((len(readers) * shape[0] * shape[1] / _SAMPLED_DECIBELS) ** 0.5))

    def look(self, part: Part, open_path: OpenPath) -> Look:
        """Read a part of the image."""
        rows, columns = part
        sides = rows.stop - rows.start, columns.stop - columns.start
        numbers = np.empty((len(self._readers), *sides), np.float32)
        if self.pixels is not None:
            numbers = self.pixels[:, rows, columns]
        found = measure(self._readers, part, open_path, numbers)
        valid = self._valid_of(found, sides)
        for reader, unmeasured in self._quality:
            valid = both(valid, ~reader.equals(unmeasured, part, open_path))
        self.valid[part] = True if valid is None else valid
        decibels = []
        for band, known in zip(numbers, found, strict=True):
            seen = both(valid, known.seen)
            set_to_zero(band, seen)
            if self._sensor.modality == "sar" and not self._sensor.is_8bit:
                thin = tuple(slice(-side.start % self._step, None, self._step) for side in part)
                decibels.append(band[thin].ravel() if seen is None else band[thin][seen[thin]])
        return Look(
            stored=[known.stored for known in found],
            decibels=np.concatenate(decibels) if decibels else None,
            summed=None if self._reduction is None else self._reduction.summed(part, numbers, self.valid[part]),
        )

    def take(self, look: Look) -> None:
        """Take up what was seen; in one order always, so that sums come out the same."""
        for stored, more in zip(self._ranges, look.stored, strict=True):
            stored.join(more)
        if look.decibels is not None:
            self._decibels.append(look.decibels)
        if self._reduction is not None and look.summed is not None:
            self._reduction.add(*look.summed)

    def check(self, source: str, open_path: OpenPath) -> None:
        """Refuse an image whose numbers cannot be what its sensor stores.

        Raises:
            SceneError: they cannot.
        """
        for reader, stored in zip(self._readers, self._ranges, strict=True):
            reader.check(stored, source, open_path)
        if self._decibels:
            check_decibels(np.concatenate(self._decibels), source)

    def reduced(self, bands: Sequence[int]) -> Reduced | None:
        """The overview of the bands, which have these numbers in the image; None for an image that needs none."""
        return None if self._reduction is None else self._reduction.result(bands, self.valid)

    def _valid_of(self, found: Sequence[Measured], shape: tuple[int, int]) -> Mask | None:
        seen = [known.seen for known in found]
        if not self._sensor.is_8bit:
            valid = reduce(both, seen, None)
        elif any(mask is None for mask in seen):
            valid = None
        else:
            # In an 8-bit picture a 0 in one channel is a dark colour, even where the file declares 0 to be nodata.
            valid = np.logical_or.reduce([mask for mask in seen if mask is not None], axis=0) if seen else None
        fills = [known.is_fill for known in found if known.is_fill is not None]
        if len(fills) == len(found) and fills:
            valid = both(valid, ~np.logical_and.reduce(fills, axis=0))
        return valid


def set_to_zero(numbers: NDArray[np.float32], seen: Mask | None) -> None:
    """In place, everywhere but where `seen` is True; None is everywhere."""
    if seen is not None:
        np.copyto(numbers, 0, where=~seen)

"""Images made smaller part by part: each pixel of the result is the mean of the valid pixels below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Part = tuple[slice, slice]


def reduced_size(shape: tuple[int, int], max_side: int) -> tuple[int, int]:
    """(height, width) of an image that is reduced until no side is longer than `max_side`; not enlarged."""
    factor = max(1.0, max(shape) / max_side)
    height, width = (max(1, round(side / factor)) for side in shape)
    return height, width


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduced:
    """A reduced image: pixels float32 `[bands, h, w]`, 0 outside of `valid`, bool `[h, w]`.

    `bands` are the numbers of the bands, and `source_valid` the valid mask of the image that was reduced.
    """

    pixels: NDArray[np.float32]
    valid: NDArray[np.bool_]
    bands: tuple[int, ...]
    source_valid: NDArray[np.bool_]

    def pixels_of(
        self, bands: Sequence[int], size: tuple[int, int], source_valid: NDArray[np.bool_]
    ) -> NDArray[np.float32] | None:
        """The pixels of these bands, if this is the reduction to this size of an image with this very mask."""
        is_it = self.valid.shape == size and self.source_valid is source_valid and set(bands) <= set(self.bands)
        return self.pixels[[self.bands.index(band) for band in bands]] if is_it else None


class Reduction:
    """Gathers the means over the cells of a coarser grid. Parts may come in any order and cut through cells."""

    def __init__(self, num_bands: int, shape: tuple[int, int], size: tuple[int, int]) -> None:
        """`shape` is (height, width) of the image and `size` that of the result."""
        self._edges = [np.arange(n + 1) * side // n for n, side in zip(size, shape, strict=True)]
        self._sums = np.zeros((num_bands, *size), np.float32)
        self._counts = np.zeros(size, np.float32)

    def summed(
        self, part: Part, pixels: NDArray[np.float32], valid: NDArray[np.bool_]
    ) -> tuple[Part, NDArray[np.float32], NDArray[np.float32]]:
        """What a part adds: the cells that it touches, sums float32 `[bands, h, w]` over them, and counts `[h, w]`.

        Args:
            part: rows and columns of the image.
            pixels: float32 `[bands, rows, columns]` of the part. valid: bool `[rows, columns]`.
        """
        (rows, row_starts), (columns, column_starts) = map(_cells, self._edges, part)
        if valid.all():
            sizes = [
                np.diff([*starts, side]) for starts, side in zip((row_starts, column_starts), valid.shape, strict=True)
            ]
            counts = np.multiply.outer(*sizes).astype(np.float32)
        else:
            pixels = np.where(valid, pixels, np.float32(0))
            counts = _block_sums(valid[None].astype(np.float32), row_starts, column_starts)[0]
        return (rows, columns), _block_sums(pixels, row_starts, column_starts), counts

    def add(self, cells: Part, sums: NDArray[np.float32], counts: NDArray[np.float32]) -> None:
        """Take up what `summed` made of a part."""
        with np.errstate(over="ignore", invalid="ignore"):
            self._sums[:, *cells] += sums
        self._counts[cells] += counts

    def result(self, bands: Sequence[int], source_valid: NDArray[np.bool_]) -> Reduced:
        """The reduced image, after which nothing can be added; the arguments are as in `Reduced`."""
        np.divide(self._sums, np.maximum(self._counts, 1), out=self._sums)
        # Numbers near the end of float32, which nobody measured, have no sum.
        finite = np.isfinite(self._sums).all(axis=0)
        np.copyto(self._sums, 0, where=~finite)
        return Reduced(
            pixels=self._sums,
            valid=(self._counts > 0) & finite,
            bands=tuple(bands),
            source_valid=source_valid,
        )


def _cells(edges: NDArray[np.integer], span: slice) -> tuple[slice, NDArray[np.integer]]:
    """The cells that rows or columns lie in, and where in the span each begins."""
    first = int(np.searchsorted(edges, span.start, side="right")) - 1
    last = int(np.searchsorted(edges, span.stop, side="left"))
    return slice(first, last), np.maximum(edges[first:last], span.start) - span.start


def _block_sums(
    numbers: NDArray[np.float32], rows: NDArray[np.integer], columns: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Sums float32 over the blocks of `numbers` `[bands, rows, columns]` that begin at these rows and columns."""
    bands, height, width = numbers.shape
    sums = np.empty((bands, len(rows), width), np.float32)
    # `np.add.reduceat` takes many times as long along this axis.
    with np.errstate(over="ignore", invalid="ignore"):
        for number, (top, bottom) in enumerate(zip(rows, [*rows[1:], height], strict=True)):
            np.add.reduce(numbers[:, top:bottom], axis=1, out=sums[:, number])
        return np.add.reduceat(sums, columns, axis=2)

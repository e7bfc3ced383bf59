"""A mask with what a file or picture says about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import OutputError


@dataclass(frozen=True, kw_only=True, eq=False)
class NamedMask:
    """One mask to be written.

    Attributes:
        name: band description and title.
        mask: bool `[H, W]`, True where the step looked.
        valid: bool `[H, W]`, True where the scene was measured; elsewhere the mask says nothing.
        color: red, green, blue, 0-255.
        properties: what is known of it: `step`, `text`, `image` (from 1), `coverage` (0-1), `area_m2`, `confidence`.
    """

    name: str
    mask: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    color: tuple[int, int, int]
    properties: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mask.shape != self.valid.shape or self.mask.ndim != 2:
            raise OutputError(
                f"mask {self.name!r} {self.mask.shape} and its valid mask {self.valid.shape} must share a grid"
            )

    @property
    def inside(self) -> NDArray[np.bool_]:
        """bool `[H, W]`: True where the mask is and the scene was measured."""
        return self.mask & self.valid

    def reduced(self, size: tuple[int, int]) -> NamedMask:
        """The mask on the coarser grid of an overview of `size` (height, width), for pictures.

        A pixel is in the mask, or valid, if any of the pixels below it is: so nothing is too small to be seen.
        """
        if size == self.mask.shape:
            return self
        return replace(self, mask=_any_below(self.inside, size), valid=_any_below(self.valid, size))


def check_one_grid(path: Path, masks: Sequence[NamedMask]) -> tuple[int, int]:
    """(height, width) of masks that go into one file.

    Raises:
        OutputError: there is no mask, or the masks differ in size.
    """
    if not masks:
        raise OutputError(f"{path}: there is no mask to write; a file of masks needs at least one")
    sizes = {mask.mask.shape for mask in masks}
    if len(sizes) > 1:
        raise OutputError(f"{path}: masks of one file must share a grid, but their sizes are {sorted(sizes)}")
    height, width = masks[0].mask.shape
    return height, width


def printable(text: str) -> str:
    """The text on one line, without control characters and lone surrogates, which files and typefaces cannot hold."""
    return "".join(c if c.isprintable() else " " for c in text)


def _any_below(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    # The blocks of `Observation.overview`, so that mask and picture lie on each other.
    rows, columns = (np.arange(n) * side // n for n, side in zip(size, mask.shape, strict=True))
    any_in_rows = np.logical_or.reduceat(mask, rows, axis=0)
    return np.asarray(np.logical_or.reduceat(any_in_rows, columns, axis=1), np.bool_)

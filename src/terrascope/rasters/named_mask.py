"""A mask with what a file or picture says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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

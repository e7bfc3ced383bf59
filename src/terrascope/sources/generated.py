"""Generated scenes as a source: as many chips as are asked for, each with its exact truth."""

from __future__ import annotations

from dataclasses import dataclass

from terrascope.errors import SceneError
from terrascope.sources.chips import Chip, Entry, Index
from terrascope.sources.synthetic import make_sample

FIRST_SEED = {"train": 0, "val": 1_000_000, "test": 3_000_000}
"""Seeds of a split start here; those of the demonstration and of tests lie elsewhere."""

SCENE_KINDS = ("country", "town")

SIZES = (16, 4096)
"""Edges of generated scenes, least and most: smaller ones hold no object, larger ones no memory."""


@dataclass(frozen=True, kw_only=True)
class Generated:
    """Scenes of `terrascope.sources.synthetic`; the key of a chip is its seed.

    Attributes:
        num: chips of each split.
        size: edge of a scene in pixels, from 16 to 4096.
        cloudy: whether clouds hide part of the optical images; drawn when None.
        kind: `country` or `town`; drawn when None.
        num_dates: 1 or 2; drawn when None.

    Raises:
        SceneError: the size, the kind or the number of dates is another.
    """

    num: int
    size: int = 256
    cloudy: bool | None = False
    kind: str | None = None
    num_dates: int | None = None
    name: str = "synthetic"

    def __post_init__(self) -> None:
        low, high = SIZES
        if not low <= self.size <= high:
            raise SceneError(f"generated scenes have from {low} to {high} pixels a side, got size={self.size}")
        if self.kind not in (None, *SCENE_KINDS):
            raise SceneError(f"generated scenes are of the kind {' or '.join(SCENE_KINDS)}, got kind={self.kind}")
        if self.num_dates not in (None, 1, 2):
            raise SceneError(f"generated scenes have 1 or 2 dates, got num_dates={self.num_dates}")

    def index(self, split: str) -> Index:
        """`num` chips; every one is a place of its own."""
        first = _first_seed(split)
        return Index(entries=tuple(Entry(str(seed), str(seed)) for seed in range(first, first + self.num)))

    def read(self, key: str) -> Chip:
        """Generate the chip of a seed."""
        sample = make_sample(int(key), size=self.size, kind=self.kind, num_dates=self.num_dates, cloudy=self.cloudy)
        return Chip(
            source=self.name, key=key, place=key, split=_split_of(int(key)), scene=sample.scene, labels=sample.labels
        )


def _first_seed(split: str) -> int:
    if split not in FIRST_SEED:
        raise SceneError(f"generated scenes have no split {split!r}; choose one of {', '.join(FIRST_SEED)}")
    return FIRST_SEED[split]


def _split_of(seed: int) -> str:
    return max((first, split) for split, first in FIRST_SEED.items() if first <= seed)[1]

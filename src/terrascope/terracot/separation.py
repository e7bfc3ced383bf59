"""Training and benchmark apart by place: no scene of the one may show what a scene of the other shows.

Two chips show the same where they are of one place of one data set, now or before they were exported and read again,
where their images or label maps have the same content, whatever they are called, or where their footprints overlap on
the ground, whatever data set they are of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import shapely

from terrascope.errors import SampleError
from terrascope.terracot.plan import PlannedChip
from terrascope.terracot.record import ChipRecord, LonLat, box_around
from terrascope.terracot.store import open_store

_SIDE_BY_SIDE = 0.02
"""Footprints that overlap by less than this share of a side lie side by side: they are corners, not exact outlines."""


class SeparationError(SampleError):
    """A training scene shows what a benchmark scene shows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Benchmark:
    """The scenes that no training scene may show, and where they are listed, for messages."""

    origin: str
    chips: tuple[ChipRecord, ...]

    @classmethod
    def open(cls, path: Path) -> Benchmark:
        """The scenes of a data set in a folder, or of a Parquet file of samples.

        Samples of other programs say only where the centre of a scene lies: such scenes are told by their place, and by
        a box around their centre.

        Raises:
            SampleError: there is no data set, it cannot be read, or it has no scene.
        """
        store = open_store(path)
        chips = {(record.source, record.key): record for record in store.chips()}
        if not chips:
            for row in store.rows(columns=("source", "key", "place", "lon", "lat", "gsd_m", "height", "width")):
                center = None if row["lon"] is None or row["lat"] is None else (row["lon"], row["lat"])
                chips[row["source"], row["key"]] = ChipRecord(
                    source=row["source"],
                    key=row["key"],
                    place=row["place"],
                    footprint=box_around(center, row["gsd_m"], (row["height"], row["width"])),
                )
        if not chips:
            raise SampleError(f"{path}: holds no sample; give the benchmark's folder, or its Parquet file")
        return cls(origin=path.name, chips=tuple(chips.values()))

    def check_places(self, planned: Iterable[PlannedChip]) -> None:
        """Refuse a plan with a chip of one of the benchmark's places, before any image is read.

        Raises:
            SeparationError: there is one; the sentence names both chips.
        """
        for chip in planned:
            other = self._by_place.get((chip.source, chip.place))
            if other is not None:
                self._refuse(f"{chip.source}/{chip.key}", other, f"both are of the place {chip.place}")

    def check(self, chip: ChipRecord) -> None:
        """Refuse a chip that shows what a scene of the benchmark shows.

        Raises:
            SeparationError: it does; the sentence names both chips and what they share.
        """
        for source, place in chip.places:
            other = self._by_place.get((source, place))
            if other is not None:
                before = "" if source == chip.source else f" of {source}"
                self._refuse(chip.name, other, f"both are of the place {place}{before}")
        for content in chip.contents:
            other = self._by_content.get(content)
            if other is not None:
                what = "images" if content.startswith("image") else "label maps"
                self._refuse(chip.name, other, f"their {what} are the same")
        if chip.footprint is not None:
            outlines, owners = self._outlines
            # A footprint at the date line is asked for on both sides of it.
            shifted = [_outline(chip.footprint, shift) for shift in (-360.0, 0.0, 360.0)]
            found = outlines.query(shifted, predicate="intersects")[1]
            if len(found):
                self._refuse(chip.name, owners[int(found[0])], "they overlap on the ground")

    @cached_property
    def _by_place(self) -> dict[tuple[str, str], ChipRecord]:
        return {place: chip for chip in self.chips for place in chip.places}

    @cached_property
    def _by_content(self) -> dict[str, ChipRecord]:
        return {content: chip for chip in self.chips for content in chip.contents}

    @cached_property
    def _outlines(self) -> tuple[shapely.STRtree, list[ChipRecord]]:
        located = [chip for chip in self.chips if chip.footprint is not None]
        return shapely.STRtree([_outline(chip.footprint) for chip in located if chip.footprint]), located

    def _refuse(self, name: str, other: ChipRecord, why: str) -> None:
        raise SeparationError(
            f"{name} would be a training scene, but shows the scene {other.name} of the benchmark {self.origin}: "
            f"{why}; leave it out, or choose another split"
        )


def check_separate(train: Iterable[ChipRecord], benchmark: Benchmark) -> None:
    """Refuse training scenes of which one shows what a scene of the benchmark shows.

    Raises:
        SeparationError: one does; the sentence names both and what they share.
    """
    for chip in train:
        benchmark.check(chip)


def _outline(footprint: tuple[LonLat, ...], shift: float = 0.0) -> shapely.Polygon:
    """The footprint in degrees, a little smaller than it is."""
    corners = np.array(footprint, np.float64)
    if np.ptp(corners[:, 0]) > 180:
        corners[:, 0] %= 360
    corners[:, 0] += shift
    center = corners.mean(axis=0)
    return shapely.Polygon(center + (1 - _SIDE_BY_SIDE) * (corners - center))

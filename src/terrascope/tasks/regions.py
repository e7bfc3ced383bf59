"""Regions: all that is of one class on one date. Tasks choose among them and point at them in their steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from terrascope import spatial
from terrascope.landcover import LandClass
from terrascope.quantities import format_share
from terrascope.tasks.question import LabelledScene
from terrascope.trace import Step, Tolerance

NOTHING = "There is none."


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """A class on a date (from 0): its mask, bool `[H, W]`, and its share (0-1) of the pixels that are known."""

    land_class: LandClass
    class_id: int
    date: int
    mask: NDArray[np.bool_]
    coverage: float

    @property
    def name(self) -> str:
        return self.land_class.name

    @property
    def coverage_finding(self) -> str:
        return f"It covers {format_share(self.coverage)} of the image." if self.coverage else NOTHING

    def step(self, num_dates: int, *findings: str) -> Step:
        """The grounded step that points at the region; it names its image where there are several."""
        return Step(
            text=f"The {self.name}:",
            image=self.date + 1 if num_dates > 1 else None,
            finding=" ".join(findings),
            mask=self.mask,
        )


def find_regions(labelled: LabelledScene, date: int) -> list[Region]:
    """The regions of all classes whose presence or absence the label map of the date vouches for; absent ones too."""
    label_map = labelled.labels[date]
    measured = labelled.measured(date)
    if not measured.any():
        return []
    regions = []
    for class_id in label_map.class_ids_known:
        mask = label_map.mask(class_id) & measured
        regions.append(
            Region(
                land_class=label_map.nomenclature[class_id],
                class_id=class_id,
                date=date,
                mask=mask,
                coverage=spatial.coverage(mask, measured),
            )
        )
    return regions


def dates_in_random_order(labelled: LabelledScene, rng: np.random.Generator) -> Iterator[int]:
    """The dates (from 0) of a scene, so that a task can try the next one where nothing can be asked."""
    return (int(date) for date in rng.permutation(labelled.num_dates))


def choose_region(
    regions: list[Region], rng: np.random.Generator, *, min_coverage: float, absent_share: float
) -> Region | None:
    """A region with at least `min_coverage`, or, with a probability of `absent_share`, one with no pixel at all.

    What lies between the two is too small to be seen and is never chosen.
    """
    present = [region for region in regions if region.coverage >= min_coverage]
    absent = [region for region in regions if not region.mask.any()] if absent_share > 0 else []
    wanted = absent if rng.random() < absent_share else present
    pool = wanted or present or absent
    return pool[int(rng.integers(len(pool)))] if pool else None


def pairs_in_random_order(regions: list[Region], rng: np.random.Generator) -> Iterator[tuple[Region, Region]]:
    """All pairs of two regions, each once, in random order and orientation."""
    pairs = [(a, b) for index, a in enumerate(regions) for b in regions[index + 1 :]]
    for index in rng.permutation(len(pairs)):
        first, second = pairs[int(index)]
        yield (first, second) if rng.random() < 0.5 else (second, first)


def find_objects(labelled: LabelledScene, region: Region, tolerance: Tolerance) -> tuple[Region, int] | None:
    """A region as separate objects: the region made of them, and their number.

    Where the label map numbers its objects, those count that are mostly of the class, each with its whole outline;
    otherwise the components of the mask do. None where the mask shows another number of components than there are
    objects, beyond the tolerance: such a count could not be checked.
    """
    objects = labelled.labels[region.date].objects
    if objects is None:
        return region, spatial.count_objects(region.mask)
    sizes = np.bincount(objects.ravel())
    inside = np.bincount(objects[region.mask], minlength=len(sizes))
    mostly = 2 * inside > sizes
    mostly[0] = False
    measured = labelled.measured(region.date)
    mask = mostly[objects] & measured
    num_objects = int(np.count_nonzero(mostly))
    if not tolerance.accepts_count(num_objects, spatial.count_objects(mask)):
        return None
    return replace(region, mask=mask, coverage=spatial.coverage(mask, measured)), num_objects

"""Regions: all that is of one class on one date. Tasks choose among them and point at them in their steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from terrascope.tasks.question import LabelledScene
from terrascope.tasks.survey import NOTHING, Region
from terrascope.trace import Tolerance

__all__ = ["NOTHING", "Region"]


def find_regions(labelled: LabelledScene, date: int) -> tuple[Region, ...]:
    """The regions of all classes whose presence or absence the label map of the date vouches for; absent ones too."""
    return labelled.surveys[date].regions


def dates_in_random_order(labelled: LabelledScene, rng: np.random.Generator) -> Iterator[int]:
    """The dates (from 0) of a scene, so that a task can try the next one where nothing can be asked."""
    return (int(date) for date in rng.permutation(labelled.num_dates))


def draw_region(
    regions: Sequence[Region], rng: np.random.Generator, weights: Mapping[str, float] | None = None
) -> Region:
    """One of at least one regions, by the weights of their classes; a class without a weight has 1."""
    if not weights:
        return regions[int(rng.integers(len(regions)))]
    bounds = np.cumsum([weights.get(region.name, 1.0) for region in regions])
    place = np.searchsorted(bounds, rng.random() * bounds[-1], side="right")
    return regions[min(int(place), len(regions) - 1)]


def choose_region(
    regions: Sequence[Region],
    rng: np.random.Generator,
    *,
    min_coverage: float,
    absent_share: float,
    weights: Mapping[str, float] | None = None,
) -> Region | None:
    """A region with at least `min_coverage`, or, with a probability of `absent_share`, one with no pixel at all.

    What lies between the two is too small to be seen and is never chosen. Classes are drawn by their weights.
    """
    present = [region for region in regions if region.coverage >= min_coverage]
    absent = [region for region in regions if not region.num_pixels] if absent_share > 0 else []
    wanted = absent if rng.random() < absent_share else present
    pool = wanted or present or absent
    return draw_region(pool, rng, weights) if pool else None


def pairs_in_random_order(regions: Sequence[Region], rng: np.random.Generator) -> Iterator[tuple[Region, Region]]:
    """All pairs of two regions, each once, in random order and orientation."""
    pairs = [(a, b) for index, a in enumerate(regions) for b in regions[index + 1 :]]
    for index in rng.permutation(len(pairs)):
        first, second = pairs[int(index)]
        yield (first, second) if rng.random() < 0.5 else (second, first)


def find_objects(region: Region, tolerance: Tolerance) -> tuple[Region, int] | None:
    """A region as separate objects: the region made of them, and their number.

    Where the label map numbers its objects, those count that are mostly of the class, each with its whole outline;
    otherwise the components of the mask do. None where the mask shows another number of components than there are
    objects, beyond the tolerance: such a count could not be checked.
    """
    if region.survey.label_map.objects is None:
        return region, region.num_objects
    whole, num_objects = region.whole_objects
    return (whole, num_objects) if tolerance.accepts_count(num_objects, whole.num_objects) else None

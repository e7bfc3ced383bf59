"""How a labelled scene is laid out: its classes with what they measure, and how they lie to each other.

Captions, composed questions and the check of both read from here; a measure is taken when it is first asked for, and
only once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from terrascope import masks, spatial
from terrascope.landcover import UNLABELLED
from terrascope.masks import Mask
from terrascope.tasks.question import LabelledScene
from terrascope.tasks.regions import Region, find_regions
from terrascope.terracot.kinds import Kind, kind_of


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The bounding box of the measured pixels (rows and columns, the last ones excluded): what parts are parts of."""

    top: int
    bottom: int
    left: int
    right: int

    def cuts(self, num: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows and the columns that cut the frame into `num` x `num` parts, ends included: int64 `[num + 1]`."""
        rows = np.linspace(self.top, self.bottom, num + 1).round().astype(np.int64)
        return rows, np.linspace(self.left, self.right, num + 1).round().astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Cover:
    """A class on a date (from 0) that has pixels there."""

    region: Region
    frame: Frame
    labelled: LabelledScene

    @property
    def name(self) -> str:
        return self.region.name

    @property
    def date(self) -> int:
        return self.region.date

    @property
    def mask(self) -> Mask:
        return self.region.mask

    @property
    def share(self) -> float:
        """Its share (0-1) of the pixels that are known."""
        return self.region.coverage

    @property
    def kind(self) -> Kind:
        return kind_of(self.name)

    @property
    def area_m2(self) -> float | None:
        """Square metres on the ground; None where the scale is unknown."""
        return self.region.area_m2 if self.labelled.pixel_size is not None else None

    @property
    def num_pixels(self) -> int:
        return self.region.num_pixels

    @cached_property
    def patches(self) -> NDArray[np.int64]:
        """Pixels of its separate patches, int64 `[num]`, largest first."""
        return spatial.object_areas(self.mask)

    @property
    def largest_patch_share(self) -> float:
        """The share (0-1) of its pixels that its largest patch holds."""
        return float(self.patches[0]) / self.num_pixels

    def largest_patch(self) -> Mask:
        """The mask of its largest patch alone."""
        numbers, _ = masks.label_components(self.mask)
        sizes = np.bincount(numbers.ravel())
        sizes[0] = 0
        return np.asarray(numbers == int(sizes.argmax()))

    def cells(self, num: int) -> NDArray[np.float64]:
        """The share (0-1) of its pixels in each of `num` x `num` parts of the frame: float64 `[num, num]`."""
        rows, columns = self.frame.cuts(num)
        strips = [masks.count_rows(self.mask[:, left:right]) for left, right in pairwise(columns)]
        counts = [[strip[top:bottom].sum() for strip in strips] for top, bottom in pairwise(rows)]
        return np.array(counts, np.float64) / self.num_pixels

    @cached_property
    def row_counts(self) -> NDArray[np.int64]:
        return masks.count_rows(self.mask)

    @cached_property
    def column_counts(self) -> NDArray[np.int64]:
        return masks.count_columns(self.mask)

    @cached_property
    def axes(self) -> tuple[float, float]:
        """How elongated it is (length of the longer over the shorter principal axis), and the direction of the longer:
        degrees clockwise from north, 0 to 180."""
        height, width = self.mask.shape
        row, column = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
        num = self.num_pixels
        row_mean, column_mean = float(self.row_counts @ row) / num, float(self.column_counts @ column) / num
        row_var = float(self.row_counts @ (row - row_mean) ** 2) / num + 1 / 12
        column_var = float(self.column_counts @ (column - column_mean) ** 2) / num + 1 / 12
        across = float((row - row_mean) @ (self.mask.astype(np.float32) @ (column - column_mean))) / num
        mean, half = (row_var + column_var) / 2, np.hypot((row_var - column_var) / 2, across)
        # Rows count downwards, so a line that falls to the right runs from northwest to southeast.
        degrees = float(np.degrees(0.5 * np.arctan2(-2 * across, row_var - column_var))) % 180
        return float(np.sqrt((mean + half) / max(mean - half, 1e-9))), degrees


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """All classes of a labelled scene that its label maps vouch for, date by date."""

    labelled: LabelledScene

    @property
    def num_dates(self) -> int:
        return self.labelled.num_dates

    @property
    def has_scale(self) -> bool:
        return self.labelled.pixel_size is not None

    @cached_property
    def frame(self) -> Frame:
        rows = np.flatnonzero(masks.count_rows(self.labelled.valid))
        columns = np.flatnonzero(masks.count_columns(self.labelled.valid))
        if not len(rows):
            return Frame(top=0, bottom=1, left=0, right=1)
        return Frame(top=int(rows[0]), bottom=int(rows[-1]) + 1, left=int(columns[0]), right=int(columns[-1]) + 1)

    @cached_property
    def regions(self) -> tuple[tuple[Region, ...], ...]:
        """Of every date the regions of the classes that are vouched for, absent ones too."""
        return tuple(find_regions(self.labelled, date) for date in range(self.num_dates))

    @cached_property
    def covers(self) -> tuple[tuple[Cover, ...], ...]:
        """Of every date the classes that are there, the largest first."""
        return tuple(
            tuple(
                Cover(region=region, frame=self.frame, labelled=self.labelled)
                for region in sorted(regions, key=lambda region: -region.coverage)
                if region.coverage > 0
            )
            for regions in self.regions
        )

    def cover(self, name: str, date: int) -> Cover | None:
        """A class on a date; None if it is not there."""
        return next((cover for cover in self.covers[date] if cover.name == name), None)

    def knows(self, name: str, date: int) -> bool:
        """True if the label map of the date vouches for the class, be it there or not."""
        return any(region.name == name for region in self.regions[date])

    def of_kind(self, date: int, *kinds: Kind) -> tuple[Cover, ...]:
        """The classes of these kinds that are there, the largest first."""
        return tuple(cover for cover in self.covers[date] if cover.kind in kinds)

    def knows_kind(self, date: int, kind: Kind) -> bool:
        return any(kind_of(region.name) == kind for region in self.regions[date])

    def known_share(self, date: int) -> float:
        """The share (0-1) of the image whose class is named: small where the map tells only floods or buildings."""
        return sum(cover.share for cover in self.covers[date])

    def shared_sides(self, a: Cover, b: Cover) -> int:
        """Number of pixel sides with `a` on one side and `b` on the other; both of one date."""
        return self._sides[a.date].get((a.region.class_id, b.region.class_id), 0)

    def border_share(self, a: Cover, b: Cover) -> float:
        """The share (0-1) of the outline of `a`, as far as it is measured, that it has in common with `b`."""
        sides = self._sides[a.date]
        total = sum(num for (one, other), num in sides.items() if one == a.region.class_id and other != UNLABELLED)
        return self.shared_sides(a, b) / total if total else 0.0

    def is_inside(self, a: Cover) -> bool:
        """True if `a` touches neither the image's edge nor unmeasured ground, so that its whole outline is seen."""
        mask = a.mask
        at_edge = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
        return not at_edge and (a.region.class_id, UNLABELLED) not in self._sides[a.date]

    def distance_m(self, a: Region, b: Region) -> float:
        """Smallest ground distance of two classes of one date; needs a scale."""
        key = (a.date, min(a.class_id, b.class_id), max(a.class_id, b.class_id))
        if key not in self._distances_m:
            self._distances_m[key] = a.survey.distance_m(a, b)
        return self._distances_m[key]

    @cached_property
    def _distances_m(self) -> dict[tuple[int, int, int], float]:
        return {}

    @cached_property
    def _sides(self) -> tuple[dict[tuple[int, int], int], ...]:
        """Of every date the number of pixel sides between two class ids, both ways; unmeasured is UNLABELLED."""
        return tuple(_count_sides(survey.ids) for survey in self.labelled.surveys)


@lru_cache(maxsize=2)
def lay_out(labelled: LabelledScene) -> Layout:
    """The layout of a scene; that of the last two is remembered, as caption, questions and check all ask for it."""
    return Layout(labelled=labelled)


def _count_sides(ids: NDArray[np.uint8]) -> dict[tuple[int, int], int]:
    present = np.flatnonzero(np.bincount(ids.ravel(), minlength=256))
    num = len(present)
    code_of = np.zeros(256, np.uint16)
    code_of[present] = np.arange(num)
    codes = code_of[ids]
    table = np.zeros(num * num, np.int64)
    for one, other in ((codes[1:], codes[:-1]), (codes[:, 1:], codes[:, :-1])):
        differ = one != other
        table += np.bincount(one[differ] * np.uint16(num) + other[differ], minlength=num * num)
    table += table.reshape(num, num).T.ravel()
    return {
        (int(present[pair // num]), int(present[pair % num])): int(table[pair])
        for pair in np.flatnonzero(table).tolist()
    }

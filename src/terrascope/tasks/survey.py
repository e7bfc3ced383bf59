"""What a label map knows, worked out once for all questions about it: pixels, pieces, places and distances of classes.

Nothing is measured before it is asked for, and nothing twice. All of it agrees with `terrascope.spatial` on the masks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope import masks, spatial
from terrascope.georeference import PixelSize
from terrascope.landcover import UNLABELLED, LandClass
from terrascope.quantities import format_share
from terrascope.scene import LabelMap
from terrascope.trace import Step

NOTHING = "There is none."

_MANY_PIXELS = 20_000
"""Outlines of more pixels than this are left to `terrascope.spatial`, which compares them block by block."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """All that is of one class on one date (from 0), and what that measures.

    Attributes:
        survey: of its date.
        land_class, class_id: its class.
        num_pixels: of its mask.
        pixels: its mask, bool `[H, W]`; None for none.
    """

    survey: Survey = field(repr=False)
    land_class: LandClass
    class_id: int
    num_pixels: int
    pixels: NDArray[np.bool_] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.land_class.name

    @property
    def date(self) -> int:
        return self.survey.date

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """bool `[H, W]`: the measured pixels of the region. The same array every time; it is not to be written to."""
        return np.zeros_like(self.survey.valid) if self.pixels is None else self.pixels

    @property
    def coverage(self) -> float:
        """Share (0-1) of the pixels that are known."""
        return self.num_pixels / self.survey.num_measured

    @property
    def coverage_finding(self) -> str:
        return f"It covers {format_share(self.coverage)} of the image." if self.num_pixels else NOTHING

    @cached_property
    def num_objects(self) -> int:
        """Components connected over sides or corners."""
        return spatial.count_objects(self.mask[self._window()]) if self.num_pixels else 0

    @cached_property
    def area_m2(self) -> float:
        """Square metres on the ground; only where the scale is known."""
        assert self.survey.pixel_size is not None
        return spatial.area_m2(self.mask, self.survey.pixel_size)

    @cached_property
    def position(self) -> str:
        """The part of the scene's valid pixels in which its centroid lies."""
        return spatial.position(self.mask, self.survey.valid)

    @cached_property
    def spread(self) -> tuple[float, float]:
        """Standard deviation of the rows and of the columns of its pixels, in pixels; NaN for none."""
        return _deviation(self._row_counts, self.num_pixels), _deviation(self._column_counts, self.num_pixels)

    @cached_property
    def whole_objects(self) -> tuple[Region, int]:
        """The region made of the numbered objects that are mostly of the class, and how many of them there are.

        Each counts with its whole outline. Only where the label map numbers its objects.
        """
        objects = self.survey.label_map.objects
        assert objects is not None
        sizes = self.survey.object_sizes
        inside = np.bincount(objects[self.mask], minlength=len(sizes))
        mostly = 2 * inside > sizes
        mostly[0] = False
        mask = mostly[objects] & self.survey.measured
        return replace(self, num_pixels=masks.count(mask), pixels=mask), int(np.count_nonzero(mostly))

    def step(self, num_dates: int, finding: str) -> Step:
        """The grounded step that points at the region; it names its image where there are several."""
        return Step(
            text=f"The {self.name}:",
            image=self.date + 1 if num_dates > 1 else None,
            finding=finding,
            mask=self.mask,
        )

    @cached_property
    def _row_counts(self) -> NDArray[np.int64]:
        return masks.count_rows(self.mask)

    @cached_property
    def _column_counts(self) -> NDArray[np.int64]:
        return masks.count_columns(self.mask)

    @cached_property
    def _box(self) -> tuple[int, int, int, int]:
        """First and last row, first and last column."""
        rows, columns = self._row_counts.nonzero()[0], self._column_counts.nonzero()[0]
        return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])

    def _window(self, margin: int = 0) -> tuple[slice, slice]:
        """The part of the grid in which its pixels lie, and so many pixels around it."""
        top, bottom, left, right = self._box
        return slice(max(top - margin, 0), bottom + 1 + margin), slice(max(left - margin, 0), right + 1 + margin)

    def _meets(self, other: Region, radius: int) -> bool:
        """True if it meets another region once it has grown by so many pixels to all sides and corners."""
        window = self._window(radius)
        if radius not in self._grown:
            self._grown[radius] = masks.dilate(self.mask[window], radius)
        return bool((self._grown[radius] & other.mask[window]).any())

    @cached_property
    def _grown(self) -> dict[int, NDArray[np.bool_]]:
        return {}

    @cached_property
    def _outline(self) -> NDArray[np.intp]:
        """Row and column, int `[N, 2]`, of its pixels beside others; those nearest to another region are among them."""
        # A margin, as what lies outside of an array counts as no neighbour.
        rows, columns = self._window(1)
        outline = masks.boundary(self.mask[rows, columns])
        # On one axis, numpy finds what is True several times as fast as on two.
        down, across = np.divmod(outline.ravel().nonzero()[0], outline.shape[1])
        return np.column_stack([down + rows.start, across + columns.start])

    @cached_property
    def _places_m(self) -> _Places:
        """Its outline's pixels in metres, such that the nearer two places, the nearer the pixels on the ground."""
        pixel_size = self.survey.pixel_size
        assert pixel_size is not None
        rows, columns = self._outline.T
        if pixel_size.georeference is not None:
            return _Places(pixel_size.georeference.to_geocentric(columns + 0.5, rows + 0.5))
        height_m = pixel_size.height_m
        along_m = np.concatenate([[0.0], np.cumsum((height_m[1:] + height_m[:-1]) / 2)])
        return _Places(np.column_stack([along_m[rows], columns * float(pixel_size.width_m.mean())]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """A label map on its date (from 0), seen where the scene is valid."""

    label_map: LabelMap
    valid: NDArray[np.bool_]
    pixel_size: PixelSize | None
    date: int

    @cached_property
    def measured(self) -> NDArray[np.bool_]:
        """bool `[H, W]`: True where there is a valid pixel with a known label: the denominator."""
        return self.valid & (self.label_map.ids != UNLABELLED)

    @cached_property
    def num_measured(self) -> int:
        return masks.count(self.measured)

    @cached_property
    def ids(self) -> NDArray[np.uint8]:
        """Class ids uint8 `[H, W]`, `UNLABELLED` wherever nothing is measured."""
        ids = self.label_map.ids
        return ids if self.num_measured == ids.size else np.where(self.measured, ids, np.uint8(UNLABELLED))

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """The regions of all classes whose presence or absence the label map vouches for; absent ones too."""
        if not self.num_measured:
            return ()
        return tuple(self._region(class_id) for class_id in self.label_map.class_ids_known)

    @cached_property
    def area_m2(self) -> float:
        """Square metres of the whole image; only where the scale is known."""
        assert self.pixel_size is not None
        return spatial.area_m2(np.ones_like(self.valid), self.pixel_size)

    @cached_property
    def object_sizes(self) -> NDArray[np.int64]:
        """Pixels of each numbered object, int64 `[num + 1]`; first of those that are none."""
        assert self.label_map.objects is not None
        return np.bincount(self.label_map.objects.ravel())

    def _region(self, class_id: int) -> Region:
        mask = self.ids == class_id
        num_pixels = masks.count(mask)
        return Region(
            survey=self,
            land_class=self.label_map.nomenclature[class_id],
            class_id=class_id,
            num_pixels=num_pixels,
            pixels=mask if num_pixels else None,
        )

    def are_adjacent(self, first: Region, second: Region) -> bool:
        """`spatial.are_adjacent` of the masks of two classes, neither of which is absent."""
        table = self._neighbours
        return bool(table[first.class_id, second.class_id] or table[second.class_id, first.class_id])

    def are_apart(self, first: Region, second: Region, distance_px: float) -> bool:
        """True if `spatial.distance_px` of the masks of two classes, neither of which is absent, is no less."""
        # Within a square of this radius, no pixel is as far away; beyond one of the other, none is nearer.
        inner, outer = math.ceil(distance_px / math.sqrt(2)) - 1, math.ceil(distance_px) - 1
        if inner >= 0 and first._meets(second, inner):
            return False
        if outer >= 0 and (outer == inner or not first._meets(second, outer)):
            return True
        return spatial.distance_px(first.mask, second.mask) >= distance_px

    @cached_property
    def _neighbours(self) -> NDArray[np.bool_]:
        """bool `[256, 256]`: True where a pixel of the first class lies above or to the left of one of the second."""
        table = np.zeros(256 * 256, np.bool_)
        flat, width = self.ids.ravel(), self.ids.shape[1]
        for step in (1, width):
            differ = flat[step:] != flat[:-step]
            if step == 1 < width:
                # The last pixel of a row and the first of the next are no neighbours.
                differ[width - 1 :: width] = False
            places = differ.nonzero()[0]
            table[flat[places].astype(np.intp) << 8 | flat[places + step]] = True
        return table.reshape(256, 256)

    def distance_m(self, first: Region, second: Region) -> float:
        """`spatial.distance_m` of the masks of two classes, neither of which is absent; only where the scale is known.

        Raises:
            ScaleError: a pixel of the two lies outside of what the CRS can describe.
        """
        pixel_size = self.pixel_size
        assert pixel_size is not None
        if _are_many(first, second) or self.are_adjacent(first, second):
            return spatial.distance_m(first.mask, second.mask, pixel_size)
        straight_m, here, there = first._places_m.nearest(second._places_m)
        if pixel_size.georeference is None:
            return straight_m
        (y0, x0), (y1, x1) = first._outline[here] + 0.5, second._outline[there] + 0.5
        return pixel_size.georeference.geodesic_m((x0, y0), (x1, y1))


class _Places:
    """Points `[N, D]`, and a tree of them where one is needed."""

    def __init__(self, points: NDArray[np.float64]) -> None:
        self.points = points

    @cached_property
    def tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self.points)

    def nearest(self, other: _Places) -> tuple[float, int, int]:
        """The smallest distance to a point of `other`, and the numbers of the two points."""
        distances, partners = other.tree.query(self.points)
        at = int(distances.argmin())
        return float(distances[at]), at, int(partners[at])


def _are_many(first: Region, second: Region) -> bool:
    return max(len(first._outline), len(second._outline)) > _MANY_PIXELS


def _deviation(counts: NDArray[np.int64], num: int) -> float:
    """Standard deviation of `num` whole numbers from 0, each there so many times; exact up to the root."""
    if not num:
        return math.nan
    numbers = np.arange(len(counts))
    moments = counts * numbers
    total, squares = int(moments.sum()), int(moments @ numbers)
    return math.sqrt((num * squares - total**2) / num**2)

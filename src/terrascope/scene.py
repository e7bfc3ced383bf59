"""A scene: what one or several sensors saw of one place, at one or several times, on one pixel grid."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import SceneError
from terrascope.georeference import Georeference
from terrascope.landcover import Nomenclature
from terrascope.reduction import Part, Reduced, Reduction, reduced_size

if TYPE_CHECKING:
    from terrascope.rasters.files import ImagePath
    from terrascope.rasters.grids import LonLatBox
    from terrascope.rasters.store import Progress

Modality = Literal["optical", "sar"]

OVERVIEW_SIDE = 2048
"""Longest side, in pixels, of the reduced scene that pictures and a first look are made from."""

_STRIP_PIXELS = 4_000_000
"""Pixels of one band that are given at a time where an image is gone through."""


class PixelStore(Protocol):
    """Pixels float32 `[bands, H, W]` that stay in their files and are read by windows."""

    @property
    def shape(self) -> tuple[int, int, int]: ...

    def read(self, bands: Sequence[int], rows: slice, columns: slice) -> NDArray[np.float32]:
        """The bands of these numbers (from 0), float32 `[len(bands), rows, columns]`; unmeasured pixels are 0."""
        ...

    def parts(self, bands: Sequence[int]) -> Iterator[tuple[Part, NDArray[np.float32]]]:
        """Rows and columns of parts that cover all, each once, in one order always; and what `read` gives of them."""
        ...

    reduced: Reduced | None
    """The last overview that was made, as each costs a pass over the files."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """One image of one place at one time by one sensor.

    Attributes:
        pixels: float32 `[bands, H, W]`: reflectance (0-1) for multispectral sensors, decibels for SAR, digital numbers
            (0-255) for 8-bit composites. What lies outside `valid` is 0. An image too large for memory is a
            `PixelStore` instead of an array: take windows and overviews of it.
        bands: one name per band, in the sensor's own naming (`B04`, `VV`, `red`).
        modality: `optical` or `sar`.
        sensor: name of the sensor's entry in `terrascope.rasters.sensors`.
        valid: bool `[H, W]`, True where every band was measured.
        georeference: where the grid lies and how large its pixels are; may know neither.
        date: day of acquisition, if known.
        source: file or generator that it came from, for messages.
        evidence: what the reading went by, one phrase each: `bands by the file's descriptions`.
        assumptions: what no file said and was taken for granted, one sentence each.
    """

    pixels: NDArray[np.float32] | PixelStore = field(repr=False)
    bands: tuple[str, ...]
    modality: Modality
    sensor: str
    valid: NDArray[np.bool_] = field(repr=False)
    georeference: Georeference = field(default_factory=Georeference)
    date: datetime.date | None = None
    source: str = "memory"
    evidence: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.pixels.shape) != 3 or self.pixels.shape[0] != len(self.bands):
            raise SceneError(
                f"{self.source}: {len(self.bands)} bands are named but the pixels have shape {self.pixels.shape}"
            )
        if self.valid.shape != self.pixels.shape[1:]:
            raise SceneError(
                f"{self.source}: valid mask {self.valid.shape} does not lie on the grid {self.pixels.shape[1:]}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.valid.shape[0], self.valid.shape[1]

    def band(self, name: str) -> NDArray[np.float32]:
        """One band `[H, W]` by its name.

        Raises:
            SceneError: the observation has no such band.
        """
        height, width = self.shape
        return self._read((name,), slice(0, height), slice(0, width))[0]

    def window(self, rows: slice, columns: slice, bands: Sequence[str] | None = None) -> Observation:
        """A part of the image, in memory: the pixels of these rows and columns (start and stop, within the image).

        Args:
            bands: names of the bands to keep; None for all.

        Raises:
            SceneError: the observation has no such band.
        """
        names = self.bands if bands is None else tuple(bands)
        return replace(
            self,
            pixels=self._read(names, rows, columns),
            bands=names,
            valid=self.valid[rows, columns],
            georeference=self.georeference.window(rows.start, columns.start),
        )

    def overview(self, max_side: int = OVERVIEW_SIDE, bands: Sequence[str] | None = None) -> Observation:
        """The image in memory, reduced until no side is longer than `max_side`; a smaller image as it is.

        A pixel of the overview is the mean of the valid pixels below it, and valid if there is one. Memory is bounded
        by a strip of rows and the result.
        """
        names = self.bands if bands is None else tuple(bands)
        size = reduced_size(self.shape, max_side)
        if size == self.shape:
            return self.window(slice(0, size[0]), slice(0, size[1]), names)
        numbers = self._numbers_of(names)
        reduced = None if isinstance(self.pixels, np.ndarray) else self.pixels.reduced
        pixels = None if reduced is None else reduced.pixels_of(numbers, size, self.valid)
        if reduced is None or pixels is None:
            reduction = Reduction(len(names), self.shape, size)
            for part, read in self._parts(numbers):
                reduction.add(*reduction.summed(part, read, self.valid[part]))
            reduced = reduction.result(numbers, self.valid)
            pixels = reduced.pixels
            if not isinstance(self.pixels, np.ndarray):
                self.pixels.reduced = reduced
        return replace(
            self,
            pixels=pixels,
            bands=names,
            valid=reduced.valid,
            georeference=self.georeference.scaled(self.shape[0] / size[0], self.shape[1] / size[1]),
        )

    def parts(self, bands: Sequence[str] | None = None) -> Iterator[tuple[Part, NDArray[np.float32]]]:
        """The whole image in parts that its files are quick to read: rows and columns, and pixels float32
        `[bands, rows, columns]` of the part. Memory is bounded.

        Args:
            bands: names of the bands to read; None for all.

        Raises:
            SceneError: the observation has no such band.
        """
        yield from self._parts(self._numbers_of(self.bands if bands is None else bands))

    def _parts(self, numbers: Sequence[int]) -> Iterator[tuple[Part, NDArray[np.float32]]]:
        if not isinstance(self.pixels, np.ndarray):
            yield from self.pixels.parts(numbers)
            return
        height, width = self.shape
        rows_at_once = max(1, _STRIP_PIXELS // width)
        for top in range(0, height, rows_at_once):
            part = slice(top, min(top + rows_at_once, height)), slice(0, width)
            yield part, self.pixels[numbers, part[0]]

    def _numbers_of(self, names: Sequence[str]) -> list[int]:
        missing = next((name for name in names if name not in self.bands), None)
        if missing is not None:
            raise SceneError(f"{self.source}: no band {missing}; it has {', '.join(self.bands)}")
        return [self.bands.index(name) for name in names]

    def _read(self, names: Sequence[str], rows: slice, columns: slice) -> NDArray[np.float32]:
        numbers = self._numbers_of(names)
        if isinstance(self.pixels, np.ndarray):
            return self.pixels[numbers, rows, columns]
        return self.pixels.read(numbers, rows, columns)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What is known of one date: an optical image, a SAR image, or both. "Image: t" of a trace names the t-th pair."""

    optical: Observation | None = None
    sar: Observation | None = None

    def __post_init__(self) -> None:
        if self.optical is None and self.sar is None:
            raise SceneError("a pair needs an optical or a SAR image")

    @property
    def observations(self) -> tuple[Observation, ...]:
        return tuple(observation for observation in (self.optical, self.sar) if observation is not None)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """bool `[H, W]`: True where at least one of the two images was measured."""
        return np.logical_or.reduce([observation.valid for observation in self.observations])

    @property
    def date(self) -> datetime.date | None:
        return next((o.date for o in self.observations if o.date is not None), None)


@dataclass(frozen=True)
class Scene:
    """Pairs on one pixel grid in time order: `scene.pairs[0]` is "Image: 1".

    `notes` are what a reader of any answer about the scene should know: how its images were brought together, and what
    was assumed of them; one sentence each.
    """

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.pairs:
            raise SceneError("a scene needs at least one image")
        shapes = {observation.shape for observation in self.observations}
        if len(shapes) > 1:
            raise SceneError(f"the images of a scene must share one grid, but their sizes are {sorted(shapes)}")
        if len({(pair.optical is None, pair.sar is None) for pair in self.pairs}) > 1:
            raise SceneError("give the same kinds of image (optical, SAR or both) for every date")

    @classmethod
    def of(cls, *, optical: Sequence[Observation] = (), sar: Sequence[Observation] = ()) -> Scene:
        """Pair the n-th optical with the n-th SAR image, in the order given.

        Raises:
            SceneError: no image at all, the numbers of optical and SAR images differ, or an image is all nodata.
        """
        blank = next((image for image in (*optical, *sar) if not image.valid.any()), None)
        if blank is not None:
            raise SceneError(f"{blank.source}: every pixel is nodata; give an image with at least one valid pixel")
        if optical and sar and len(optical) != len(sar):
            raise SceneError(
                f"{len(optical)} optical and {len(sar)} SAR images cannot be paired; give one SAR image per date"
            )
        num_dates = max(len(optical), len(sar))
        return cls(
            tuple(Pair(optical=optical[t] if optical else None, sar=sar[t] if sar else None) for t in range(num_dates))
        )

    @classmethod
    def open(
        cls,
        *,
        optical: ImagePath | Sequence[ImagePath] = (),
        sar: ImagePath | Sequence[ImagePath] = (),
        dates: Sequence[datetime.date | str] | None = None,
        sensor: str | None = None,
        sar_sensor: str | None = None,
        gsd_m: float | None = None,
        nodata: float | None = None,
        reference: Modality | None = None,
        bbox: LonLatBox | None = None,
        allow_virtual: bool = False,
        progress: Progress | None = None,
    ) -> Scene:
        """Read a scene from files: `terrascope.rasters.read.open_scene` under the name by which people look for it.

        Args:
            optical, sar: one image per date, each a file, an address (`https://`), a folder of single-band files, or a
                list of such files. So `optical=[a, b]` are images of two dates, and `optical=[[a, b]]` is one image
                whose bands lie in two files.
            dates: one day per date (`datetime.date` or `YYYY-MM-DD`); None to go by what the files say. The pairs are
                put in order of their days, if all are known.
            sensor, sar_sensor: names of `terrascope.rasters.sensors.SENSORS`; None to go by what the files say.
            gsd_m: pixel size in metres, where the files do not know it or are wrong about it.
            nodata: number that marks unmeasured pixels, where the files do not say it.
            reference: whose grid the scene is on, that of the first optical or the first SAR image; None for the first
                optical, else the first SAR image.
            bbox: west, south, east and north in degrees: the part of the scene to use.
            allow_virtual: also open formats and paths that lead to other files: VRT, `/vsi...`.
            progress: is called with an image's name, its rows read and its rows in all.

        Raises:
            SceneError: an image cannot be read, or the images do not form one scene.
        """
        # The one import that runs upwards: reading needs GDAL, and a scene that is made in memory does not.
        from terrascope.rasters.read import open_scene

        return open_scene(
            optical=optical,
            sar=sar,
            dates=dates,
            sensor=sensor,
            sar_sensor=sar_sensor,
            gsd_m=gsd_m,
            nodata=nodata,
            reference=reference,
            bbox=bbox,
            allow_virtual=allow_virtual,
            progress=progress,
        )

    def window(self, rows: slice, columns: slice) -> Scene:
        """A part of the scene, in memory: these rows and columns of every image. It may hold no valid pixel."""

        def cut(image: Observation | None) -> Observation | None:
            return None if image is None else image.window(rows, columns)

        pairs = tuple(Pair(optical=cut(pair.optical), sar=cut(pair.sar)) for pair in self.pairs)
        return Scene(pairs, notes=self.notes)

    @property
    def observations(self) -> tuple[Observation, ...]:
        return tuple(observation for pair in self.pairs for observation in pair.observations)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.observations[0].shape

    @property
    def georeference(self) -> Georeference:
        return self.observations[0].georeference

    @property
    def dates(self) -> tuple[datetime.date | None, ...]:
        return tuple(pair.date for pair in self.pairs)


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelMap:
    """Class ids uint8 `[H, W]` of a nomenclature on a scene's grid; `landcover.UNLABELLED` where nothing is known.

    `class_ids_known` are the classes whose absence the map can vouch for: a flood map says nothing of trees.
    `objects` is, for maps that keep single objects apart, an int32 `[H, W]` map of object numbers (0: no object).
    """

    ids: NDArray[np.uint8] = field(repr=False)
    nomenclature: Nomenclature = field(repr=False)
    class_ids_known: tuple[int, ...]
    objects: NDArray[np.int32] | None = field(default=None, repr=False)

    def mask(self, class_id: int) -> NDArray[np.bool_]:
        """bool `[H, W]`: True where the pixel is of the class."""
        return self.ids == class_id

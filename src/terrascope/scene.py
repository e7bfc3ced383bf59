"""A scene: what one or several sensors saw of one place, at one or several times, on one pixel grid."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import SceneError
from terrascope.georeference import Georeference
from terrascope.landcover import Nomenclature

if TYPE_CHECKING:
    from terrascope.rasters.files import ImagePath

Modality = Literal["optical", "sar"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """One image of one place at one time by one sensor.

    Attributes:
        pixels: float32 `[bands, H, W]`: reflectance (0-1) for multispectral sensors, decibels for SAR, digital numbers
            (0-255) for 8-bit composites. What lies outside `valid` is 0.
        bands: one name per band, in the sensor's own naming (`B04`, `VV`, `red`).
        modality: `optical` or `sar`.
        sensor: name of the sensor's entry in `terrascope.rasters.sensors`.
        valid: bool `[H, W]`, True where every band was measured.
        georeference: where the grid lies and how large its pixels are; may know neither.
        date: day of acquisition, if known.
        source: file or generator that it came from, for messages.
    """

    pixels: NDArray[np.float32]
    bands: tuple[str, ...]
    modality: Modality
    sensor: str
    valid: NDArray[np.bool_]
    georeference: Georeference = field(default_factory=Georeference)
    date: datetime.date | None = None
    source: str = "memory"

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[0] != len(self.bands):
            raise SceneError(
                f"{self.source}: {len(self.bands)} bands are named but the pixels have shape {self.pixels.shape}"
            )
        if self.valid.shape != self.pixels.shape[1:]:
            raise SceneError(
                f"{self.source}: valid mask {self.valid.shape} does not lie on the grid {self.pixels.shape[1:]}"
            )
        if not self.valid.any():
            raise SceneError(f"{self.source}: every pixel is nodata; give an image with at least one valid pixel")

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.valid.shape[0], self.valid.shape[1]

    def band(self, name: str) -> NDArray[np.float32]:
        """One band `[H, W]` by its name.

        Raises:
            SceneError: the observation has no such band.
        """
        if name not in self.bands:
            raise SceneError(f"{self.source}: no band {name}; it has {', '.join(self.bands)}")
        return self.pixels[self.bands.index(name)]


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
    """Pairs on one pixel grid in time order: `scene.pairs[0]` is "Image: 1"."""

    pairs: tuple[Pair, ...]

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
            SceneError: no image at all, or the numbers of optical and SAR images differ.
        """
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
    ) -> Scene:
        """Read a scene from files: `terrascope.rasters.read.open_scene` under the name by which people look for it.

        Args:
            optical, sar: one image per date, each a file, a folder of single-band files, or a list of such files.
            dates: one day per date (`datetime.date` or `YYYY-MM-DD`); if given, the pairs are sorted by it.
            sensor, sar_sensor: names of `terrascope.rasters.sensors.SENSORS`; None to go by what the files say.
            gsd_m: pixel size in metres, where the files do not know it or are wrong about it.

        Raises:
            SceneError: an image cannot be read, or the images do not form one scene.
        """
        # The one import that runs upwards: reading needs GDAL, and a scene that is made in memory does not.
        from terrascope.rasters.read import open_scene

        return open_scene(optical=optical, sar=sar, dates=dates, sensor=sensor, sar_sensor=sar_sensor, gsd_m=gsd_m)

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

    ids: NDArray[np.uint8]
    nomenclature: Nomenclature
    class_ids_known: tuple[int, ...]
    objects: NDArray[np.int32] | None = None

    def mask(self, class_id: int) -> NDArray[np.bool_]:
        """bool `[H, W]`: True where the pixel is of the class."""
        return self.ids == class_id

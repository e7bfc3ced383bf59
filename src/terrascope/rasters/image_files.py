"""One image in its files: what each layer is and where it lies, before its pixels are read; and the reading of them."""

from __future__ import annotations

import datetime
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import SceneError
from terrascope.rasters.bands import Reading, name_bands
from terrascope.rasters.files import ImagePath, describe_file, find_files
from terrascope.rasters.grids import Grid, Part
from terrascope.rasters.parallel import NUM_THREADS, OpenFiles, in_order
from terrascope.rasters.plausibility import settle_sensor
from terrascope.rasters.products import Product, find_product
from terrascope.rasters.registry import Sensor
from terrascope.rasters.store import FileStore, Progress
from terrascope.scene import Modality, Observation

IN_MEMORY_PIXELS = 16_000_000
"""Rows x columns above which an image stays in its files."""

MAX_PIXELS = 1_000_000_000
"""Rows x columns above which an image is refused: its masks are held in memory."""

_SAMPLED_WINDOWS, _SAMPLED_SIDE = 5, 256
"""Where numbers must decide on the sensor, so many windows along each side of a layer are looked at, of this side."""

_SAMPLED_WINDOWS_WHERE_SLOW = 3


_MUCH_WHITE = 0.05
_PICTURE_SIDE = 512
"""Longest side of the reduced picture that is looked at for a white border."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of an image may be read, and how much of it at once.

    Attributes:
        max_pixels: rows x columns above which an image is refused.
        in_memory_pixels: rows x columns above which it stays in its files.
        allow_virtual: also open formats and paths that lead to other files (VRT, `/vsi...`).
        progress: is told how far the reading is.
    """

    max_pixels: int = MAX_PIXELS
    in_memory_pixels: int = IN_MEMORY_PIXELS
    allow_virtual: bool = False
    progress: Progress | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """An image before its pixels are read.

    Attributes:
        reading: the sensor, and what each layer is.
        grids: the grid of each file. grid: the finest of them, on which the bands are brought together.
        source: name of the image for messages. date: day of acquisition, if known.
        evidence, assumptions: as in `Observation`.
        scaling: scale and offset that the product states in place of the sensor's.
    """

    reading: Reading
    modality: Modality
    grids: Mapping[str, Grid]
    grid: Grid
    source: str
    date: datetime.date | None
    evidence: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    scaling: tuple[float, float] | None = None

    def placed_on(self, other: Grid) -> ImageFiles:
        """The same image, whose own place is unknown, on the ground of a grid of equal size."""
        grids = {
            path: replace(
                grid, georeference=other.georeference.scaled(other.height / grid.height, other.width / grid.width)
            )
            for path, grid in self.grids.items()
        }
        return replace(self, grids=MappingProxyType(grids), grid=other)


def find_image(
    path_or_paths: ImagePath,
    *,
    sensor: str | None,
    modality: Modality,
    date: datetime.date | None,
    limits: Limits,
    nodata: float | None = None,
) -> ImageFiles:
    """Open the files of an image and understand them. What the caller states goes before what product, names and
    numbers say. `nodata` is a number that marks unmeasured pixels: of an 8-bit picture those that hold it in every
    band, of other images those that hold it in one.

    Raises:
        SceneError: a file cannot be read, or the files do not say what they show.
    """
    product = find_product(path_or_paths, allow_virtual=limits.allow_virtual)
    if product.files is None:
        paths, source, is_folder = find_files(path_or_paths)
    else:
        assert isinstance(path_or_paths, str | bytes | os.PathLike)
        paths, source, is_folder = list(product.files), os.fsdecode(path_or_paths), True
    described = {path: describe_file(path, allow_virtual=limits.allow_virtual) for path in paths}
    layers = [layer for file_layers, _ in described.values() for layer in file_layers]
    if is_folder and product.files is None:
        # A folder also holds previews and other stacks; only its single-band files are one image.
        num_layers = Counter(layer.path for layer in layers)
        layers = [layer for layer in layers if num_layers[layer.path] == 1] or layers
    # A picture that was made of a product is named after it, but its 8 bits are not the product's numbers.
    is_picture = all(layer.dtype == "uint8" for layer in layers)
    told = None if is_picture else product.sensor
    reading = name_bands(layers, sensor=sensor or told, modality=modality, source=source)
    if reading.undecided:
        reading = settle_sensor(reading, _sampled(reading, limits), source)
    if nodata is not None:
        reading = replace(reading, sensor=replace(reading.sensor, fill=float(nodata)))
    grids = {path: grid for path, (_, grid) in described.items()}
    is_as_told = sensor is None and told is not None
    return ImageFiles(
        reading=reading,
        modality=modality,
        grids=MappingProxyType(grids),
        grid=max((grids[layer.path] for layer in reading.bands.values()), key=_fineness),
        source=source,
        date=date or product.date,
        evidence=(*_evidence(product, sensor, is_as_told=is_as_told), *reading.evidence),
        assumptions=(*(product.assumptions if is_as_told else ()), *reading.assumptions),
        scaling=product.scaling if is_as_told else None,
    )


def load(image: ImageFiles, limits: Limits, part: Part | None = None) -> Observation:
    """Read an image, or a part of its grid. It may hold no valid pixel.

    An image too large for memory stays in its files. It is then gone through once, and only the bands of its picture
    and its quality layers are: a pixel is valid if these bands were measured, and in its other bands an unmeasured
    pixel is 0.

    Raises:
        SceneError: too large, damaged, or with values that cannot be what the sensor claims.
    """
    grid = image.grid if part is None else image.grid.window(part)
    num_pixels = grid.height * grid.width
    if num_pixels > limits.max_pixels:
        raise SceneError(
            f"{image.source}: {grid.width} x {grid.height} pixels are more than the limit of {limits.max_pixels:,}; "
            "use a part of it (--bbox WEST,SOUTH,EAST,NORTH), or reduce it (gdal_translate -outsize)"
        )
    store = FileStore(
        image.reading,
        image.grids,
        grid,
        source=image.source,
        scaling=image.scaling,
        allow_virtual=limits.allow_virtual,
    )
    bands = tuple(image.reading.bands)
    in_memory = num_pixels <= limits.in_memory_pixels
    judged = bands if in_memory else [band for band in bands if band in image.reading.sensor.display_bands]
    valid, pixels = store.survey([bands.index(band) for band in judged], keep=in_memory, progress=limits.progress)
    observation = Observation(
        pixels=store if pixels is None else pixels,
        bands=bands,
        modality=image.modality,
        sensor=image.reading.sensor.name,
        valid=valid,
        georeference=grid.georeference,
        date=image.date,
        source=image.source,
        evidence=image.evidence,
        assumptions=image.assumptions,
    )
    white = _white_share(observation, image.reading.sensor) if valid.any() else 0.0
    if white < _MUCH_WHITE:
        return observation
    assumed = (
        f"{100 * white:.0f} % of the pixels are 255 in every band; they count as measured (else give --nodata 255)."
    )
    return replace(observation, assumptions=(*observation.assumptions, assumed))


def _white_share(observation: Observation, sensor: Sensor) -> float:
    """Share of an 8-bit picture that is white throughout, as borders are that nobody declared."""
    if not sensor.is_8bit or sensor.fill is not None:
        return 0.0
    small = observation.overview(_PICTURE_SIDE, [band for band in observation.bands if band in sensor.display_bands])
    return float(np.logical_and.reduce([small.band(band) == 255 for band in small.bands]).mean())


def _evidence(product: Product, sensor: str | None, *, is_as_told: bool) -> tuple[str, ...]:
    if is_as_told or product.sensor is None:
        known = product.evidence
    else:
        # What the product says of its numbers was overruled.
        known = tuple(phrase for phrase in product.evidence if not phrase.startswith((product.sensor, "calibration")))
    return (f"{sensor}: as stated by the caller", *known) if sensor is not None else known


def _sampled(reading: Reading, limits: Limits) -> dict[str, NDArray[np.float32]]:
    """Measured numbers of each band, in the unit that the file states, spread over the image."""
    files = OpenFiles(allow_virtual=limits.allow_virtual)
    bands_of_file: dict[str, list[str]] = {}
    for band, layer in reading.bands.items():
        bands_of_file.setdefault(layer.path, []).append(band)
    samples: dict[str, NDArray[np.float32]] = {}
    for path, bands in bands_of_file.items():
        # Blocks may hold all bands of a file, so these are read in one go.
        numbers = _sampled_file(path, [reading.bands[band].index for band in bands], files)
        samples.update(zip(bands, numbers, strict=True))
    return {band: samples[band] for band in reading.bands}


def _sampled_file(path: str, indexes: Sequence[int], files: OpenFiles) -> list[NDArray[np.float32]]:
    with files.borrowed() as open_path:
        raster = open_path(path)
        scalings = [raster.stated_scaling(index) or (1.0, 0.0) for index in indexes]
        num_windows = _SAMPLED_WINDOWS_WHERE_SLOW if raster.is_slow else _SAMPLED_WINDOWS
        num_threads = NUM_THREADS if raster.reads_in_parallel else 1
        windows = [
            (rows, columns)
            for rows in _spread(raster.height, num_windows)
            for columns in _spread(raster.width, num_windows)
        ]

    def look(part: Part) -> list[NDArray[np.float32]]:
        with files.borrowed() as open_path:
            found = zip(*open_path(path).read(indexes, part), strict=True)
            return [numbers.ravel() if measured is None else numbers[measured] for numbers, measured in found]

    by_band = zip(*in_order(look, windows, num_threads), strict=True)
    return [
        np.concatenate(numbers) * np.float32(scale) + np.float32(offset)
        for numbers, (scale, offset) in zip(by_band, scalings, strict=True)
    ]


def _spread(side: int, num_windows: int) -> list[slice]:
    """Windows along a side, evenly spread on the edges of blocks; the whole side where they would touch."""
    if side <= num_windows * _SAMPLED_SIDE:
        return [slice(0, side)]
    starts = np.linspace(0, side - _SAMPLED_SIDE, num_windows).astype(int) // _SAMPLED_SIDE * _SAMPLED_SIDE
    return [slice(int(start), int(start) + _SAMPLED_SIDE) for start in starts]


def _fineness(grid: Grid) -> float:
    transform = grid.georeference.transform
    return -abs(transform.determinant) if transform is not None else float(grid.height * grid.width)

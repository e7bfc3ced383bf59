"""Pixels that stay in their files: an image is read as a whole, or by windows that equal the same part of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from terrascope.rasters.bands import Layer, Reading
from terrascope.rasters.grids import Grid, Part
from terrascope.rasters.layers import LayerReader, measure
from terrascope.rasters.parallel import NUM_THREADS, OpenFiles, in_order
from terrascope.rasters.resampling import Resampler
from terrascope.rasters.survey import Look, Survey, set_to_zero
from terrascope.rasters.windows import Mask, both, unless_all
from terrascope.reduction import Reduced

Progress = Callable[[str, int, int], None]
"""Is told the image that is being read, its rows read so far, and all its rows."""

_PART_NUMBERS = 4_000_000
"""Numbers of all bands that one thread holds at a time, if the blocks of the files are not larger."""

_LARGEST_BLOCK = 16_000_000
"""Pixels of a block above which it is read piece by piece."""


class FileStore:
    """The bands of one image in physical values on one grid, read from its files by windows: a `PixelStore`.

    Layers of another resolution, extent or CRS are resampled. SAR is resampled as linear power, because the mean of
    decibels is not the decibels of the mean. Files stay open. Threads may share a store. Pickled, it takes along where
    its files lie and what was surveyed; they are opened again when it is read from.
    """

    def __init__(
        self,
        reading: Reading,
        grids: Mapping[str, Grid],
        target: Grid,
        *,
        source: str,
        scaling: tuple[float, float] | None = None,
        allow_virtual: bool = False,
    ) -> None:
        """Nothing is read yet.

        Args:
            reading: what each layer is. grids: the grid of each of its files. target: the grid to read onto.
            source: name of the image in messages.
            scaling: scale and offset that take the place of the sensor's, where the file itself states none.

        Raises:
            SceneError: a layer cannot be brought onto the target.
        """
        self._source, self._target, self._sensor = source, target, reading.sensor
        self._files = OpenFiles(allow_virtual=allow_virtual)

        def reader(layer: Layer) -> LayerReader:
            return LayerReader(layer, reading.sensor, Resampler(grids[layer.path], target), scaling)

        self._bands = [reader(layer) for layer in reading.bands.values()]
        self._quality = [(reader(layer), reading.sensor.quality[name]) for name, layer in reading.quality.items()]
        self._valid: Mask | None = None
        self.reduced: Reduced | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self._bands), *self._target.shape

    def read(self, bands: Sequence[int], rows: slice, columns: slice) -> NDArray[np.float32]:
        """As `PixelStore.read`.

        Raises:
            SceneError: a file is damaged or its server fails.
        """
        readers = [self._bands[band] for band in bands]
        result = np.empty((len(bands), rows.stop - rows.start, columns.stop - columns.start), np.float32)

        def fill(part: Part) -> None:
            below, right = (slice(side.start - whole.start, side.stop - whole.start)
                            for side, whole in zip(part, (rows, columns), strict=True))  # fmt: skip
            self._fill(readers, part, result[:, below, right])

        for _ in in_order(fill, *self._cut(readers, (rows, columns))):
            pass
        return result

    def parts(self, bands: Sequence[int]) -> Iterator[tuple[Part, NDArray[np.float32]]]:
        """As `PixelStore.parts`.

        Raises:
            SceneError: as `read`.
        """
        readers = [self._bands[band] for band in bands]

        def read(part: Part) -> tuple[Part, NDArray[np.float32]]:
            rows, columns = part
            numbers = np.empty((len(bands), rows.stop - rows.start, columns.stop - columns.start), np.float32)
            self._fill(readers, part, numbers)
            return part, numbers

        return in_order(read, *self._cut(readers, self._target.whole))

    def survey(
        self, bands: Sequence[int], *, keep: bool, progress: Progress | None = None
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32] | None]:
        """Go through the image once: which pixels are valid, and can the numbers be what they claim?

        Args:
            bands: numbers of the bands that a valid pixel must have, all of them (of an 8-bit picture: any).
            keep: keep the pixels of these bands; else the overview of these bands is kept.

        Returns:
            valid bool `[H, W]`, and pixels float32 `[bands, H, W]`, 0 outside `valid`, if they are kept. What `read`
            gives is 0 outside `valid` from now on.

        Raises:
            SceneError: as `read`; or the values cannot be those of the sensor.
        """
        height, width = self._target.shape
        readers = [self._bands[band] for band in bands]
        survey = Survey(readers, self._quality, self._sensor, (height, width), keep=keep)
        parts, num_threads = self._cut(readers, self._target.whole)

        def look(part: Part) -> tuple[Part, Look]:
            with self._files.borrowed() as open_path:
                return part, survey.look(part, open_path)

        for (rows, columns), found in in_order(look, parts, num_threads):
            survey.take(found)
            if progress is not None and columns.stop == width:
                progress(self._source, rows.stop, height)
        with self._files.borrowed() as open_path:
            survey.check(self._source, open_path)
        self._valid, self.reduced = survey.valid, survey.reduced(bands)
        return survey.valid, survey.pixels

    def _fill(self, readers: Sequence[LayerReader], part: Part, out: NDArray[np.float32]) -> None:
        with self._files.borrowed() as open_path:
            found = measure(readers, part, open_path, out)
        valid = None if self._valid is None else unless_all(self._valid[part])
        for numbers, known in zip(out, found, strict=True):
            set_to_zero(numbers, both(valid, known.seen))

    def _cut(self, readers: Sequence[LayerReader], part: Part) -> tuple[list[Part], int]:
        """Parts of a part that hold whole blocks of the files, in order, and the threads that should read them."""
        rows, columns = part
        most = _PART_NUMBERS // max(1, len(readers))
        if not readers or (rows.stop - rows.start) * (columns.stop - columns.start) <= most // NUM_THREADS:
            return [part], 1
        with self._files.borrowed() as open_path:
            blocks, parallel = zip(*(reader.blocks(open_path) for reader in readers), strict=True)
        block = max(blocks, key=lambda sides: sides[0].stop - sides[0].start)
        (height, width) = (side.stop - side.start for side in block)
        size = height * min(width, self._target.width)
        if size > _LARGEST_BLOCK:
            height = max(1, _LARGEST_BLOCK // width)
            block = (slice(0, height), block[1])
        across = max(1, most // (height * width)) * width
        down = max(1, most // (height * min(across, columns.stop - columns.start))) * height
        return [
            (below, right)
            for below in _steps(rows, block[0].start, down)
            for right in _steps(columns, block[1].start, across)
        ], NUM_THREADS if all(parallel) and size <= _PART_NUMBERS else 1


def _steps(span: slice, origin: int, step: int) -> list[slice]:
    """Pieces of a span whose inner edges lie whole steps from the origin."""
    edges = [span.start, *range(span.start + (origin - span.start - 1) % step + 1, span.stop, step), span.stop]
    return [slice(start, stop) for start, stop in pairwise(edges)]

"""An answer without what only the model needs, so that it can be put aside: its files come out the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from terrascope.answer import Answer
from terrascope.rasters.sensors import shown_bands
from terrascope.reduction import Part, Reduced, reduced_size
from terrascope.scene import OVERVIEW_SIDE, Observation, Pair, Scene


@dataclass(eq=False)
class ShownBands:
    """Of an image's pixels those that its picture is made of: a `PixelStore`.

    Attributes:
        shape: (bands, height, width) of the image.
        bands: numbers of the bands that were kept.
        pixels: float32 `[len(bands), H, W]`; None for a large image, of which only the overview was kept.
        reduced: that overview.
    """

    shape: tuple[int, int, int]
    bands: tuple[int, ...]
    pixels: NDArray[np.float32] | None = field(repr=False)
    reduced: Reduced | None = field(repr=False)

    def read(self, bands: Sequence[int], rows: slice, columns: slice) -> NDArray[np.float32]:
        """As `PixelStore.read`, of bands that were kept."""
        if self.pixels is None:
            raise ValueError("only the overview of this image was kept")
        return self.pixels[[self.bands.index(band) for band in bands], rows, columns]

    def parts(self, bands: Sequence[int]) -> Iterator[tuple[Part, NDArray[np.float32]]]:
        """As `PixelStore.parts`, of bands that were kept."""
        _, height, width = self.shape
        whole = slice(0, height), slice(0, width)
        yield whole, self.read(bands, *whole)


def slim(answer: Answer) -> Answer:
    """The answer with only the bands that pictures are made of, and of a large image only its overview."""
    pairs = tuple(Pair(optical=_slim_image(pair.optical), sar=_slim_image(pair.sar)) for pair in answer.scene.pairs)
    return replace(answer, scene=Scene(pairs, notes=answer.scene.notes))


def _slim_image(image: Observation | None) -> Observation | None:
    if image is None:
        return None
    names = shown_bands(image)
    numbers = tuple(image.bands.index(name) for name in names)
    small = image.overview(OVERVIEW_SIDE, names)
    assert isinstance(small.pixels, np.ndarray)
    store = ShownBands((len(image.bands), *image.shape), numbers, small.pixels, None)
    if reduced_size(image.shape, OVERVIEW_SIDE) != image.shape:
        store.pixels = None
        store.reduced = Reduced(pixels=small.pixels, valid=small.valid, bands=numbers, source_valid=image.valid)
    return replace(image, pixels=store)

"""What a data set gives: chips, one after another, each a scene with its label maps and whatever else is known of it.

A source is opened on a folder, lists its chips without reading images, and reads any of them by its key: so a build can
be cut into parts of which each reads its own chips, and a chip that cannot be read is counted and passed over.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from terrascope.errors import ScaleError, SceneError
from terrascope.georeference import PixelSize
from terrascope.scene import LabelMap, Scene
from terrascope.tasks.question import LabelledScene


class ChipError(SceneError):
    """A chip cannot be used. `reason` says why in a few words that are the same for every such chip, for counting."""

    def __init__(self, sentence: str, *, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason

    def __reduce__(self) -> tuple[Callable[..., ChipError], tuple[str]]:
        # Exceptions are pickled by their positional arguments alone.
        return partial(ChipError, reason=self.reason), (str(self),)


class Entry(NamedTuple):
    """A chip as its source lists it: its key, and the place that it shows. Chips of one place are never separated."""

    key: str
    place: str


class Origin(NamedTuple):
    """What a chip was in the data set that it first came from: that data set's name, its key and its place there."""

    source: str
    key: str
    place: str


@dataclass(frozen=True, kw_only=True)
class Index:
    """The chips of a split in an order that never changes, and how many were left out, by reason."""

    entries: tuple[Entry, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GivenQuestion:
    """A question that the data set itself asks of a chip, with its answer.

    `polygon` is the region that it is about, as rings `[N, 2]` of pixel coordinates (x, y); None for the whole image.
    """

    kind: str
    text: str
    answer: str
    polygon: tuple[NDArray[np.float64], ...] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Chip:
    """One place of a data set, on one or several dates.

    Attributes:
        source: name of the source that read it.
        key: its name within the source.
        place: what it shows; training and test are separated by places, not by chips.
        split: `train`, `val` or `test`, as the data set says.
        scene: its images.
        labels: one label map a date; none where the data set has no label map.
        captions: what the data set says of it in words.
        questions: what the data set asks of it.
        country: where it lies, as far as the data set says so in words.
        lonlat: longitude and latitude in degrees of its centre; None where that is unknown.
        origins: what it was before it was exported and read again, as far as that is known.
    """

    source: str
    key: str
    place: str
    split: str
    scene: Scene
    labels: tuple[LabelMap, ...] = ()
    captions: tuple[str, ...] = ()
    questions: tuple[GivenQuestion, ...] = ()
    country: str | None = None
    lonlat: tuple[float, float] | None = None
    origins: tuple[Origin, ...] = ()

    @cached_property
    def labelled(self) -> LabelledScene:
        """Its truth as tasks take it: label maps, pixels measured on every date, their ground size."""
        return LabelledScene(
            labels=self.labels,
            valid=np.logical_and.reduce([pair.valid for pair in self.scene.pairs]),
            pixel_size=_pixel_size(self.scene),
        )


class Source(Protocol):
    """A data set on disk, or a generator of scenes."""

    @property
    def name(self) -> str: ...

    def index(self, split: str) -> Index:
        """The chips of a split (`train`, `val` or `test`), without reading an image.

        Raises:
            SceneError: the folder is not laid out as the data set is.
        """
        ...

    def read(self, key: str) -> Chip:
        """A chip by its key.

        Raises:
            ChipError: the chip cannot be used.
        """
        ...


def read_split(root: Path, split: str, *, place: str | None = None) -> list[dict[str, str]]:
    """The rows of `split.csv` that belong to a split (`train` or `val`), in the order of the file.

    Args:
        place: the column that says which place a chip shows; None where none is needed.

    Raises:
        SceneError: the folder has no such table, or it is that of another data set.
    """
    table = _read_table(root)
    if place is not None and any(place not in row for row in table):
        raise SceneError(
            f"{root / 'split.csv'}: has no column {place!r}; give the folder of the data set that was named"
        )
    return [row for row in table if row["split"] == split]


def row_of(root: Path, key: str) -> dict[str, str]:
    """The row of `split.csv` whose chip is `key`.

    Raises:
        ChipError: the table has no such chip.
    """
    row = next((row for row in _read_table(root) if row["chip"] == key), None)
    if row is None:
        raise ChipError(f"{root / 'split.csv'}: no chip {key}", reason="unknown chip")
    return row


def read_all(source: Source, split: str) -> Iterator[Chip]:
    """The chips of a split one after another; the first that cannot be read ends it with its error."""
    return (source.read(entry.key) for entry in source.index(split).entries)


def read_layers(path: Path) -> NDArray[np.integer]:
    """All layers `[layers, H, W]` of a label raster, as they are stored.

    Raises:
        ChipError: the file is missing or cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path) as source:
                layers: NDArray[np.integer] = source.read()
        except RasterioError as error:
            raise ChipError(f"{path}: not a readable label raster ({error})", reason="unreadable label") from error
    return layers


def _read_table(root: Path) -> list[dict[str, str]]:
    table = root / "split.csv"
    if not table.is_file():
        raise SceneError(f"{table}: not found; give the folder that holds split.csv")
    return _rows(table, table.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _rows(table: Path, changed_ns: int) -> list[dict[str, str]]:
    """The rows of a table, read once for all its chips; `changed_ns` tells it from an earlier version of the file."""
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def _pixel_size(scene: Scene) -> PixelSize | None:
    try:
        return scene.georeference.pixel_size(*scene.shape)
    except ScaleError:
        return None

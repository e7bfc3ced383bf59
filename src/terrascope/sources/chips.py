"""Labelled chips on disk: what the data sets of small images with a split table share."""

from __future__ import annotations

import csv
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from terrascope.errors import SceneError
from terrascope.scene import LabelMap, Scene


@dataclass(frozen=True, kw_only=True, eq=False)
class Chip:
    """One labelled chip: its name, the group of chips of the same place, and its scene with one label map a date."""

    name: str
    group: str
    scene: Scene
    labels: tuple[LabelMap, ...]


def read_split(root: Path, split: str) -> list[dict[str, str]]:
    """The rows of `split.csv` that belong to a split (`train` or `val`), in the order of the file.

    Raises:
        SceneError: the folder has no such table.
    """
    table = root / "split.csv"
    if not table.is_file():
        raise SceneError(f"{table}: not found; give the folder that holds split.csv")
    with table.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def read_layers(path: Path) -> NDArray[np.integer]:
    """All layers `[layers, H, W]` of a label raster, as they are stored.

    Raises:
        SceneError: the file is missing or cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path) as source:
                layers: NDArray[np.integer] = source.read()
        except RasterioError as error:
            raise SceneError(f"{path}: not a readable label raster ({error})") from error
    return layers

"""HLS chips with ESA WorldCover labels: 128 x 128 pixels, seven reflectance bands, water of the day.

Layout: `images/<chip>.tif` (int16, reflectance x 10^4, last band Fmask), `labels/<chip>.tif` (band 1 WorldCover code,
band 2 surface water on the day, which wins), `split.csv` with `chip,group,split`; chips of one group show one place.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio

from terrascope.errors import SceneError
from terrascope.landcover import TERRASCOPE, WORLDCOVER_CODES, translate
from terrascope.rasters.read import read_observation
from terrascope.scene import LabelMap, Scene

GSD_M = 30.0
CLASS_IDS = tuple(sorted({TERRASCOPE.id_of(name) for name in WORLDCOVER_CODES.values()}))


@dataclass(frozen=True, kw_only=True, eq=False)
class Chip:
    """One labelled chip: its name, the group of chips of the same place, and its scene with one label map a date."""

    name: str
    group: str
    scene: Scene
    labels: tuple[LabelMap, ...]


def read_split(root: Path, split: str) -> list[dict[str, str]]:
    """The rows of `split.csv` that belong to a split (`train` or `val`), in the order of the file."""
    table = root / "split.csv"
    if not table.is_file():
        raise SceneError(f"{table}: not found; give the folder that holds split.csv")
    with table.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def read_chips(root: Path, split: str) -> Iterator[Chip]:
    """Yield the chips of a split in the order of `split.csv`."""
    for row in read_split(root, split):
        image = read_observation(root / "images" / f"{row['chip']}.tif", sensor="hls", gsd_m=GSD_M)
        with rasterio.open(root / "labels" / f"{row['chip']}.tif") as source:
            codes, water = source.read(1), source.read(2)
        ids = translate(np.where(water == 1, 80, codes), WORLDCOVER_CODES, TERRASCOPE)
        labels = LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=CLASS_IDS)
        yield Chip(name=row["chip"], group=row["group"], scene=Scene.of(optical=[image]), labels=(labels,))

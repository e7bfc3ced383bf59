"""HLS chips with ESA WorldCover labels: 128 x 128 pixels, seven reflectance bands, water of the day.

Layout: `images/<chip>.tif` (int16, reflectance x 10^4, last band Fmask), `labels/<chip>.tif` (band 1 WorldCover code,
band 2 surface water on the day, which wins), `split.csv` with `chip,group,split`; chips of one group show one place.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from terrascope.landcover import TERRASCOPE, WORLDCOVER_CODES, translate
from terrascope.rasters.read import read_observation
from terrascope.scene import LabelMap, Scene
from terrascope.sources.chips import Chip, read_layers, read_split

GSD_M = 30.0
CLASS_IDS = tuple(sorted({TERRASCOPE.id_of(name) for name in WORLDCOVER_CODES.values()}))


def read_chips(root: Path, split: str) -> Iterator[Chip]:
    """Yield the chips of a split in the order of `split.csv`."""
    for row in read_split(root, split):
        image = read_observation(root / "images" / f"{row['chip']}.tif", sensor="hls", gsd_m=GSD_M)
        codes, water = read_layers(root / "labels" / f"{row['chip']}.tif")
        ids = translate(np.where(water == 1, 80, codes), WORLDCOVER_CODES, TERRASCOPE)
        labels = LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=CLASS_IDS)
        yield Chip(name=row["chip"], group=row["group"], scene=Scene.of(optical=[image]), labels=(labels,))

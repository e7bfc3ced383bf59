"""HLS chips with ESA WorldCover labels: 128 x 128 pixels, seven reflectance bands, water of the day.

Layout: `images/<chip>.tif` (int16, reflectance x 10^4, last band Fmask), `labels/<chip>.tif` (band 1 WorldCover code,
band 2 surface water on the day, which wins), `split.csv` with `chip,group,split`; chips of one group show one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from terrascope.landcover import TERRASCOPE, WORLDCOVER_CODES, translate
from terrascope.rasters.read import read_observation
from terrascope.scene import LabelMap, Scene
from terrascope.sources.chips import Chip, Entry, Index, read_layers, read_split, row_of

GSD_M = 30.0
CLASS_IDS = tuple(sorted({TERRASCOPE.id_of(name) for name in WORLDCOVER_CODES.values()}))


@dataclass(frozen=True)
class HlsWorldCover:
    """The chips below a folder."""

    root: Path
    name: str = "hls-worldcover"

    def index(self, split: str) -> Index:
        """The chips of `train` or `val`, in the order of `split.csv`."""
        return Index(
            entries=tuple(Entry(row["chip"], row["group"]) for row in read_split(self.root, split, place="group"))
        )

    def read(self, key: str) -> Chip:
        """One optical image and its label map."""
        row = row_of(self.root, key)
        image = read_observation(self.root / "images" / f"{key}.tif", sensor="hls", gsd_m=GSD_M)
        codes, water = read_layers(self.root / "labels" / f"{key}.tif")
        ids = translate(np.where(water == 1, 80, codes), WORLDCOVER_CODES, TERRASCOPE)
        labels = LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=CLASS_IDS)
        return Chip(
            source=self.name,
            key=key,
            place=row["group"],
            split=row["split"],
            scene=Scene.of(optical=[image]),
            labels=(labels,),
        )

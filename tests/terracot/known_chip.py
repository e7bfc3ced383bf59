"""A chip of known geometry: 20 x 20 pixels of 10 m; water and trees in the north, crops in the south."""

from __future__ import annotations

import datetime

import numpy as np

from terrascope.georeference import Georeference
from terrascope.landcover import TERRASCOPE
from terrascope.scene import LabelMap, Observation, Scene
from terrascope.sources.chips import Chip

SIDE = 20
WATER, TREE, CROP = (TERRASCOPE.id_of(name) for name in ("water", "tree", "crop"))
KNOWN = (WATER, TREE, CROP, TERRASCOPE.id_of("snow"))

IDS = np.full((SIDE, SIDE), CROP, np.uint8)
IDS[:10, :8] = WATER
IDS[:10, 8:] = TREE
"""Water 80 of 400 pixels (20 %), trees 120 (30 %), crops 200 (50 %); all touch each other."""

LATER_IDS = IDS.copy()
LATER_IDS[10:14, :] = WATER
"""The same after a flood: water 160 (40 %), trees 120 (30 %), crops 120 (30 %)."""


def make_labels(ids: np.ndarray = IDS, known: tuple[int, ...] = KNOWN) -> LabelMap:
    return LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=known)


def make_chip(*all_ids: np.ndarray, labelled: bool = True, gsd_m: float | None = 10.0) -> Chip:
    """A chip with one image for every label map; one date if none is given."""
    maps = all_ids or (IDS,)
    images = [
        Observation(
            pixels=np.stack([ids * 20.0, ids * 10.0, np.full(ids.shape, 90.0)]).astype(np.float32),
            bands=("red", "green", "blue"),
            modality="optical",
            sensor="rgb",
            valid=np.ones(ids.shape, bool),
            georeference=Georeference(gsd_m=gsd_m),
            date=datetime.date(2024, 5, 1 + number),
        )
        for number, ids in enumerate(maps)
    ]
    return Chip(
        source="known",
        key="1",
        place="1",
        split="train",
        scene=Scene.of(optical=images),
        labels=tuple(make_labels(ids) for ids in maps) if labelled else (),
        country="Austria",
    )

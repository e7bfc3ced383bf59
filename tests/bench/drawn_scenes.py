"""Scenes of rectangles as a source, in place of the generated ones: quick to draw, their truth plain arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from terrascope.georeference import Georeference
from terrascope.landcover import TERRASCOPE, UNLABELLED
from terrascope.scene import LabelMap, Observation, Scene
from terrascope.sources.synthetic import SyntheticSample

SIDE, GSD_M = 64, 10.0
CLASSES = ("water", "tree", "grass", "crop", "developed area", "snow", "building", "destroyed building")
ID = {name: TERRASCOPE.id_of(name) for name in CLASSES}
NUM_BUILDINGS = 15


class Truth(NamedTuple):
    """Class ids `[H, W]` of each date, and what is measured on all of them, bool `[H, W]`."""

    ids: tuple[NDArray[np.uint8], ...]
    valid: NDArray[np.bool_]

    def measured(self, date: int) -> NDArray[np.bool_]:
        return self.valid & (self.ids[date] != UNLABELLED)


def draw(seed: int) -> Truth:
    """Three rectangles of land on crops, or, for every third seed, a town of which some houses are later destroyed.

    The first row was not measured; the last one has no label.
    """
    rng = np.random.default_rng(seed)
    ids = np.full((SIDE, SIDE), ID["crop"], np.uint8)
    valid = np.ones(ids.shape, bool)
    valid[0] = False
    if seed % 3 == 0:
        later = ids.copy()
        for number in range(NUM_BUILDINGS):
            row, column = 4 + 12 * (number // 4), 4 + 14 * (number % 4)
            house = np.s_[row : row + 6, column : column + 8]
            ids[house] = ID["building"]
            later[house] = ID["destroyed building" if rng.random() < 0.6 else "building"]
        dates = (ids, later)
    else:
        for name in rng.permutation(["water", "tree", "grass"]):
            top, left = rng.integers(2, 44, 2)
            ids[top : top + rng.integers(10, 24), left : left + rng.integers(8, 24)] = ID[name]
        dates = (ids,)
    for each in dates:
        each[-1] = UNLABELLED
    return Truth(dates, valid)


def make_sample(
    seed: int, *, size: int = SIDE, kind: str | None = None, num_dates: int | None = None, cloudy: bool | None = None
) -> SyntheticSample:
    """The scene of a seed, as `terrascope.sources.synthetic.make_sample` gives it; every fifth one has no SAR."""
    truth = draw(seed)
    georeference = Georeference(gsd_m=GSD_M)
    kinds = {"optical": ("hls", ("B02", "B03", "B04")), "sar": ("sentinel-1", ("VV", "VH"))}
    images: dict[str, list[Observation]] = {"optical": [], "sar": []}
    for kind, (sensor, bands) in kinds.items():
        for date, ids in enumerate(truth.ids):
            pixels = np.stack([ids * 0.01 + number for number in range(len(bands))]).astype(np.float32)
            images[kind].append(
                Observation(
                    pixels=pixels if kind == "optical" else pixels - 20, bands=bands, modality=kind, sensor=sensor,
                    valid=truth.valid, georeference=georeference, source=f"drawn {seed}, date {date + 1}",
                )
            )  # fmt: skip
    known = tuple(ID.values())
    labels = tuple(LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=known) for ids in truth.ids)
    sar = images["sar"] if seed % 5 else []
    return SyntheticSample(
        scene=Scene.of(optical=images["optical"], sar=sar), labels=labels, clouds=(np.zeros((SIDE, SIDE), bool),)
    )

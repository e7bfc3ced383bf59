"""Label maps drawn at random for tests: towns with numbered buildings, and smooth land cover with floods."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from terrascope.georeference import Georeference
from terrascope.landcover import TERRASCOPE, UNLABELLED
from terrascope.scene import LabelMap, Observation, Scene
from terrascope.sources.chips import Chip
from terrascope.tasks import LabelledScene

SIZE = 96
KINDS = ("water", "tree", "grass", "crop", "developed area", "snow")
ID = {name: TERRASCOPE.id_of(name) for name in TERRASCOPE.names}


def draw_country(rng: np.random.Generator) -> LabelledScene:
    """Smooth random land cover on one or two dates, the second with or without a flood; some pixels unknown."""
    field = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)), 12)
    kinds = rng.permutation(KINDS)[: rng.integers(2, 6)]
    cuts = np.quantile(field, np.sort(rng.uniform(0.02, 0.98, len(kinds) - 1)))
    first = np.array([ID[kind] for kind in kinds], np.uint8)[np.digitize(field, cuts)]
    first[:3, :5] = UNLABELLED
    second = first.copy()
    if rng.random() < 0.7:
        top, left = rng.integers(0, SIZE - 20, 2)
        second[top : top + 20, left : left + 16] = ID["flood"]
    known = tuple(ID[kind] for kind in (*KINDS, "wetland", "bare land", "flood"))
    return _scene(rng, [first, second][: rng.integers(1, 3)], known, None)


def draw_town(rng: np.random.Generator) -> LabelledScene:
    """A grid of buildings, some of them destroyed on the second date, and a lake apart from them."""
    first = np.full((SIZE, SIZE), ID["grass"], np.uint8)
    objects = np.zeros((SIZE, SIZE), np.int32)
    for number in range(1, int(rng.integers(4, 26)) + 1):
        row, column = divmod(number - 1, 6)
        window = np.s_[8 + row * 12 : 14 + row * 12, 8 + column * 12 : 15 + column * 12]
        objects[window] = number
    first[objects > 0] = ID["building"]
    first[88:, :40] = ID["water"]
    second = first.copy()
    second[np.isin(objects, rng.permutation(objects.max())[: rng.integers(0, 14)] + 1)] = ID["destroyed building"]
    known = tuple(ID[kind] for kind in ("grass", "building", "destroyed building", "water"))
    second[(objects == 0) & (second == ID["destroyed building"])] = ID["grass"]
    return _scene(rng, [first, second], known, objects)


def _scene(
    rng: np.random.Generator, dates: list[NDArray[np.uint8]], known: tuple[int, ...], objects: NDArray[np.int32] | None
) -> LabelledScene:
    valid = np.ones((SIZE, SIZE), bool)
    valid[:, : int(rng.integers(0, 6))] = False
    gsd_m = float(rng.choice([0.5, 10.0, 30.0]))
    return LabelledScene(
        labels=tuple(
            LabelMap(ids=ids, nomenclature=TERRASCOPE, class_ids_known=known, objects=objects) for ids in dates
        ),
        valid=valid,
        pixel_size=Georeference(gsd_m=gsd_m).pixel_size(SIZE, SIZE),
    )


def draw(seed: int) -> LabelledScene:
    rng = np.random.default_rng(seed)
    return draw_town(rng) if seed % 3 == 0 else draw_country(rng)


def chip_of(labelled: LabelledScene) -> Chip:
    """A chip with this truth, of black images; its pixels are square or of unknown size."""
    gsd_m = None if labelled.pixel_size is None else float(labelled.pixel_size.width_m[0])
    image = Observation(
        pixels=np.zeros((1, *labelled.valid.shape), np.float32),
        bands=("gray",),
        modality="optical",
        sensor="gray",
        valid=labelled.valid,
        georeference=Georeference(gsd_m=gsd_m),
        source="drawn",
    )
    return Chip(
        source="drawn",
        key="0",
        place="0",
        split="train",
        scene=Scene.of(optical=[image] * max(labelled.num_dates, 1)),
        labels=labelled.labels,
    )

"""What makes a scene, and what does not."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terrascope.errors import SceneError
from terrascope.landcover import TERRASCOPE
from terrascope.scene import LabelMap, Modality, Observation, Pair, Scene


def observe(modality: Modality = "optical", size: int = 4, valid: np.ndarray | None = None, **more) -> Observation:
    return Observation(
        pixels=np.zeros((1, size, size), np.float32),
        bands=("B",),
        modality=modality,
        sensor="any",
        valid=np.ones((size, size), bool) if valid is None else valid,
        **more,
    )


def test_band_by_name() -> None:
    pixels = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    observation = Observation(
        pixels=pixels,
        bands=("B03", "B04"),
        modality="optical",
        sensor="any",
        valid=np.ones((2, 2), bool),
        source="a.tif",
    )
    assert observation.band("B04").tolist() == [[4, 5], [6, 7]]
    assert observation.shape == (2, 2)
    with pytest.raises(SceneError, match=r"a\.tif: no band B08; it has B03, B04"):
        observation.band("B08")


def test_observations_that_contradict_themselves() -> None:
    with pytest.raises(SceneError, match="2 bands are named"):
        Observation(
            pixels=np.zeros((1, 2, 2), np.float32),
            bands=("a", "b"),
            modality="sar",
            sensor="any",
            valid=np.ones((2, 2), bool),
        )
    with pytest.raises(SceneError, match="does not lie on the grid"):
        observe(valid=np.ones((3, 3), bool))
    with pytest.raises(SceneError, match=r"a\.tif: every pixel is nodata"):
        observe(valid=np.zeros((4, 4), bool), source="a.tif")


def test_pair_is_valid_where_either_image_is() -> None:
    left, right = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    left[:, :2] = right[:, 1:3] = True
    day = datetime.date(2024, 5, 1)
    pair = Pair(optical=observe(valid=left), sar=observe("sar", valid=right, date=day))
    assert pair.valid.sum(axis=0).tolist() == [4, 4, 4, 0]
    assert pair.date == day
    with pytest.raises(SceneError, match="needs an optical or a SAR image"):
        Pair()


def test_images_are_paired_in_their_order() -> None:
    optical, sar = [observe(), observe()], [observe("sar"), observe("sar")]
    scene = Scene.of(optical=optical, sar=sar)
    assert [pair.observations for pair in scene.pairs] == [(optical[0], sar[0]), (optical[1], sar[1])]
    assert scene.observations == (optical[0], sar[0], optical[1], sar[1])
    assert scene.dates == (None, None)
    with pytest.raises(SceneError, match="2 optical and 1 SAR images cannot be paired"):
        Scene.of(optical=optical, sar=sar[:1])


def test_scenes_that_are_none() -> None:
    with pytest.raises(SceneError, match="at least one image"):
        Scene.of()
    with pytest.raises(SceneError, match=r"share one grid, but their sizes are \[\(4, 4\), \(5, 5\)\]"):
        Scene.of(optical=[observe(), observe(size=5)])
    with pytest.raises(SceneError, match="same kinds of image"):
        Scene((Pair(optical=observe()), Pair(sar=observe("sar"))))


def test_open_reads_files(tmp_path: Path) -> None:
    for name, level in (("a.png", 10), ("b.png", 20)):
        Image.fromarray(np.full((5, 6, 3), level, np.uint8)).save(tmp_path / name)
    scene = Scene.open(optical=[tmp_path / "a.png", tmp_path / "b.png"], dates=["2024-02-01", "2024-01-01"], gsd_m=0.5)
    assert scene.shape == (5, 6)
    assert scene.dates == (datetime.date(2024, 1, 1), datetime.date(2024, 2, 1))
    assert [pair.optical.pixels.max() for pair in scene.pairs] == [20, 10]
    assert scene.georeference.gsd_m == 0.5
    assert Scene.open(optical=tmp_path / "a.png").pairs[0].optical.source == str(tmp_path / "a.png")


def test_label_map_gives_masks() -> None:
    water = TERRASCOPE.id_of("lake")
    labels = LabelMap(ids=np.array([[water, 255]], np.uint8), nomenclature=TERRASCOPE, class_ids_known=(water,))
    assert labels.mask(water).tolist() == [[True, False]]

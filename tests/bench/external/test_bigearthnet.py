"""Scene classification on BigEarthNet: a tree of the exact layout, and the labels that its table holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from affine import Affine

from terrascope.bench.external import open_external
from terrascope.bench.external.labels import LABELS
from terrascope.errors import SceneError

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
FARMED = "Land principally occupied by agriculture, with significant areas of natural vegetation"


def write_raster(path: Path, numbers: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=12, width=12, dtype=numbers.dtype, crs="EPSG:32633",
        transform=Affine(10, 0, 331_200, 0, -10, 5_731_620), nodata=0,
    ) as target:  # fmt: skip
        target.write(numbers, 1)


def write(root: Path, labels: dict[str, list[str] | None]) -> Path:
    rows = [
        {"patch_id": patch, "labels": names, "split": "train" if patch.endswith("0_0") else "test", "country": "Malta",
         "s1_name": None, "contains_seasonal_snow": patch.endswith("9_9"), "contains_cloud_or_shadow": False}
        for patch, names in labels.items()
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), root / "metadata.parquet")
    for patch in labels:
        for number, band in enumerate(("B02", "B03", "B04", "B08")):
            pixels = np.full((12, 12), 1000 * (number + 1), np.uint16)
            write_raster(root / "BigEarthNet-S2" / TILE / patch / f"{patch}_{band}.tif", pixels)
        code = np.full((12, 12), 211, np.uint16)
        write_raster(root / "Reference_Maps" / TILE / patch / f"{patch}_reference_map.tif", code)
    return root


def test_a_patch_is_asked_for_all_its_labels(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            f"{TILE}_1_2": [FARMED, "Arable land"],
            f"{TILE}_0_0": ["Pastures"],
            f"{TILE}_9_9": ["Pastures"],
            f"{TILE}_1_3": [],
            f"{TILE}_1_4": ["Meadows"],
        },
    )
    benchmark = open_external("bigearthnet", root)
    (sample,) = benchmark.samples
    assert sample.truth == sample.answer == f"Arable land; {FARMED}", "in the order of the 19"
    assert (sample.options, sample.task, sample.id) == ((), "scene_classification", f"bigearthnet/{TILE}_1_2")
    assert all(label in sample.question for label in LABELS) and len(LABELS) == 19
    assert benchmark.skipped == {"seasonal snow": 1, "patch without labels": 1, "label of an unknown name": 1}
    shown = benchmark.item(0)
    assert shown.shown == "optical" and shown.scene.observations[0].sensor == "sentinel-2"
    assert shown.scene.observations[0].band("B04")[0, 0] == pytest.approx(0.3)
    assert sample.images[0].day == "2017-06-13"


def test_a_table_without_labels(tmp_path: Path) -> None:
    root = write(tmp_path, {f"{TILE}_1_2": ["Pastures"]})
    table = pq.read_table(root / "metadata.parquet").drop_columns("labels")
    pq.write_table(table, root / "metadata.parquet")
    with pytest.raises(SceneError, match="labels"):
        open_external("bigearthnet", root)

"""What all writers of masks have in common: a file appears whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.rasters.masks_of_known_shape import UTM, named, square

from terrascope.errors import OutputError
from terrascope.rasters import write

WRITERS = {
    "masks.tif": write.write_masks_tif,
    "steps.tif": write.write_steps_tif,
    "masks.geojson": write.write_masks_geojson,
    "masks.parquet": write.write_masks_parquet,
    "overlay.png": lambda path, masks, _: write.write_overlay(path, np.zeros((3, 20, 30), np.float32), masks),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=rf"{name}: cannot be written \(.+\); choose a folder that exists"):
        WRITERS[name](tmp_path / "missing" / name, [named(square())], UTM)
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match=f"{name}: cannot be written"):
        WRITERS[name](tmp_path / name, [named(square())], UTM)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "overlay.png"])
def test_masks_of_one_file_share_a_grid(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="must share a grid"):
        WRITERS[name](tmp_path / name, [named(square()), named(square(21))], UTM)
    with pytest.raises(OutputError, match="no mask to write"):
        WRITERS[name](tmp_path / name, [], UTM)
    assert list(tmp_path.iterdir()) == []


def test_a_mask_and_what_was_measured_share_a_grid() -> None:
    with pytest.raises(OutputError, match="must share a grid"):
        named(square(), np.ones((3, 3), bool))


def test_a_reduced_mask_shows_all_that_is_below_and_was_measured() -> None:
    mask, valid = np.zeros((7, 10), bool), np.ones((7, 10), bool)
    mask[0, 9] = mask[6, 0] = mask[3, 4] = True
    valid[3, 4] = False
    valid[:3, :5] = False
    small = named(mask, valid).reduced((2, 2))
    assert small.mask.tolist() == [[False, True], [True, False]]
    assert small.valid.tolist() == [[False, True], [True, True]]
    assert named(mask, valid).reduced((7, 10)).mask is mask

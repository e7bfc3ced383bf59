"""A short budget of every kind of input, and proof that the invariants can be broken; for long: benchmarks/fuzz.py."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from terrascope.errors import SceneError
from terrascope.georeference import Georeference
from terrascope.scene import Observation
from tests.fuzz import invariants, mutations
from tests.fuzz.cases import KINDS, make, take
from tests.fuzz.masks import write_and_reread
from tests.fuzz.rasters import write_raster
from tests.fuzz.texts import read_text

ROOT = Path(__file__).resolve().parents[2]
RANDOMS = st.randoms(use_true_random=False)
QUICK = settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize(("kind", "num_inputs"), [("made", 60), ("dates", 30), ("bands", 30)])
def test_what_gdal_wrote_is_read_or_refused(kind: str, num_inputs: int, tmp_path: Path) -> None:
    outcomes = set()
    for number in range(num_inputs):
        folder = tmp_path / str(number)
        folder.mkdir()
        case = f"{kind}:{number}"
        outcomes.add(take(case, make(case, folder), folder))
    assert outcomes == {"read", "refused"}


@settings(QUICK, max_examples=15)
@given(RANDOMS, st.sampled_from(["made", "dates", "bands"]))
def test_what_hypothesis_makes_of_it(random: Random, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = KINDS[kind].make(random, Path(folder), [])
        assert KINDS[kind].take(random, paths, Path(folder)) in ("read", "refused")


@settings(QUICK, max_examples=15)
@given(RANDOMS)
def test_masks_are_written_and_reread(random: Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert write_and_reread(random, Path(folder)) in ("written", "refused")


@pytest.mark.parametrize("number", [3003124, 3005385])
def test_outlines_that_cross_themselves_in_longitude_are_written(number: int, tmp_path: Path) -> None:
    assert take(f"masks:{number}", [], tmp_path) == "written"


@settings(QUICK, max_examples=150)
@given(RANDOMS)
def test_texts_are_read_or_refused(random: Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert read_text(random, Path(folder)) in ("read", "refused")


def test_damaged_files_in_processes_that_may_die(tmp_path: Path) -> None:
    kinds = ("--kind", "damaged", "--kind", "cut")
    command = [sys.executable, str(ROOT / "benchmarks" / "fuzz.py"), "--inputs", "60", "--workers", "1", *kinds]
    done = subprocess.run(
        [*command, "--keep", str(tmp_path / "keep")], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "survived 60  defects 0" in done.stdout
    assert not (tmp_path / "keep").exists()


def test_the_number_of_a_case_says_everything_of_it(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        path = write_raster(Random("made:7"), tmp_path / name)
        contents.append((path.name, mutations.damage(Random(7), path.read_bytes())))
    assert contents[0] == contents[1]
    assert contents[0][1] != (tmp_path / "a" / contents[0][0]).read_bytes()


@pytest.mark.parametrize(
    "data", [b"", b"x", b"II*\0", b"II*\0" + bytes(20), b"MM\0+" + b"\xff" * 40, b"\x89PNG" + b"\xff" * 60, b"\xff\xd8"]
)
def test_any_bytes_can_be_damaged(data: bytes) -> None:
    assert all(isinstance(mutations.damage(Random(seed), data), bytes) for seed in range(50))


def observation(**changed) -> Observation:
    pixels = np.ones((3, 4, 5), np.float32)
    valid = np.ones((4, 5), bool)
    valid[0, 0] = False
    pixels[:, 0, 0] = 0
    sound = {
        "pixels": pixels,
        "bands": ("red", "green", "blue"),
        "modality": "optical",
        "sensor": "rgb",
        "valid": valid,
    }
    return Observation(**{**sound, "georeference": Georeference(gsd_m=10), **changed})


def test_the_invariants_hold_of_a_sound_observation() -> None:
    invariants.check_observation(observation(), Random(0))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"pixels": np.full((3, 4, 5), np.nan, np.float32)}, "not finite"),
        ({"pixels": np.ones((3, 4, 5), np.float32)}, "outside of the valid mask"),
        ({"pixels": np.zeros((3, 4, 5))}, "pixels are float64"),
        ({"valid": np.zeros((4, 5), bool)}, "nowhere True"),
        ({"valid": np.ones((4, 5), np.uint8)}, "not boolean"),
        ({"bands": ("red", "green", "red")}, "repeat"),
    ],
)
def test_the_invariants_can_be_broken(broken: dict, said: str) -> None:
    with pytest.raises(invariants.Broken, match=said):
        invariants.check_observation(observation(**broken), Random(0))


@pytest.mark.parametrize("message", ["", "x" * 501, "two\nlines", "Traceback (most recent call last)"])
def test_a_refusal_is_one_short_line(message: str) -> None:
    with pytest.raises(invariants.Broken):
        invariants.check_refusal(SceneError(message))
    invariants.check_refusal(SceneError("scene.tif: no such file; give the path of an image"))


def test_made_up_pixels_are_noticed(tmp_path: Path) -> None:
    for name, value in (("whole.tif", 500), ("other.tif", 501)):
        shape = {"count": 3, "height": 4, "width": 4, "dtype": "uint16", "crs": "EPSG:32633"}
        place = Affine(10, 0, 5e5, 0, -10, 5e6)
        with rasterio.open(tmp_path / name, "w", driver="GTiff", transform=place, **shape) as dataset:
            dataset.write(np.full((3, 4, 4), value, np.uint16))
            for index, band in enumerate(("B02", "B03", "B04"), start=1):
                dataset.set_band_description(index, band)
    assert invariants.read_cut(tmp_path / "whole.tif", tmp_path / "whole.tif") == "read"
    with pytest.raises(invariants.Broken, match="made up"):
        invariants.read_cut(tmp_path / "whole.tif", tmp_path / "other.tif")

"""Windows as stored: the numbers that GDAL reads, and measured where GDAL's mask and the numbers themselves say so."""

from __future__ import annotations

import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning

from terrascope.errors import SceneError
from terrascope.rasters.windows import OpenRaster

SIDE = 24
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
NODATA = (None, 0, 7, 100, 0.1, 3.5, -9999, -9999.1, 1e-30, 16_777_217, 3.4e38, float("inf"), float("nan"))


def near(number: float, dtype: str) -> np.ndarray:
    """A number, its next neighbours in float32 and float64, and numbers about as far from it as GDAL takes for it."""
    steps = 10.0 ** np.arange(-9, -5, 0.2)
    found = [number, 1 - number, 0, np.nan, np.inf, -np.inf, *(number * (1 + steps)), *(number * (1 - steps))]
    for kind in (np.float32, np.float64):
        found += [np.nextafter(kind(number), kind(np.inf)), np.nextafter(kind(number), kind(-np.inf))]
    with np.errstate(all="ignore"):
        if dtype.startswith("float"):
            return np.array(found).astype(dtype)
        limits = np.iinfo(dtype)
        return np.clip(np.nan_to_num(np.array(found)), limits.min, limits.max).astype(dtype)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(DTYPES),
    nodata=st.sampled_from(NODATA),
    interleave=st.sampled_from(["pixel", "band"]),
    kind=st.sampled_from(["plain", "mask", "alpha"]),
    has_nodata_pixels=st.booleans(),
    seed=st.integers(0, 2**16),
    data=st.data(),
)
def test_numbers_and_measured_are_those_of_gdal(
    tmp_path: Path, dtype: str, nodata, interleave: str, kind: str, has_nodata_pixels: bool, seed: int, data
) -> None:
    rng = np.random.default_rng(seed)
    stored = rng.integers(1, 100, (3, SIDE, SIDE)).astype(dtype)
    if has_nodata_pixels:
        values = near(0 if nodata is None or not np.isfinite(nodata) else nodata, dtype)
        holes = rng.random(stored.shape) < 0.3
        stored[holes] = rng.choice(values, holes.sum())
    if (
        nodata is not None
        and not dtype.startswith("float")
        and not np.iinfo(dtype).min <= nodata <= np.iinfo(dtype).max
    ):
        nodata = None
    path = tmp_path / "a.tif"
    seen = (rng.random((SIDE, SIDE)) < 0.8).astype(np.uint8) * 255
    with warnings.catch_warnings(), np.errstate(all="ignore"), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        warnings.simplefilter("ignore", NodataShadowWarning)
        profile = {"count": 3 + (kind == "alpha"), "height": SIDE, "width": SIDE, "dtype": dtype, "nodata": nodata}
        with rasterio.open(path, "w", driver="GTiff", interleave=interleave, **profile) as file:
            file.write(stored, [1, 2, 3])
            if kind == "alpha":
                file.write((seen > 0).astype(dtype) * np.array(100, dtype), 4)
                file.colorinterp = [*file.colorinterp[:3], rasterio.enums.ColorInterp.alpha]
            if kind == "mask":
                file.write_mask(seen)
        top, left = data.draw(st.integers(0, SIDE - 1)), data.draw(st.integers(0, SIDE - 1))
        part = slice(top, data.draw(st.integers(top + 1, SIDE))), slice(left, data.draw(st.integers(left + 1, SIDE)))
        indexes = data.draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, unique=True))
        with rasterio.open(path) as file:
            expected = file.read(indexes)[:, *part].astype(np.float32)
            by_gdal = np.stack([file.read_masks(index)[part] > 0 for index in indexes])
    with closing(OpenRaster(str(path))) as raster:
        numbers, measured = raster.read(indexes, part)
        canvas = np.zeros((len(indexes), SIDE, SIDE), np.float32)
        raster.read(indexes, part, canvas[:, *part])
    np.testing.assert_array_equal(numbers, expected)
    np.testing.assert_array_equal(canvas[:, *part], expected)
    for known, gdal, values in zip(measured, by_gdal, expected, strict=True):
        wanted = gdal & np.isfinite(values)
        np.testing.assert_array_equal(np.ones_like(wanted) if known is None else known, wanted)


def test_damage_names_file_and_bands(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(0).integers(0, 4000, (2, 300, 300)).astype(np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", count=2, height=300, width=300, dtype="uint16", compress="deflate"
        ) as file:
            file.write(noise)
    path.write_bytes(path.read_bytes()[:200_000])
    everything = slice(0, 300), slice(0, 300)
    with closing(OpenRaster(str(path))) as raster:
        with pytest.raises(SceneError, match=r"a\.tif: one of the bands 1, 2 cannot be read; the file is damaged"):
            raster.read([1, 2], everything)
        with pytest.raises(SceneError, match=r"a\.tif: band 2 cannot be read; the file is damaged"):
            raster.read([2], everything)

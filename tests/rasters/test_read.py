"""Files of known content, read back as physical values; and files that must be refused, with what is said of them."""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from terrascope.errors import SceneError
from terrascope.rasters.read import open_scene, read_observation
from terrascope.rasters.sensors import render

UTM = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}


def write_tif(path: Path, pixels, *, names=(), masks=None, scale=None, colors=None, **profile) -> Path:
    pixels = np.asarray(pixels)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": pixels.shape[0], "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype.name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **shape, **profile) as dataset:
            dataset.write(pixels)
            for index, name in enumerate(names, start=1):
                dataset.set_band_description(index, name)
            if masks is not None:
                dataset.write_mask(masks)
            if scale is not None:
                dataset.scales = [scale] * pixels.shape[0]
            if colors is not None:
                dataset.colorinterp = colors
    return path


def ramp(height: int = 8, width: int = 8, dtype: str = "uint16") -> np.ndarray:
    return (100 + np.arange(height * width).reshape(height, width)).astype(dtype)


def test_described_stack_becomes_reflectance(tmp_path: Path) -> None:
    stored = np.stack([ramp() * k for k in (1, 2, 3, 4)])
    path = write_tif(tmp_path / "s2.tif", stored, names=("B2", "B03", "B04", "b08"), **UTM)
    observation = read_observation(path, date=datetime.date(2024, 5, 1))
    assert observation.sensor == "sentinel-2"
    assert observation.bands == ("B02", "B03", "B04", "B08")
    assert observation.pixels.dtype == np.float32
    np.testing.assert_allclose(observation.band("B04"), 3e-4 * ramp(), rtol=1e-6)
    assert observation.valid.all()
    assert observation.date == datetime.date(2024, 5, 1)
    assert observation.georeference.crs.to_epsg() == 32633
    assert observation.georeference.transform == UTM["transform"]
    assert observation.source == str(path)


def test_bands_come_in_the_sensors_order_and_unknown_layers_are_left_out(tmp_path: Path) -> None:
    stored = np.stack([np.full((4, 4), n, np.uint16) for n in (400, 9999, 300, 200)])
    observation = read_observation(write_tif(tmp_path / "a.tif", stored, names=("B04", "NDVI", "B03", "B02"), **UTM))
    assert observation.bands == ("B02", "B03", "B04")
    np.testing.assert_allclose(observation.pixels[:, 0, 0], [0.02, 0.03, 0.04], rtol=1e-6)


@pytest.mark.parametrize(("count", "red"), [(12, 3), (13, 3)])
def test_named_sensor_gives_an_unnamed_stack_its_order(tmp_path: Path, count: int, red: int) -> None:
    stored = np.stack([np.full((4, 4), 100 * (n + 1), np.int16) for n in range(count)])
    path = write_tif(tmp_path / "stack.tif", stored, **UTM)
    observation = read_observation(path, sensor="sentinel-2")
    assert ("B10" in observation.bands) == (count == 13)
    np.testing.assert_allclose(observation.band("B04"), 0.01 * (red + 1), rtol=1e-6)
    np.testing.assert_allclose(observation.band("B12"), 0.01 * count, rtol=1e-6)
    with pytest.raises(SceneError, match=rf"stack.tif: nothing says what its bands \({count} x int16\) show.*--sensor"):
        read_observation(path)


def test_offset_since_baseline_4(tmp_path: Path) -> None:
    stored = np.full((3, 4, 4), 1500, np.uint16)
    path = write_tif(tmp_path / "s2.tif", stored, names=("B02", "B03", "B04"), **UTM)
    np.testing.assert_allclose(read_observation(path, sensor="sentinel-2-offset").pixels, 0.05, rtol=1e-5)
    safe = tmp_path / "S2A_MSIL2A_20230101T100000_N0509_R022_T32TQM_20230101T120000.SAFE" / "GRANULE"
    for band in ("B02", "B03", "B04"):
        write_tif(safe / f"T32TQM_20230101T100000_{band}_10m.tif", stored[0], **UTM)
    observation = read_observation(safe)
    assert observation.sensor == "sentinel-2-offset"
    np.testing.assert_allclose(observation.pixels, 0.05, rtol=1e-5)


def test_scale_stated_by_the_file_wins(tmp_path: Path) -> None:
    stored = np.full((3, 4, 4), 50, np.int16)
    observation = read_observation(
        write_tif(tmp_path / "a.tif", stored, names=("B02", "B03", "B04"), scale=0.002, **UTM)
    )
    np.testing.assert_allclose(observation.pixels, 0.1, rtol=1e-6)
    stored[:, 1, 2] = 0
    filled = read_observation(write_tif(tmp_path / "b.tif", stored, names=("B02", "B03", "B04"), scale=0.002, **UTM))
    assert np.argwhere(~filled.valid).tolist() == [[1, 2]]


def test_hls_is_told_by_fmask_which_is_no_band(tmp_path: Path) -> None:
    names = ("B02", "B03", "B04", "B8A", "B11", "B12", "Fmask")
    stored = np.full((7, 4, 4), 700, np.int16)
    stored[6] = 64
    stored[6, 0, 0] = 255
    stored[2, 1, 1] = -9999
    observation = read_observation(write_tif(tmp_path / "h.tif", stored, names=names))
    assert observation.sensor == "hls"
    assert observation.bands == names[:6]
    assert np.argwhere(~observation.valid).tolist() == [[0, 0], [1, 1]]
    np.testing.assert_allclose(observation.band("B8A")[observation.valid], 0.07, rtol=1e-6)
    assert observation.pixels[:, 1, 1].tolist() == [0] * 6


def test_landsat_scale_and_ambiguous_names(tmp_path: Path) -> None:
    stored = np.full((7, 4, 4), 10_000, np.uint16)
    names = tuple(f"SR_B{n}" for n in range(1, 8))
    observation = read_observation(write_tif(tmp_path / "l.tif", stored, names=names, **UTM))
    assert observation.sensor == "landsat"
    np.testing.assert_allclose(observation.pixels, 0.075, rtol=1e-5)
    ambiguous = write_tif(tmp_path / "m.tif", stored[:4], names=("B1", "B2", "B3", "B4"), **UTM)
    with pytest.raises(SceneError, match="several sensors have bands named B01, B02, B03, B04; give --sensor"):
        read_observation(ambiguous)
    assert read_observation(ambiguous, sensor="sentinel-2").bands == ("B01", "B02", "B03", "B04")


def test_roles_are_understood_once_the_sensor_is_named(tmp_path: Path) -> None:
    stored = np.stack([np.full((4, 4), n, np.uint16) for n in (100, 200, 300, 900)])
    path = write_tif(tmp_path / "p.tif", stored, names=("blue", "green", "red", "red edge"), **UTM)
    with pytest.raises(SceneError, match="several sensors have bands named blue, green, red"):
        read_observation(path)
    observation = read_observation(path, sensor="sentinel-2")
    assert observation.bands == ("B02", "B03", "B04")
    np.testing.assert_allclose(observation.pixels[:, 0, 0], [0.01, 0.02, 0.03], rtol=1e-6)


def test_nodata_nan_and_mask_make_the_valid_mask(tmp_path: Path) -> None:
    names = ("B02", "B03", "B04")
    stored = np.full((3, 4, 4), 500, np.int16)
    stored[1, 0, 0] = -1
    tagged = read_observation(write_tif(tmp_path / "tag.tif", stored, names=names, nodata=-1, **UTM))
    assert np.argwhere(~tagged.valid).tolist() == [[0, 0]]
    assert tagged.pixels[:, 0, 0].tolist() == [0, 0, 0]
    blank = np.full((3, 4, 4), 500, np.uint16)
    blank[:, 2, 3] = 0
    blank[0, 1, 1] = 0
    untagged = read_observation(write_tif(tmp_path / "zero.tif", blank, names=names, **UTM))
    assert np.argwhere(~untagged.valid).tolist() == [[2, 3]]
    mask = np.full((4, 4), 255, np.uint8)
    mask[3, :2] = 0
    masked = read_observation(write_tif(tmp_path / "mask.tif", blank + 1, names=names, masks=mask, **UTM))
    assert np.argwhere(~masked.valid).tolist() == [[3, 0], [3, 1]]
    floats = np.full((3, 4, 4), 0.2, np.float32)
    floats[2, 1, 2] = np.nan
    nan = read_observation(write_tif(tmp_path / "nan.tif", floats, names=names, **UTM), sensor="sentinel-2-reflectance")
    assert np.argwhere(~nan.valid).tolist() == [[1, 2]]


def test_single_band_files_meet_on_the_finest_grid(tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    fine = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    coarse = {"crs": "EPSG:32633", "transform": Affine(20, 0, 500_000, 0, -20, 5_000_000)}
    for band in ("B02", "B03", "B04"):
        write_tif(folder / f"T33_20240501_{band}_10m.tif", ramp(8, 12), **fine)
    columns = np.broadcast_to(1000 + 200 * np.arange(6), (4, 6)).astype(np.uint16)
    write_tif(folder / "T33_20240501_B11_20m.tif", columns, **coarse)
    write_tif(folder / "preview.tif", np.zeros((3, 2, 2), np.uint8))
    (folder / "metadata.json").write_text("{}")
    observation = read_observation(folder)
    assert observation.bands == ("B02", "B03", "B04", "B11")
    assert observation.shape == (8, 12)
    np.testing.assert_allclose(observation.band("B02"), 1e-4 * ramp(8, 12), rtol=1e-6)
    # A ramp of 200 per 20 m is one of 100 per 10 m; the centre of the fine pixel lies a quarter of a coarse one aside.
    expected = 1e-4 * (1000 + 100 * (np.arange(12) - 0.5))
    np.testing.assert_allclose(observation.band("B11")[3, 1:-1], expected[1:-1], rtol=1e-5)
    as_list = read_observation([folder / f"T33_20240501_{band}_10m.tif" for band in ("B04", "B02", "B03")])
    assert as_list.bands == ("B02", "B03", "B04")


def test_single_band_files_without_crs_share_their_ground(tmp_path: Path) -> None:
    for band, size in (("B02", 8), ("B03", 8), ("B04", 8), ("B11", 4)):
        stored = np.broadcast_to(1000 + 800 // size * np.arange(size), (size, size)).astype(np.uint16)
        write_tif(tmp_path / "s" / f"{band}.tif", stored)
    observation = read_observation(tmp_path / "s")
    assert observation.shape == (8, 8)
    np.testing.assert_allclose(
        observation.band("B11")[2, 1:-1], 1e-4 * (1000 + 100 * (np.arange(1, 7) - 0.5)), rtol=1e-5
    )


def test_png_with_alpha_and_jpeg(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2], pixels[..., 3] = 255, 51, 0, 255
    pixels[1, 2, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    observation = read_observation(tmp_path / "rgba.png")
    assert (observation.sensor, observation.bands) == ("rgb", ("red", "green", "blue"))
    assert np.argwhere(~observation.valid).tolist() == [[1, 2]]
    np.testing.assert_allclose(render(observation)[:, 0, 0], [1.0, 0.2, 0.0], rtol=1e-6)
    assert observation.georeference.crs is None
    Image.fromarray(np.full((16, 16, 3), 128, np.uint8)).save(tmp_path / "gray.jpg", quality=95)
    np.testing.assert_allclose(read_observation(tmp_path / "gray.jpg").pixels, 128, atol=1)


def test_rgb_tif_by_colour_interpretation_and_dark_channels(tmp_path: Path) -> None:
    stored = np.full((3, 4, 4), 9, np.uint8)
    stored[0, 0, 0] = 0
    stored[:, 1, 1] = 0
    path = write_tif(tmp_path / "rgb.tif", stored, photometric="rgb", nodata=0, **UTM)
    observation = read_observation(path, gsd_m=5)
    assert observation.sensor == "rgb"
    assert np.argwhere(~observation.valid).tolist() == [[1, 1]]
    assert observation.pixels[:, 0, 0].tolist() == [0, 9, 9]
    assert observation.georeference.gsd_m == 5
    gray = write_tif(tmp_path / "bands.tif", stored, photometric="minisblack", **UTM)
    with pytest.raises(SceneError, match="nothing says what its bands"):
        read_observation(gray)
    assert read_observation(gray, sensor="false-color").bands == ("swir", "nir", "red")


def test_sar_in_decibels_with_nan(tmp_path: Path) -> None:
    stored = np.stack([np.full((4, 4), -10.0), np.full((4, 4), -17.0)]).astype(np.float32)
    stored[1, 0, 3] = np.nan
    stored[:, 3, 3] = 0
    observation = read_observation(write_tif(tmp_path / "s1.tif", stored, names=("VV", "VH"), **UTM), modality="sar")
    assert (observation.sensor, observation.modality) == ("sentinel-1", "sar")
    assert np.argwhere(~observation.valid).tolist() == [[0, 3], [3, 3]]
    assert observation.pixels[:, 1, 1].tolist() == [-10, -17]
    single = read_observation(write_tif(tmp_path / "S1_VV.tif", stored[0], **UTM), modality="sar")
    assert single.bands == ("VV",)


def test_linear_power_is_refused_unless_it_is_named(tmp_path: Path) -> None:
    stored = np.stack([np.full((4, 4), 0.1), np.full((4, 4), 0.01)]).astype(np.float32)
    path = write_tif(tmp_path / "s1.tif", stored, names=("VV", "VH"), **UTM)
    with pytest.raises(SceneError, match=r"no negative value, so it is not in decibels.*sentinel-1-linear"):
        read_observation(path, modality="sar")
    observation = read_observation(path, modality="sar", sensor="sentinel-1-linear")
    np.testing.assert_allclose(observation.pixels[:, 0, 0], [-10, -20], rtol=1e-5)
    np.testing.assert_allclose(render(observation)[0, 0, 0], 0.6, rtol=1e-5)
    wild = write_tif(tmp_path / "wild.tif", stored * -1e4, names=("VV", "VH"), **UTM)
    with pytest.raises(SceneError, match="are no decibels"):
        read_observation(wild, modality="sar")


def test_numbers_that_the_sensor_cannot_store_are_refused(tmp_path: Path) -> None:
    names = ("B02", "B03", "B04")
    stretched = write_tif(tmp_path / "a.tif", np.full((3, 4, 4), 200, np.uint8), names=names, **UTM)
    with pytest.raises(SceneError, match="--sensor sentinel-2-8bit"):
        read_observation(stretched, sensor="sentinel-2")
    told = read_observation(stretched)
    assert told.sensor == "sentinel-2-8bit" and told.evidence[-1] == "sentinel-2-8bit: by its 8-bit numbers"
    np.testing.assert_allclose(render(told), 200 / 255, rtol=1e-6)
    reflectance = write_tif(tmp_path / "b.tif", np.full((3, 4, 4), 0.2, np.float32), names=names, **UTM)
    with pytest.raises(SceneError, match="sentinel-2-reflectance"):
        read_observation(reflectance)
    stored = write_tif(tmp_path / "c.tif", np.full((3, 4, 4), 900, np.uint16), names=names, **UTM)
    with pytest.raises(SceneError, match="makes a reflectance of 900"):
        read_observation(stored, sensor="sentinel-2-reflectance")
    deep = write_tif(tmp_path / "d.tif", np.full((3, 4, 4), 900, np.uint16), photometric="rgb", **UTM)
    with pytest.raises(SceneError, match="0 to 255"):
        read_observation(deep, sensor="rgb")


def test_pixel_numbers_are_no_place(tmp_path: Path) -> None:
    profile = {"crs": "EPSG:32651", "transform": Affine(1, 0, -0.5, 0, 1, -0.5)}
    path = write_tif(tmp_path / "trap.tif", np.full((3, 4, 4), 9, np.uint8), photometric="rgb", **profile)
    assert not read_observation(path).georeference.is_located
    profile = {"crs": 'LOCAL_CS["site",UNIT["metre",1]]', "transform": Affine(2, 0, 50, 0, -2, 50)}
    local = write_tif(tmp_path / "local.tif", np.full((3, 4, 4), 9, np.uint8), photometric="rgb", **profile)
    assert not read_observation(local).georeference.is_located


def test_unusable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"nope\.tif: no such file"):
        read_observation(tmp_path / "nope.tif")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(SceneError, match=r"text\.tif: cannot be read as an image"):
        read_observation(tmp_path / "text.tif")
    whole = write_tif(
        tmp_path / "cut.tif", np.random.default_rng(0).integers(0, 255, (3, 64, 64), np.uint8), photometric="rgb"
    )
    whole.write_bytes(whole.read_bytes()[:4000])
    with pytest.raises(SceneError, match=r"cut\.tif"):
        read_observation(whole)
    empty = write_tif(tmp_path / "empty.tif", np.zeros((3, 4, 4), np.uint16), names=("B02", "B03", "B04"), nodata=0)
    with pytest.raises(SceneError, match=r"empty\.tif: every pixel is nodata"):
        read_observation(empty)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SceneError, match="folder holds no image"):
        read_observation(tmp_path / "folder")
    with pytest.raises(SceneError, match=r"empty\.tif: 4 x 4 pixels are more than the limit of 15"):
        read_observation(empty, max_pixels=15)
    with pytest.raises(SceneError, match="an empty list of files"):
        read_observation([])


def test_wrong_bands_are_named(tmp_path: Path) -> None:
    single = write_tif(tmp_path / "x_B03.tif", ramp(), **UTM)
    with pytest.raises(SceneError, match="holds B03 of sentinel-2 but lacks B04, B02"):
        read_observation(single)
    five = write_tif(tmp_path / "five.tif", np.full((5, 4, 4), 9, np.uint16), **UTM)
    with pytest.raises(SceneError, match=r"must have 12 \(B01..B12\) or 13 \(B01..B12\) bands .* but it has 5"):
        read_observation(five, sensor="sentinel-2")
    with pytest.raises(SceneError, match="sensor sentinel-1 is sar but the image was given as optical"):
        read_observation(five, sensor="sentinel-1")
    others = [write_tif(tmp_path / f"x_{band}.tif", ramp(), **UTM) for band in ("B02", "B04")]
    with pytest.raises(SceneError, match="two layers are band B03"):
        read_observation([single, *others, write_tif(tmp_path / "y" / "x_B03.tif", ramp(), **UTM)])
    with pytest.raises(SceneError, match="complex"):
        read_observation(write_tif(tmp_path / "slc.tif", ramp().astype(np.complex64), **UTM), modality="sar")


def test_no_warning_reaches_the_user(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "rgb.tif", np.full((3, 4, 4), 9, np.uint8), photometric="rgb")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_observation(path)


def optical_file(path: Path, value: int = 1000, size: int = 16, **profile) -> Path:
    profile = profile or UTM
    return write_tif(path, np.full((3, size, size), value, np.uint16), names=("B02", "B03", "B04"), **profile)


def test_scene_of_one_grid_is_read_as_it_is(tmp_path: Path) -> None:
    backscatter = -20 + 0.01 * ramp(16, 16, "float32")
    sar = write_tif(tmp_path / "s1_VV.tif", backscatter, **UTM)
    scene = open_scene(optical=optical_file(tmp_path / "a.tif"), sar=[sar])
    assert len(scene.pairs) == 1
    np.testing.assert_array_equal(scene.pairs[0].sar.band("VV"), backscatter)


def test_dates_put_the_pairs_in_order(tmp_path: Path) -> None:
    files = [optical_file(tmp_path / f"{n}.tif", 1000 * n) for n in (1, 2, 3)]
    scene = open_scene(optical=files, dates=["2024-07-01", datetime.date(2023, 1, 1), "2024-01-01"])
    assert [day.isoformat() for day in scene.dates] == ["2023-01-01", "2024-01-01", "2024-07-01"]
    np.testing.assert_allclose([pair.optical.pixels[0, 0, 0] for pair in scene.pairs], [0.2, 0.3, 0.1], rtol=1e-6)
    undated = open_scene(optical=files)
    np.testing.assert_allclose([pair.optical.pixels[0, 0, 0] for pair in undated.pairs], [0.1, 0.2, 0.3], rtol=1e-6)
    with pytest.raises(SceneError, match=r"^2 dates were given for 3 images; give one date per image$"):
        open_scene(optical=files, dates=["2024-07-01", "2024-07-02"])
    with pytest.raises(SceneError, match=r"^1 date was given for 3 images"):
        open_scene(optical=files, dates=["2024-07-01"])
    with pytest.raises(SceneError, match=r"^2 dates were given for 1 image;"):
        open_scene(optical=files[:1], dates=["2024-07-01", "2024-07-02"])
    assert scene.notes == ("The images were put in the order of their dates: 2023-01-01, 2024-01-01, 2024-07-01.",)
    assert undated.notes == ()


@pytest.mark.parametrize("wrong", ["1.7.2024", "20240501", "2024-W18-3", "2024-02-30", "", " 2024-05-01", 5, None])
def test_a_day_is_written_in_one_way(tmp_path: Path, wrong) -> None:
    with pytest.raises(SceneError, match=r"is not a day; write it as YYYY-MM-DD"):
        open_scene(optical=optical_file(tmp_path / "a.tif"), dates=[wrong])


@pytest.mark.parametrize("wrong", ["2024-05-01", b"2024-05-01", 5, datetime.date(2024, 5, 1), {"2024-05-01"}])
def test_dates_are_a_list(tmp_path: Path, wrong) -> None:
    with pytest.raises(SceneError, match="is no list; give one day per image"):
        open_scene(optical=optical_file(tmp_path / "a.tif"), dates=wrong)


def test_days_of_file_names_put_the_pairs_in_order(tmp_path: Path) -> None:
    optical = [optical_file(tmp_path / f"a_{day}.tif", value) for day, value in (("20240801", 800), ("20240301", 300))]
    sar = [
        write_tif(tmp_path / f"s1_{day}_VV.tif", np.full((16, 16), level, np.float32), **UTM)
        for day, level in (("20240303", -3), ("20240802", -8))
    ]
    scene = open_scene(optical=optical, sar=sar)
    assert [str(date) for date in scene.dates] == ["2024-03-01", "2024-08-01"]
    # Each kind is sorted for itself, so that the March image is paired with the March image.
    assert [pair.optical.pixels[0, 0, 0] for pair in scene.pairs] == pytest.approx([0.03, 0.08])
    assert [pair.sar.pixels[0, 0, 0] for pair in scene.pairs] == [-3, -8]
    assert scene.notes == (
        "The images were put in the order of their dates: 2024-03-01, 2024-08-01.",
        "Image 1 pairs an optical image of 2024-03-01 with a SAR image of 2024-03-03.",
        "Image 2 pairs an optical image of 2024-08-01 with a SAR image of 2024-08-02.",
    )
    assert any("date" in phrase for phrase in scene.pairs[0].optical.evidence)
    # What the caller states goes before what the names say.
    stated = open_scene(optical=optical, dates=["2020-01-01", "2020-01-02"])
    assert [pair.optical.pixels[0, 0, 0] for pair in stated.pairs] == pytest.approx([0.08, 0.03])
    assert stated.notes == ()


def test_equal_and_unknown_days_are_said(tmp_path: Path) -> None:
    files = [optical_file(tmp_path / f"{n}.tif") for n in ("a", "b")]
    same = open_scene(optical=files, dates=["2024-05-01", "2024-05-01"])
    assert same.notes == ("2 dates are the same day, 2024-05-01; they stay in the order given.",)
    dated = optical_file(tmp_path / "c_20240101.tif", 1500)
    mixed = open_scene(optical=[files[0], dated])
    assert mixed.notes == ("The date of a.tif is not known, so the images stay in the order given.",)
    assert mixed.pairs[1].optical.pixels[0, 0, 0] == pytest.approx(0.15)
    mixed = open_scene(optical=[*files, dated])
    assert mixed.notes == ("The dates of a.tif and b.tif are not known, so the images stay in the order given.",)


def test_no_picture_is_lost_where_several_are_given_as_one_image(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        Image.fromarray(np.full((6, 7, 3), 50 * (1 + number), np.uint8)).save(tmp_path / f"{name}.png")
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for given in ([files], tmp_path):
        with pytest.raises(SceneError, match=r"a\.png and \S*b\.png both hold the red of a picture"):
            open_scene(optical=given)
    dates = open_scene(optical=files)
    assert [pair.optical.pixels[0, 0, 0] for pair in dates.pairs] == [50, 100]


def test_sar_in_another_crs_lands_on_the_optical_grid(tmp_path: Path) -> None:
    # Backscatter is a ramp in longitude and latitude, so its true value at every UTM pixel is known.
    west, north, step = 14.99, 45.16, 1e-4
    lon = west + step * (np.arange(400) + 0.5)
    lat = north - step * (np.arange(400) + 0.5)

    def truth(lon, lat):
        return -15 + 200 * (lon - 15) + 100 * (lat - 45.14)

    sar = write_tif(
        tmp_path / "s1_VV.tif",
        truth(lon[None, :], lat[:, None]).astype(np.float32),
        crs="EPSG:4326",
        transform=Affine(step, 0, west, 0, -step, north),
    )
    optical = optical_file(
        tmp_path / "a.tif", size=40, crs="EPSG:32633", transform=Affine(10, 0, 500_400, 0, -10, 4_999_600)
    )
    scene = open_scene(optical=optical, sar=sar)
    pair = scene.pairs[0]
    assert pair.sar.valid.all()
    rows, columns = np.mgrid[0:40, 0:40] + 0.5
    expected = truth(*scene.georeference.to_lonlat(columns, rows))
    # One pixel is 0.025 dB. GDAL widens its kernel where the source is finer, which costs up to 0.08 of a pixel.
    np.testing.assert_allclose(pair.sar.band("VV"), expected, atol=2e-3)
    assert pair.sar.georeference == pair.optical.georeference


def test_shifted_extent_keeps_the_overlap(tmp_path: Path) -> None:
    optical = optical_file(tmp_path / "a.tif")
    shifted = Affine(10, 0, 500_000 + 60, 0, -10, 5_000_000)
    backscatter = -25 + np.broadcast_to(np.arange(16), (16, 16)).astype(np.float32)
    scene = open_scene(
        optical=optical, sar=write_tif(tmp_path / "VV.tif", backscatter, crs="EPSG:32633", transform=shifted)
    )
    np.testing.assert_array_equal(scene.pairs[0].sar.band("VV"), backscatter[:, :10])
    assert scene.georeference.transform == shifted
    assert scene.notes == (
        "The images overlap in 10 x 16 of the 16 x 16 pixels of a.tif; the answer is about that part.",
    )


@pytest.mark.parametrize("epsg", [32633, 4326, 32719])
def test_no_overlap_names_both_files(tmp_path: Path, epsg: int) -> None:
    far = Affine(1e-4, 0, -70, 0, -1e-4, -30) if epsg == 4326 else Affine(10, 0, 700_000, 0, -10, 6_000_000)
    optical = optical_file(tmp_path / "a.tif")
    other = optical_file(tmp_path / "b.tif", crs=f"EPSG:{epsg}", transform=far)
    with pytest.raises(SceneError, match=r"b\.tif does not overlap .*a\.tif; give images of one place"):
        open_scene(optical=[optical, other])


def test_images_without_crs_must_have_one_size(tmp_path: Path) -> None:
    for name, size in (("a.png", 8), ("b.png", 8), ("c.png", 9)):
        Image.fromarray(np.full((size, size, 3), 50, np.uint8)).save(tmp_path / name)
    scene = open_scene(optical=[tmp_path / "a.png", tmp_path / "b.png"], gsd_m=2)
    assert scene.georeference.pixel_size(8, 8).area_m2[0] == 4
    with pytest.raises(SceneError, match=r"c\.png \(9 x 9\) and .*a\.png \(8 x 8\) differ in size"):
        open_scene(optical=[tmp_path / "a.png", tmp_path / "c.png"])


def test_images_that_make_no_scene(tmp_path: Path) -> None:
    optical = optical_file(tmp_path / "a.tif")
    with pytest.raises(SceneError, match="at least one image"):
        open_scene()
    with pytest.raises(SceneError, match="2 optical and 1 SAR images cannot be paired"):
        open_scene(
            optical=[optical, optical], sar=[write_tif(tmp_path / "VV.tif", -ramp(16, 16, "float32") / 20, **UTM)]
        )


def test_real_optical_and_sar(real_data: Path) -> None:
    name = "38D_378R_2_3.tif"
    folder = real_data / "terramind"
    scene = open_scene(
        optical=folder / "S2L2A" / name, sar=folder / "S1RTC" / name, sensor="sentinel-2", sar_sensor="sentinel-1"
    )
    assert scene.shape == (224, 224)
    assert scene.georeference.pixel_size(224, 224).area_m2 == pytest.approx(np.full(224, 100.0), rel=1e-3)
    with rasterio.open(folder / "S2RGB" / name) as reference:
        shown = render(scene.pairs[0].optical)
        assert np.corrcoef(shown[0].ravel(), reference.read(1).ravel())[0, 1] > 0.95


def test_real_two_dates_of_single_band_files(real_data: Path) -> None:
    folder = real_data / "s1-s2-dates"
    optical = sorted((folder / "s2a" / "0000200").iterdir())
    sar = sorted((folder / "s1" / "0000200").iterdir())
    scene = open_scene(optical=optical[::-1], sar=sar[::-1], dates=["2020-08-13", "2020-06-04"])
    assert [pair.optical.source for pair in scene.pairs] == [str(path) for path in optical]
    assert all(pair.valid.mean() > 0.97 for pair in scene.pairs)
    assert len(scene.pairs[0].optical.bands) == 12


def test_real_scenes_of_other_kinds(real_data: Path) -> None:
    assert open_scene(optical=real_data / "hls-worldcover" / "images" / "0.tif").pairs[0].optical.sensor == "hls"
    large = open_scene(optical=real_data / "large-scene", sensor="sentinel-2-8bit")
    assert large.shape == (2201, 2629)
    assert large.georeference.pixel_size(*large.shape).height_m[0] == pytest.approx(8.2, abs=0.01)
    chip = real_data / "sen1floods11" / "Spain_7370579_S2Hand.tif"
    flood = open_scene(optical=chip, sar=str(chip).replace("S2", "S1"))
    assert flood.pairs[0].optical.bands[10:] == ("B10", "B11", "B12")
    series = open_scene(optical=sorted((real_data / "time-series").iterdir()), sensor="sentinel-2", gsd_m=10)
    assert series.georeference.pixel_size(2, 2).area_m2.tolist() == [100, 100]


def test_a_white_border_is_told_and_left_out_where_it_is_declared(tmp_path: Path) -> None:
    numbers = np.full((3, 10, 10), 90, np.uint8)
    numbers[:, :, :4] = 255
    numbers[0, 0, 9] = 255  # one bright band is a colour
    path = write_tif(tmp_path / "a.tif", numbers, names=("red", "green", "blue"), **UTM)
    told = read_observation(path)
    assert told.valid.all()
    assert told.assumptions[-1] == (
        "40 % of the pixels are 255 in every band; they count as measured (else give --nodata 255)."
    )
    declared = read_observation(path, nodata=255)
    assert np.array_equal(declared.valid, np.arange(10)[None, :].repeat(10, 0) >= 4)
    assert declared.pixels[0, 0, 9] == 255 and declared.assumptions == told.assumptions[:-1]
    with pytest.raises(SceneError, match="nodata is 'white'; give the number that marks unmeasured pixels"):
        read_observation(path, nodata="white")  # type: ignore[arg-type]


def test_numbers_declared_as_nodata_are_unmeasured_in_any_band(tmp_path: Path) -> None:
    numbers = np.full((3, 4, 4), 900, np.int16)
    numbers[1, 2, 3] = -1
    path = write_tif(tmp_path / "a.tif", numbers, names=("B02", "B03", "B04"), **UTM)
    expected = np.ones((4, 4), bool)
    expected[2, 3] = False
    assert np.array_equal(open_scene(optical=path, nodata=-1).observations[0].valid, expected)

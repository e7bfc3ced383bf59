"""Files as strangers send them: read, or refused in one sentence, and never a way to other files."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from terrascope.errors import ScaleError, SceneError
from terrascope.rasters.files import open_raster
from terrascope.rasters.read import open_scene, read_observation

UTM = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
NAMES = ("B02", "B03", "B04")


def write_tif(path: Path, pixels, names=NAMES, *, driver="GTiff", **profile) -> Path:
    pixels = np.asarray(pixels)
    count, height, width = pixels.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver=driver, count=count, height=height, width=width, dtype=pixels.dtype.name, **profile
        ) as dataset:
            dataset.write(pixels)
            for index, name in zip(range(1, count + 1), names, strict=False):
                dataset.set_band_description(index, name)
    return path


def sentinel(path: Path, value: int = 900, size: int = 8, **profile) -> Path:
    return write_tif(path, np.full((3, size, size), value, np.uint16), **{**UTM, **profile})


def virtual(path: Path, target: Path) -> Path:
    band = (
        '<VRTRasterBand dataType="UInt16" band="{0}"><Description>{1}</Description><SimpleSource>'
        '<SourceFilename relativeToVRT="0">{2}</SourceFilename><SourceBand>{0}</SourceBand></SimpleSource>'
        "</VRTRasterBand>"
    )
    bands = "".join(band.format(index, name, target) for index, name in enumerate(NAMES, start=1))
    path.write_text(f'<VRTDataset rasterXSize="8" rasterYSize="8">{bands}</VRTDataset>')
    return path


@pytest.mark.parametrize("name", ["a.vrt", "a.tif"])
def test_a_virtual_raster_is_told_by_its_content(tmp_path: Path, name: str) -> None:
    path = virtual(tmp_path / name, sentinel(tmp_path / "real.tif"))
    with pytest.raises(
        SceneError, match=rf"{name}: is a virtual raster, whose pixels lie in other files.*--allow-virtual"
    ):
        open_scene(optical=path)
    scene = open_scene(optical=path, allow_virtual=True)
    np.testing.assert_allclose(scene.pairs[0].optical.pixels, 0.09, rtol=1e-5)


@pytest.mark.parametrize(
    "path",
    [
        "/vsimem/a.tif",
        "/vsizip/a.zip/a.tif",
        "/vsicurl/http://127.0.0.1:1/a.tif",
        "/vsistdin/",
        'NETCDF:"a.nc":x',
        "GTI:a.gti",
        "GTIFF_DIR:1:a.tif",
        "<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>",
        "<GDAL_WMS><Service name='TMS'/></GDAL_WMS>",
        "WMS:http://127.0.0.1:1/",
        "zip://a.zip!a.tif",
        "s3://bucket/a.tif",
        "file:///etc/hostname",
        "ftp://127.0.0.1/a.tif",
        "a\0b.tif",
        "",
        "https://",
        "http://host:port/a.tif",
        "http://[::1/a.tif",
        "x" * 300,
        "\udce4.tif",
    ],
)
def test_what_is_no_plain_file_is_refused(path: str) -> None:
    with pytest.raises(SceneError) as refused:
        read_observation(path)
    assert "\n" not in str(refused.value)


def test_pipes_devices_folders_and_loops(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.tif"
    os.mkfifo(pipe)
    with pytest.raises(SceneError, match=r"pipe\.tif: is no plain file but a pipe"):
        read_observation(pipe)
    with pytest.raises(SceneError, match="is no plain file"):
        read_observation("/dev/zero")
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(SceneError, match=r"folder\.tif: is a folder"):
        read_observation([tmp_path / "folder.tif"])
    loop = tmp_path / "loop.tif"
    loop.symlink_to(loop)
    with pytest.raises(SceneError, match=r"loop\.tif.*symbolic links"):
        read_observation(loop)
    with pytest.raises(SceneError, match=r"none\.tif: no such file"):
        read_observation(tmp_path / "none.tif")


@pytest.mark.parametrize("name", ["ü ñ 地图 #1?.tif", "a,b!c.tif", "x" * 240 + ".tif", "GTI:x.tif", "<a>.tif"])
def test_names_of_any_kind(tmp_path: Path, name: str) -> None:
    path = sentinel(tmp_path / "plain.tif").rename(tmp_path / name)
    np.testing.assert_allclose(read_observation(path).pixels, 0.09, rtol=1e-5)
    relative = os.path.relpath(path)
    np.testing.assert_allclose(read_observation(relative).pixels, 0.09, rtol=1e-5)


def test_a_path_of_more_than_300_characters(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 200) / ("e" * 200)
    folder.mkdir(parents=True)
    assert read_observation(sentinel(folder / "a.tif")).shape == (8, 8)


def test_files_beside_the_image(tmp_path: Path) -> None:
    path, other = sentinel(tmp_path / "a.tif"), sentinel(tmp_path / "other.tif")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mask = np.full((1, 8, 8), 255, np.uint8)
    mask[0, 2, 3] = 0
    beside = tmp_path / "a.tif.msk"
    write_tif(tmp_path / "mask.tif", mask, names=()).rename(beside)
    with rasterio.open(beside, "r+") as dataset:
        dataset.update_tags(INTERNAL_MASK_FLAGS_1="2", INTERNAL_MASK_FLAGS_2="2", INTERNAL_MASK_FLAGS_3="2")
    assert np.argwhere(~read_observation(path).valid).tolist() == [[2, 3]]
    beside.rename(elsewhere / "mask.tif")
    beside.symlink_to(elsewhere / "mask.tif")
    with pytest.raises(SceneError, match=r"a\.tif\.msk, which lies beside the image .* is a link into another folder"):
        read_observation(path)
    beside.unlink()
    virtual(beside, other)
    with pytest.raises(SceneError, match=r"a\.tif\.msk.* is no TIFF; remove it"):
        read_observation(path)
    beside.unlink()
    os.mkfifo(tmp_path / "a.tfw")
    with pytest.raises(SceneError, match=r"a\.tfw.* is no plain file; remove it"):
        read_observation(path)
    (tmp_path / "a.tfw").unlink()
    metadata = tmp_path / "a.tif.aux.xml"
    metadata.write_text("<PAMDataset><Metadata><MDI key='STATISTICS'>1</MDI></Metadata></PAMDataset>")
    assert read_observation(path).valid.all()
    metadata.write_text(
        "<PAMDataset><Metadata domain='OVERVIEWS'><MDI key='OVERVIEW_FILE'>/etc/hostname</MDI></Metadata></PAMDataset>"
    )
    with pytest.raises(SceneError, match=r"aux\.xml.* names other files"):
        read_observation(path)
    assert read_observation(path, allow_virtual=True).valid.all()


def test_a_link_to_an_image_may_have_links_beside_it(tmp_path: Path) -> None:
    data, project = tmp_path / "data", tmp_path / "project"
    data.mkdir()
    project.mkdir()
    sentinel(data / "a.tif")
    (data / "a.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    for name in ("a.tif", "a.tif.aux.xml"):
        (project / name).symlink_to(data / name)
    assert read_observation(project / "a.tif").valid.all()


def test_formats_that_are_not_read(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.gif")
    with pytest.raises(SceneError, match=r"a\.gif: cannot be read as an image; give a GeoTIFF, JPEG 2000, PNG"):
        read_observation(tmp_path / "a.gif")


@pytest.mark.parametrize("suffix", ["png", "webp", "jp2", "dat"])
def test_formats_that_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix in ("png", "webp"):
        Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(path, lossless=True)
        assert (read_observation(path).pixels == 90).all()
        return
    driver, options = {"jp2": ("JP2OpenJPEG", {"REVERSIBLE": "YES", "QUALITY": "100"}), "dat": ("ENVI", {})}[suffix]
    stored = (900 + np.arange(3 * 64 * 64)).reshape(3, 64, 64).astype(np.uint16)
    write_tif(path, stored, names=() if suffix == "jp2" else NAMES, driver=driver, **UTM, **options)
    with open_raster(str(path)) as dataset:
        assert dataset.driver == driver
        np.testing.assert_array_equal(dataset.read(), stored)


def test_world_file_beside_a_png_without_crs(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.pgw").write_text("10\n0\n0\n-10\n500005\n4999995\n")
    observation = read_observation(tmp_path / "a.png", gsd_m=10)
    assert observation.georeference.gsd_m == 10
    assert not observation.georeference.is_located


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint32", "int64", "uint64", "float32", "float64"])
def test_samples_of_every_type(tmp_path: Path, dtype: str) -> None:
    stored = np.full((3, 4, 4), 100).astype(dtype)
    stored[0, 1, 2] = 7
    path = write_tif(tmp_path / "a.tif", stored, nodata=7, **UTM)
    observation = read_observation(path, sensor="sentinel-2")
    assert np.argwhere(~observation.valid).tolist() == [[1, 2]]
    np.testing.assert_allclose(observation.pixels[:, 0, 0], 0.01, rtol=1e-6)


def test_half_floats_are_read(tmp_path: Path) -> None:
    stored = np.full((3, 4, 4), 0.25, np.float32)
    observation = read_observation(
        write_tif(tmp_path / "a.tif", stored, nbits=16, **UTM), sensor="sentinel-2-reflectance"
    )
    assert (observation.pixels == 0.25).all()


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_samples_are_refused(tmp_path: Path, dtype: str) -> None:
    path = write_tif(tmp_path / "a.tif", np.ones((1, 4, 4), dtype), names=("VV",), **UTM)
    with pytest.raises(SceneError, match="band 1 is complex; give its intensity in decibels"):
        read_observation(path, modality="sar")


@pytest.mark.parametrize("shape", [(1, 50), (50, 1), (1, 1)])
def test_thin_images(tmp_path: Path, shape: tuple[int, int]) -> None:
    stored = np.full((3, *shape), 900, np.uint16)
    path = write_tif(tmp_path / "a.tif", stored, **UTM)
    scene = open_scene(optical=path, in_memory_pixels=0)
    assert scene.shape == shape
    np.testing.assert_allclose(scene.pairs[0].optical.window(slice(0, 1), slice(0, 1)).pixels, 0.09, rtol=1e-5)


def test_300_bands_all_nan_and_numbers_beyond_float32(tmp_path: Path) -> None:
    many = np.full((300, 4, 4), 900, np.uint16)
    path = write_tif(tmp_path / "many.tif", many, names=(*(f"x{n}" for n in range(290)), *NAMES), **UTM)
    assert read_observation(path).bands == NAMES
    unnamed = write_tif(tmp_path / "unnamed.tif", many, names=(), **UTM)
    with pytest.raises(SceneError, match="but it has 300"):
        read_observation(unnamed, sensor="sentinel-2")
    nan = write_tif(tmp_path / "nan.tif", np.full((3, 4, 4), np.nan, np.float32), **UTM)
    with pytest.raises(SceneError, match="every pixel is nodata"):
        read_observation(nan, sensor="sentinel-2-reflectance")
    wide = np.full((3, 4, 4), 0.2)
    wide[0, 0, 0] = 1e200
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        observation = read_observation(write_tif(tmp_path / "wide.tif", wide, **UTM), sensor="sentinel-2-reflectance")
    assert np.argwhere(~observation.valid).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("scale", "offset"), [(0.0, 0.0), (float("nan"), 0.0), (float("inf"), 1.0), (1e308, 0.0), (1.0, float("-inf"))]
)
def test_scales_that_are_none(tmp_path: Path, scale: float, offset: float) -> None:
    path = sentinel(tmp_path / "a.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (scale,) * 3, (offset,) * 3
    with pytest.raises(SceneError, match="states a scale of"):
        read_observation(path)


@pytest.mark.parametrize(
    "transform",
    [
        Affine(float("inf"), 0, 9, 0, -10, 47),
        Affine(10, 0, 1e300, 0, -10, 47),
        Affine(1e-12, 0, 1e9, 0, -1e-12, 47),
        Affine(10, 0, float("nan"), 0, -10, 0),
    ],
)
def test_transforms_that_lead_nowhere(tmp_path: Path, transform: Affine) -> None:
    path = sentinel(tmp_path / "a.tif", transform=transform)
    with pytest.raises(SceneError, match=r"a\.tif: its transform .* leads to no place"):
        read_observation(path)


def claimed_tif(path: Path, side: int, *, tiles: bool) -> Path:
    """A TIFF header that claims side x side pixels of three 16-bit bands, of which none is stored."""
    profile = {"tiled": True, "blockxsize": 512, "blockysize": 512} if tiles else {}
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=side, width=side, dtype="uint16", sparse_ok=True, bigtiff="yes",
        compress="deflate", **profile, **UTM,
    ) as dataset:  # fmt: skip
        for index, name in enumerate(NAMES, start=1):
            dataset.set_band_description(index, name)
    return path


@pytest.mark.parametrize("tiles", [True, False])
def test_a_header_without_pixels(tmp_path: Path, tiles: bool) -> None:
    path = claimed_tif(tmp_path / "a.tif", 60_000, tiles=tiles)
    with pytest.raises(SceneError, match=r"a\.tif: claims 60000 x 60000 pixels but stores none of them"):
        read_observation(path)


def test_more_pixels_than_the_limit(tmp_path: Path) -> None:
    path = sentinel(tmp_path / "a.tif", size=40)
    with pytest.raises(SceneError, match=r"40 x 40 pixels are more than the limit of 1,599.*--bbox"):
        read_observation(path, max_pixels=1599)


def png_bomb(path: Path, side: int, *, interlaced: bool) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, int(interlaced))
    pixels = zlib.compress(bytes(1000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    return path


def test_pictures_that_would_burst_the_memory(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="more than the limit of 1,000,000,000"):
        read_observation(png_bomb(tmp_path / "a.png", 60_000, interlaced=False))
    with pytest.raises(SceneError, match="stored in blocks of 30000 x 30000, too large for memory"):
        read_observation(png_bomb(tmp_path / "b.png", 30_000, interlaced=True))
    with pytest.raises(SceneError, match="the file is damaged or cut short"):
        read_observation(png_bomb(tmp_path / "c.png", 20_000, interlaced=False))


def test_a_strip_that_is_the_whole_image(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=20_000, width=20_000, dtype="uint16", sparse_ok=True,
        compress="deflate", blockysize=20_000, bigtiff="yes", **UTM,
    ):  # fmt: skip
        pass
    with pytest.raises(SceneError, match="stored in blocks of 20000 x 20000, too large for memory"):
        read_observation(path, sensor="sentinel-2")


@pytest.mark.parametrize(
    "wrong", [3, None, 2.5, {"a": 1}, {"a.tif"}, object(), [3], [None], [["a.tif", 3]], [[]], [()]]
)
def test_what_is_no_image_is_one_sentence(wrong) -> None:
    with pytest.raises(SceneError) as refused:
        open_scene(optical=wrong)
    assert "\n" not in str(refused.value)


def test_paths_as_bytes_and_generators(tmp_path: Path) -> None:
    path = sentinel(tmp_path / "a.tif")
    assert open_scene(optical=os.fsencode(path)).shape == (8, 8)
    assert open_scene(optical=(p for p in [path])).shape == (8, 8)


@pytest.mark.parametrize(("name", "wrong"), [("gsd_m", "10"), ("gsd_m", True), ("sensor", 3), ("sensor", ["hls"])])
def test_words_of_the_wrong_type(tmp_path: Path, name: str, wrong) -> None:
    with pytest.raises(SceneError, match="give"):
        open_scene(optical=sentinel(tmp_path / "a.tif"), **{name: wrong})


@pytest.mark.parametrize("gsd_m", [0, -3.0, float("nan"), float("inf"), 1e9])
def test_sizes_that_no_pixel_has(tmp_path: Path, gsd_m: float) -> None:
    with pytest.raises(ScaleError, match="pixel size"):
        open_scene(optical=sentinel(tmp_path / "a.tif"), gsd_m=gsd_m)

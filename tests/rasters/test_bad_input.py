"""Everything that a disk or a stranger may hand to the command line: one sentence, code 2, nothing written.

What each reader refuses and why is tested beside it; here it goes through the program's own door.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import types
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from tests.oracle import Oracle, draw_picture, write_picture
from typer.testing import CliRunner

from terrascope import cli

UTM = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
RGB = draw_picture()
NOISE = np.random.default_rng(0).integers(0, 255, (3, 90, 80), np.uint8)


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = types.ModuleType("terrascope.model")
    stand_in.TerraScope = types.SimpleNamespace(from_pretrained=lambda name, **how: Oracle())  # type: ignore[attr-defined]
    stand_in.GenerationSettings = types.SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "terrascope.model", stand_in)


def write(path: Path, pixels: np.ndarray = RGB, driver: str = "GTiff", names: tuple[str, ...] = (), **profile) -> Path:
    shape = {"count": pixels.shape[0], "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype.name}
    if driver == "GTiff" and pixels.dtype == np.uint8 and pixels.shape[0] == 3:
        profile.setdefault("photometric", "RGB")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver=driver, **shape, **profile) as dataset:
            dataset.write(pixels)
            for index, name in enumerate(names, start=1):
                dataset.set_band_description(index, name)
    return path


def segment(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and what was said of it; demands that a refusal is one short line, and that nothing is left behind."""
    out = tmp_path / "out"
    before = sorted(tmp_path.iterdir())
    result = CliRunner().invoke(cli.app, ["segment", "water", *arguments, "--out", str(out)])
    assert isinstance(result.exception, SystemExit | None), result.exception
    if result.exit_code:
        assert result.stdout == ""
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
        assert len(result.stderr) < 700
        assert sorted(tmp_path.iterdir()) == before
    else:
        assert (out / "answer.json").is_file()
    return result.exit_code, result.stderr


def answer(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "out" / "answer.json").read_text(encoding="utf-8"))


def refusal(tmp_path: Path, *arguments: str) -> str:
    code, said = segment(tmp_path, *arguments)
    assert code == 2, said
    return said


STORED = {
    "plain.tif": {},
    "deflate.tif": {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16},
    "lzw.tif": {"compress": "lzw"},
    "zstd.tif": {"compress": "zstd", "interleave": "band"},
    "lerc.tif": {"compress": "lerc"},
    "jpeg.tif": {"compress": "jpeg"},
    "picture.png": {"driver": "PNG"},
    "picture.jpg": {"driver": "JPEG"},
    "picture.jp2": {"driver": "JP2OpenJPEG", "quality": "100", "reversible": "yes"},
}


@pytest.mark.parametrize("name", STORED)
def test_a_file_cut_short_anywhere(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, NOISE, **STORED[name])
    assert segment(tmp_path, "--sensor", "rgb", "--optical", str(path)) == (0, "")
    whole = path.read_bytes()
    (tmp_path / "cut").mkdir()
    cut = tmp_path / "cut" / name
    for share in (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98):
        cut.write_bytes(whole[: int(len(whole) * share)])
        assert str(cut) in refusal(tmp_path, "--sensor", "rgb", "--optical", str(cut)), share


@pytest.mark.parametrize("name", STORED)
def test_flipped_bits(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, **STORED[name])
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    codes = set()
    for _ in range(12):
        changed = bytearray(whole)
        for place in random.integers(0, len(changed), 8):
            changed[place] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        codes.add(segment(tmp_path, "--sensor", "rgb", "--optical", str(path))[0])
    assert codes <= {0, 2}


def no_pixels(path: Path) -> None:
    write_sparse(path, 60_000, 60_000)


def write_sparse(path: Path, height: int, width: int, **profile) -> None:
    shape = {"count": 3, "height": height, "width": width, "dtype": "uint8", "photometric": "RGB", **UTM, **profile}
    with rasterio.open(path, "w", driver="GTiff", sparse_ok=True, bigtiff="YES", **shape):
        pass


def vrt_of(path: Path, source: str) -> None:
    band = '<VRTRasterBand dataType="Byte" band="{0}"><ColorInterp>{1}</ColorInterp><SimpleSource>'
    band += "<SourceFilename>{2}</SourceFilename><SourceBand>{0}</SourceBand></SimpleSource></VRTRasterBand>"
    bands = "".join(band.format(n, color, source) for n, color in ((1, "Red"), (2, "Green"), (3, "Blue")))
    path.write_text(f'<VRTDataset rasterXSize="50" rasterYSize="40">{bands}</VRTDataset>')


def reflectances(num_bands: int = 3, dtype: str = "uint16", value: float = 500) -> np.ndarray:
    return np.full((num_bands, 4, 4), value, dtype)


S2 = ("B02", "B03", "B04")

BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.tif": (lambda p: p.write_bytes(b""), "cannot be read as an image"),
    "text.tif": (lambda p: p.write_text("no image"), "cannot be read as an image"),
    "claims.tif": (no_pixels, "claims 60000 x 60000 pixels but stores none of them"),
    "claims_in_one_strip.tif": (lambda p: write_sparse(p, 60_000, 60_000, blockysize=60_000), "60000 x 60000"),
    "beyond.tif": (lambda p: write_sparse(p, 400_000, 400_000, tiled=True), "400000 x 400000"),
    "complex.tif": (lambda p: write(p, reflectances(dtype="complex64"), names=S2), "band 1 is complex"),
    "nan.tif": (lambda p: write(p, reflectances(dtype="float32", value=np.nan), names=S2), "every pixel is nodata"),
    "nodata.tif": (lambda p: write(p, reflectances(), names=S2, nodata=500), "every pixel is nodata"),
    "latin-1.tif": (lambda p: write_latin_1(p), "a text in its header is no UTF-8"),
    "65535 bands.tif": (lambda p: claim_bands(p), "claims 65535 bands"),
    "300 bands.tif": (lambda p: write(p, reflectances(300)), "nothing says what its bands (300 x uint16) show"),
    "virtual.vrt": (lambda p: vrt_of(p, "/etc/hostname"), "is a virtual raster"),
    "virtual.tif": (lambda p: vrt_of(p, "/etc/hostname"), "is a virtual raster"),
    "fifo.tif": (lambda p: os.mkfifo(p), "is no plain file but a pipe"),
    "folder.tif": (lambda p: p.mkdir(), "the folder holds no image"),
    "loop.tif": (lambda p: p.symlink_to(p.name), "symbolic links"),
    "nowhere.tif": (lambda p: p.symlink_to("missing"), "no such file"),
    "socket.tif": (lambda p: bind(p), "is no plain file"),
    "flat.tif": (
        lambda p: write(p, crs="EPSG:32633", transform=Affine(10, 10, 5, 10, 10, 5)),
        "gives pixels no area",
    ),
    "pixels of nothing.tif": (
        lambda p: write(p, crs="EPSG:4326", transform=Affine(1e-300, 0, 0, 0, -1e-309, 0)),
        "leads to no place",
    ),
    "nowhere on earth.tif": (
        lambda p: write(p, crs="EPSG:32633", transform=Affine(np.inf, 0, 5, 0, np.inf, 5)),
        "leads to no place",
    ),
}


def write_latin_1(path: Path) -> None:
    write(path, reflectances(), names=S2)
    path.write_bytes(path.read_bytes().replace(b"B03", b"\xfc03"))


def claim_bands(path: Path) -> None:
    """A number of bands that no one wrote, in a field of two bytes."""
    write(path, reflectances(1))
    data = path.read_bytes()
    field = (277).to_bytes(2, "little") + b"\3\0\1\0\0\0"
    assert data.count(field + b"\1\0") == 1
    path.write_bytes(data.replace(field + b"\1\0", field + b"\xff\xff"))


def bind(path: Path) -> None:
    # Its name may not be longer than about 100 characters, so it is bound from within its folder.
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_meant(name: str, tmp_path: Path) -> None:
    make, expected = BAD[name]
    make(tmp_path / name)
    assert expected in refusal(tmp_path, "--optical", str(tmp_path / name))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/dev/zero", "is no plain file"),
        ("/vsimem/x.tif", "is one of GDAL's virtual paths"),
        ("/vsicurl/http://127.0.0.1:9/x.tif", "is one of GDAL's virtual paths"),
        ("/vsizip//etc/hostname", "is one of GDAL's virtual paths"),
        ("<VRTDataset rasterXSize='1' rasterYSize='1'/>", "is no file but a description of one"),
        ("GTIFF_RAW:/etc/hostname", "is no file but a description of one"),
        ("http://127.0.0.1:9/scene.tif", "cannot be fetched"),
        ("https://", "is no address"),
        ("file:///etc/hostname", "are not opened"),
        ("s3://bucket/scene.tif", "are not opened"),
        ("a\0b.tif", "cannot be opened"),
        ("x" * 300 + ".tif", "cannot be opened"),
        ("", "no such file"),
    ],
)
def test_a_path_that_is_no_file(path: str, expected: str, tmp_path: Path) -> None:
    assert expected in refusal(tmp_path, "--optical", path)


def test_several_pictures_as_one_image(tmp_path: Path) -> None:
    one, other = (str(write(tmp_path / name, driver="PNG")) for name in ("a.png", "b.png"))
    assert refusal(tmp_path, "--optical", f"{one},{other}") == (
        f"error: {one} and {other} both hold the red of a picture, so they are not one image; "
        "give each as an image of its own, or only one of them\n"
    )


def test_what_is_odd_but_sound_is_answered(tmp_path: Path) -> None:
    folder = tmp_path / "à 山" / ("x" * 120) / ("y" * 120) / ("z" * 120)
    folder.mkdir(parents=True)
    (tmp_path / "link.png").symlink_to(write_picture(tmp_path / "picture.png"))
    scaled = ("--sensor", "sentinel-2-reflectance")
    for path, arguments in (
        (write_picture(folder / "scène ü.png"), ()),
        (tmp_path / "link.png", ()),
        (write(tmp_path / "row.tif", RGB[:, :1], **UTM), ()),
        (write(tmp_path / "column.tif", RGB[:, :, :1], **UTM), ()),
        (write(tmp_path / "one.tif", RGB[:, :1, :1], **UTM), ()),
        (write(tmp_path / "constant.tif", np.full_like(RGB, 7), **UTM), ()),
        (write(tmp_path / "doubles.tif", reflectances(dtype="float64", value=0.1), names=S2), scaled),
        (write(tmp_path / "halves.tif", reflectances(dtype="float32", value=0.1), names=S2, nbits=16), scaled),
        (write(tmp_path / "many.tif", reflectances(300), names=S2), ()),
    ):
        assert segment(tmp_path, "--optical", str(path), *arguments) == (0, ""), path


ELSEWHERE = {
    "small.tif": (RGB[:, :7], {}, "differ in size and have no CRS in common"),
    "far.tif": (RGB, {"crs": "EPSG:32733", "transform": UTM["transform"]}, "does not overlap"),
    "moon.tif": (
        RGB,
        {"crs": "+proj=longlat +R=1737400 +no_defs", "transform": Affine(1e-4, 0, 15, 0, -1e-4, 45.1)},
        "no way from",
    ),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_places_that_cannot_be_brought_together(name: str, tmp_path: Path) -> None:
    pixels, place, expected = ELSEWHERE[name]
    here, there = write(tmp_path / "here.tif", **UTM), write(tmp_path / name, pixels, **place)
    assert expected in refusal(tmp_path, "--optical", str(here), "--optical", str(there))


def test_an_image_without_a_place_is_taken_to_lie_on_the_other(tmp_path: Path) -> None:
    here, there = write(tmp_path / "here.tif", **UTM), write(tmp_path / "there.tif")
    assert segment(tmp_path, "--optical", str(here), "--optical", str(there)) == (0, "")
    notes = answer(tmp_path)["notes"]
    assert "there.tif does not say where it lies, and was taken to lie on here.tif, being of equal size." in notes


def test_dates_in_any_order(tmp_path: Path) -> None:
    pair = [part for name in ("a.png", "b.png") for part in ("--optical", str(write_picture(tmp_path / name)))]
    for days, images in ((("2024-05-02", "2024-05-01"), ["b", "a"]), (("2024-05-01", "2024-05-01"), ["a", "b"])):
        assert segment(tmp_path, *pair, *(part for day in days for part in ("--date", day))) == (0, "")
        told = answer(tmp_path)["scene"]["images"]
        assert [Path(image["optical"]["source"]).stem for image in told] == images
        assert [image["date"] for image in told] == sorted(days)
    shutil.rmtree(tmp_path / "out")
    for day in ("2024-02-30", "2024-5-1", "yesterday", ""):
        assert "write it as YYYY-MM-DD" in refusal(tmp_path, *pair, "--date", day, "--date", "2024-05-01")
    assert "one date per image" in refusal(tmp_path, *pair, "--date", "2024-05-01")


def test_a_process_of_its_own_shows_no_traceback_either(tmp_path: Path) -> None:
    no_pixels(tmp_path / "claims.tif")
    (tmp_path / "noise.jp2").write_bytes(bytes(range(256)) * 9)
    vrt_of(tmp_path / "virtual.tif", "/etc/hostname")
    # GDAL decodes tiles of JPEG 2000 in threads, which must not print either.
    tiles = write(tmp_path / "tiles.jp2", np.repeat(NOISE, 4, axis=2), "JP2OpenJPEG", blockxsize=64, blockysize=64)
    tiles.write_bytes(tiles.read_bytes()[:-5000])
    for name in ("claims.tif", "noise.jp2", "virtual.tif", "tiles.jp2"):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "terrascope",
                "ask",
                "How much water?",
                "--sensor",
                "rgb",
                "--optical",
                name,
                "--out",
                "out",
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {name}: ") and done.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()


MEASURE = """
import resource, sys
from terrascope.errors import TerraScopeError
from terrascope.rasters.read import open_scene
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    scene = open_scene(optical=sys.argv[1], sensor=sys.argv[2])
    scene.observations[0].overview(64)
    outcome = "read"
except TerraScopeError as error:
    outcome = "refused"
print(outcome, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def png_bomb(path: Path, side: int, *, interlaced: bool = False) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    packer = zlib.compressobj(1)
    row = packer.compress(bytes(1 + 3 * side)) + b"".join(packer.compress(bytes(1 + 3 * side)) for _ in range(side - 1))
    head = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, interlaced])
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", row + packer.flush()) + chunk(b"IEND", b"")
    path.write_bytes(body)


def tiff_bomb(path: Path, compress: str) -> None:
    """6,000 x 6,000 x 3 constant pixels in as many bytes as they need, which is few."""
    shape = {"count": 3, "height": 6_000, "width": 6_000, "dtype": "uint8", "photometric": "RGB", **UTM}
    tiles = {"tiled": True, "blockxsize": 2048, "blockysize": 2048, "interleave": "band"}
    with rasterio.open(path, "w", driver="GTiff", compress=compress, **shape, **tiles) as dataset:
        row = np.full((1, 2048, 6_000), 9, np.uint8)
        for band in dataset.indexes:
            for top in range(0, 6_000, 2048):
                height = min(2048, 6_000 - top)
                window = rasterio.windows.Window(0, top, 6_000, height)
                dataset.write(row[0, :height], band, window=window)


BOMBS: dict[str, tuple[Callable[[Path], None], str]] = {
    "deflate.tif": (lambda path: tiff_bomb(path, "deflate"), "read"),
    "zstd.tif": (lambda path: tiff_bomb(path, "zstd"), "read"),
    "bomb.png": (lambda path: png_bomb(path, 6000), "read"),
    "interlaced.png": (lambda path: png_bomb(path, 15_000, interlaced=True), "refused"),
    "claims.tif": (no_pixels, "refused"),
    "one_strip.tif": (lambda path: write_sparse(path, 30_000, 30_000, blockysize=30_000), "refused"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_few_bytes_that_claim_many_pixels_cost_little_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    BOMBS[name][0](path)
    assert path.stat().st_size < 4_000_000
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path), "rgb"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    outcome, peak_mib = done.stdout.split()
    assert outcome == BOMBS[name][1]
    assert int(peak_mib) < 600

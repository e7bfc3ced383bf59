"""Rasters as odd as a disk may hold them, drawn from a `random.Random`: formats, numbers, places, names, sidecars.

The same code serves hypothesis (`st.randoms`), which shrinks what it draws, and the long run, where a seed is a file.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError

Subject = tuple[tuple[str, ...], str, str]
"""Names of the bands, the type and the kind of numbers that usually go with them."""

SUBJECTS: tuple[Subject, ...] = (
    (("B02", "B03", "B04", "B08"), "uint16", "reflectance"),
    (("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"), "uint16", "reflectance"),
    (("B02", "B03", "B04", "B8A", "B11", "B12", "Fmask"), "int16", "reflectance"),
    (("B02", "B03", "B04", "SCL"), "float32", "unit"),
    (("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7", "QA_PIXEL"), "uint16", "reflectance"),
    (("VV", "VH"), "float32", "decibels"),
    (("VV",), "float64", "power"),
    (("red", "green", "blue"), "uint8", "bytes"),
    (("red", "green", "blue", "nir"), "uint16", "reflectance"),
    (("B02", "B02", "B04"), "uint16", "reflectance"),
    (("B02", "", "ü\u202eß", "x" * 3000, "B04\n[SEG]", "B03\x00"), "uint16", "noise"),
)

FILE_NAMES = (
    "scene",
    "scène à 山, 2",
    "S2A_MSIL2A_20230101T100000_N0509_R022_T32TQM_20230101T120000",
    "S2A_MSIL1C_20239999T999999_N9999_R022_T32TQM_B02",
    "LC08_L2SP_193024_20209999_20201103_02_T1_SR_B4",
    "S1A_IW_GRDH_1SDV_20200101T051234_VV",
    "HLS.S30.T33UUP.2020001T101319.v2.0.B04",
    "20180229_3B_AnalyticMS",
)

PLACES: tuple[str | None, ...] = (
    None,
    "EPSG:32633",
    "EPSG:4326",
    "EPSG:3857",
    "EPSG:3413",
    "EPSG:2056",
    "EPSG:4978",
    "EPSG:5773",
    "EPSG:9518",
    "EPSG:27700",
    "+proj=laea +lat_0=91 +lon_0=0",
    "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=40 +lon_0=10",
    "+proj=longlat +R=1737400 +no_defs",
    "+proj=tmerc +k=0",
    "+proj=geos +h=35785831",
    'LOCAL_CS["ground ü",UNIT["metre",1]]',
    'ENGCRS["grid",EDATUM["d"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]',
)

ODDNESS = (0.0, 0.05, 0.1, 0.1, 0.2, 1.0)

_DRIVERS = ("GTiff",) * 4 + ("COG", "PNG", "JPEG", "JP2OpenJPEG", "JP2OpenJPEG", "BMP", "GIF", "ENVI", "WEBP")
_SUFFIXES = {"GTiff": ".tif", "COG": ".tif", "PNG": ".png", "JPEG": ".jpg", "JP2OpenJPEG": ".jp2", "BMP": ".bmp"}
_SUFFIXES |= {"GIF": ".gif", "ENVI": ".img", "WEBP": ".webp"}
_TYPES = {"PNG": ("uint8", "uint16"), "JPEG": ("uint8",), "JP2OpenJPEG": ("uint8", "uint16", "int16")}
_TYPES |= {"BMP": ("uint8",), "GIF": ("uint8",), "WEBP": ("uint8",)}
_BANDS = {"BMP": (3,), "GIF": (1,), "PNG": (1, 3, 4), "JPEG": (1, 3, 4), "WEBP": (3, 4)}
_ALL_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
_ALL_TYPES += ("complex64", "complex128")
_COMPRESSIONS = ("none", "deflate", "lzw", "zstd", "packbits", "lzma", "jpeg", "lerc", "webp", "lerc_deflate")
_RANGES = {"reflectance": (1, 9000), "bytes": (0, 255), "decibels": (-30, -1), "unit": (0, 1), "power": (1e-4, 2)}
_ODD_NUMBERS = (0.0, -0.0, 1.0, -1.0, 1e-4, 1e-320, 1e308, -1e308, math.nan, math.inf, -math.inf, 255.0, -9999.0)
_COLORS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha, ColorInterp.gray)


def write_raster(
    random: Random, folder: Path, *, subject: Subject | None = None, oddness: Sequence[float] = ODDNESS
) -> Path:
    """Write one raster of random kind into `folder`, with its sidecars, and give its path.

    Some are odd in everything, most in one or two things, some in nothing: what is odd in everything is refused at the
    first of them. What GDAL refuses to write in one combination is written as a plain GeoTIFF with the same numbers.

    Args:
        subject: what it shows; None for any. A file of a single named band is named after it.
        oddness: shares of choices that are odd, of which one is drawn for the file.
    """
    draw = _Draw(random, random.choice(oddness))
    names, dtype, kind = subject or random.choice(SUBJECTS)
    driver = random.choice(_DRIVERS) if draw.odd() or dtype == "uint8" else random.choice(("GTiff", "GTiff", "COG"))
    if dtype not in _TYPES.get(driver, _ALL_TYPES) or draw.odd():
        dtype = random.choice(_TYPES.get(driver, _ALL_TYPES))
    if draw.odd():
        kind = random.choice((*_RANGES, "noise", "odd"))
    num_bands = random.choice((1, 2, 3, 4, 7, 12, 13)) if draw.odd() else len(names)
    if random.random() < 0.005:
        num_bands = 300
    if driver in _BANDS and num_bands not in _BANDS[driver]:
        num_bands = random.choice(_BANDS[driver])
    pixels = _draw_pixels(draw, dtype, kind, num_bands)
    suffix = random.choice((".tif", ".png", ".jpg", ".jp2", "")) if draw.odd() else _SUFFIXES[driver]
    path = folder / f"{names[0] if subject and len(names) == 1 else random.choice(FILE_NAMES)}{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        place = _draw_place(draw)
        layout = _draw_layout(draw, driver, pixels)
        # With all that was drawn; without the layout, which may not suit the numbers; without a place.
        for attempt in ((driver, draw, place | layout), (driver, draw, place), ("GTiff", None, {})):
            try:
                path = path if attempt[0] == driver else path.with_suffix(".tif")
                _write(path, attempt[0], pixels, names, *attempt[1:])
                break
            except (RasterioError, CPLE_BaseError, ValueError, TypeError, OverflowError, OSError):
                path.unlink(missing_ok=True)
    if draw.odd():
        _write_sidecar(random, path)
    return path


class _Draw:
    """Random choices for one file, of which a share is to be odd."""

    def __init__(self, random: Random, share: float) -> None:
        self.random = random
        self._share = share

    def odd(self) -> bool:
        return self.random.random() < self._share


def _draw_pixels(draw: _Draw, dtype: str, kind: str, num_bands: int) -> np.ndarray:
    """Pixels `[bands, H, W]` of small size: plausible for a sensor, noise, or one odd number; some with holes."""
    random = draw.random
    height, width = (1 if draw.odd() else random.randint(1, 70 if num_bands < 100 else 8) for _ in "hw")
    noise = np.random.default_rng(random.getrandbits(32))
    shape = (num_bands, height, width)
    if kind == "noise" and not dtype.startswith("complex"):
        raw = noise.bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return np.frombuffer(raw, dtype).reshape(shape).copy()
    numbers = noise.uniform(*_RANGES[kind], shape) if kind in _RANGES else np.full(shape, random.choice(_ODD_NUMBERS))
    if draw.odd():
        numbers[noise.random(shape) < random.choice((0.05, 0.95, 1.0))] = random.choice(_ODD_NUMBERS)
    with np.errstate(invalid="ignore", over="ignore"):
        return numbers.astype(dtype)


def _draw_place(draw: _Draw) -> dict[str, Any]:
    """A place in the north of Italy, near those of other files, or an odd one."""
    random = draw.random
    crs = (
        random.choice(PLACES) if draw.odd() else random.choice(("EPSG:32633", "EPSG:32633", "EPSG:32632", "EPSG:4326"))
    )
    x, y = {"EPSG:32633": (500_000.0, 5e6), "EPSG:32632": (971_500.0, 5.0176e6)}.get(str(crs), (15.0, 45.1535))
    size = 1e-4 if x < 180 else random.choice((10.0, 10.0, 20.0, 9.7))
    x, y = x + size * random.randint(-9, 9), y + size * random.randint(-9, 9)
    if draw.odd():
        x, y = random.choice(((0.0, 0.0), (179.9999, 89.9999), (1e300, -1e300), (math.nan, 0.0), (5e11, 5e11)))
    if draw.odd():
        size = random.choice((1e-12, 1e9, 1e300, 0.0, math.nan, math.inf, -10.0))
    transform = Affine(size, 0, x, 0, -size, y)
    if draw.odd():
        turned, flat = Affine(size, size / 2, x, size / 3, -size, y), Affine(size, size, x, size, size, y)
        transform = random.choice((turned, flat, Affine(size, 0, x, 0, size, y), Affine.identity(), None))
    return {"crs": crs} | ({} if transform is None else {"transform": transform})


def _draw_layout(draw: _Draw, driver: str, pixels: np.ndarray) -> dict[str, Any]:
    random = draw.random
    layout: dict[str, Any] = {}
    if draw.odd():
        layout["nodata"] = random.choice(_ODD_NUMBERS)
    if driver in ("GTiff", "COG"):
        layout["compress"] = random.choice(_COMPRESSIONS) if pixels.shape[0] < 100 else "lzw"
        if random.random() < 0.2:
            layout["predictor"] = random.choice((2, 3))
        # GDAL 3.10 itself dies of half floats under LERC.
        if pixels.dtype == np.float32 and "lerc" not in layout["compress"] and random.random() < 0.2:
            layout["nbits"] = 16
    if driver == "GTiff":
        layout["interleave"] = random.choice(("pixel", "band"))
        layout["endianness"] = random.choice(("LITTLE", "BIG"))
        layout["bigtiff"] = random.choice(("YES", "NO"))
        layout["sparse_ok"] = random.choice(("TRUE", "FALSE"))
        if random.random() < 0.5:
            layout |= {"tiled": True, "blockxsize": random.choice((16, 32, 256)), "blockysize": random.choice((16, 64))}
        if draw.odd():
            layout["photometric"] = random.choice(("minisblack", "miniswhite", "rgb", "palette"))
    if driver == "JP2OpenJPEG" and random.random() < 0.5:
        layout |= {"quality": "100", "reversible": "yes"}
    return layout


def _write(
    path: Path, driver: str, pixels: np.ndarray, names: Sequence[str], draw: _Draw | None, profile: dict[str, Any]
) -> None:
    """Write pixels and names; what a file may say beside them (colours, scales, tags, mask) if `draw` is given."""
    shape = {"count": pixels.shape[0], "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype.name}
    with rasterio.open(path, "w", driver=driver, **shape, **profile) as dataset:
        dataset.write(pixels)
        if draw is None or not draw.odd():
            for index, name in zip(dataset.indexes, names, strict=False):
                dataset.set_band_description(index, name)
        if draw is None:
            return
        random = draw.random
        if draw.odd():
            dataset.scales = [random.choice(_ODD_NUMBERS)] * dataset.count
            dataset.offsets = [random.choice(_ODD_NUMBERS)] * dataset.count
        if draw.odd():
            dataset.colorinterp = [random.choice(_COLORS) for _ in dataset.indexes]
        if draw.odd():
            dataset.update_tags(**{random.choice(("TIFFTAG_DATETIME", "AREA_OR_POINT", "sensor", "ü")): "Point\x01ü"})
        if driver == "GTiff" and random.random() < 0.1:
            noise = np.random.default_rng(random.getrandbits(32))
            dataset.write_mask(noise.random(pixels.shape[1:]) < random.choice((0.0, 0.5, 1.0)))
        if driver == "GTiff" and random.random() < 0.1:
            dataset.build_overviews([2, 4], random.choice((Resampling.nearest, Resampling.average)))


def _write_sidecar(random: Random, path: Path) -> None:
    kind = random.choice(("world", "aux", "noise"))
    if kind == "world":
        lines = [str(random.choice((10.0, -10.0, 0, "nan", "inf", "1e400", "x", ""))) for _ in range(6)]
        path.with_suffix(random.choice((".wld", f".{path.suffix[1:2]}{path.suffix[-1:]}w"))).write_text(
            "\n".join(lines)
        )
    elif kind == "aux":
        Path(f"{path}.aux.xml").write_text(_aux_xml(random), encoding="utf-8")
    else:
        Path(f"{path}{random.choice(('.ovr', '.msk', '.prj'))}").write_bytes(random.randbytes(random.randint(0, 300)))


def _aux_xml(random: Random) -> str:
    number = random.choice(("0", "nan", "-inf", "1e999", "", "x", "4294967296"))
    parts = (
        f"<GeoTransform>{number}, 10, 0, 5, 0, -10</GeoTransform>",
        f"<SRS>{random.choice(('EPSG:32633', 'GEOGCS[', ''))}</SRS>",
        f'<PAMRasterBand band="{random.choice((1, 0, 99, -1))}"><NoDataValue>{number}</NoDataValue></PAMRasterBand>',
        f'<PAMRasterBand band="1"><Scale>{number}</Scale><Offset>{number}</Offset></PAMRasterBand>',
        '<PAMRasterBand band="1"><Description>B04</Description></PAMRasterBand>',
        f'<Metadata><MDI key="k">{number}</MDI></Metadata>',
        "<PAMDataset>" * random.choice((0, 1, 50)),
    )
    body = "".join(random.sample(parts, random.randint(1, 3)))
    return f"<PAMDataset>{body}</PAMDataset>"

"""Random masks on random grids, written and read back by other programs."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import geopandas
import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from pyproj import CRS, Transformer
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import rasterize

from terrascope.errors import TerraScopeError
from terrascope.georeference import Georeference
from terrascope.rasters.write import (
    NODATA,
    NamedMask,
    write_masks_geojson,
    write_masks_parquet,
    write_masks_tif,
    write_overlay,
    write_steps_tif,
)
from tests.fuzz.invariants import check_refusal, demand

_TEXTS = ("water", "", "a\nb", "ü\u202e山", "\x00\x01", "<script>&\"'</script>", "x" * 5000, "=1+1", "../..")
_NUMBERS = (0.0, -0.0, 0.5, math.nan, math.inf, -math.inf, 1e308, 1e-320, np.float32(0.25), np.float64("nan"))
_PLACES = ("EPSG:32633", "EPSG:32601", "EPSG:4326", "EPSG:3857", "EPSG:3413", "EPSG:2056")


def write_and_reread(random: Random, folder: Path) -> str:
    """Write masks in every format and demand the same values of another reader.

    Returns `written`, or `refused` if a writer refused them.
    """
    georeference, is_sober = _draw_georeference(random)
    masks = draw_masks(random)
    try:
        write_masks_tif(folder / "masks.tif", masks, georeference)
        _check_tif(folder / "masks.tif", masks)
        write_steps_tif(folder / "steps.tif", masks, georeference)
        _check_steps(folder / "steps.tif", masks)
        write_masks_geojson(folder / "masks.geojson", masks, georeference)
        _check_geojson(folder / "masks.geojson", masks, georeference if is_sober else None)
        write_masks_parquet(folder / "masks.parquet", masks, georeference)
        _check_parquet(folder / "masks.parquet", masks, georeference)
        write_overlay(folder / "overlay.png", np.full((3, *masks[0].mask.shape), 0.5, np.float32), masks)
        with Image.open(folder / "overlay.png") as picture:
            picture.load()
    except TerraScopeError as error:
        check_refusal(error)
        return "refused"
    finally:
        left = {path.name for path in folder.iterdir()} - {
            *("masks.tif", "steps.tif", "steps.tif.aux.xml", "masks.geojson", "masks.parquet", "overlay.png"),
        }
        demand(not left, f"unfinished files are left: {left}")
    return "written"


def draw_masks(random: Random) -> list[NamedMask]:
    """One to five masks of one grid, up to 40 x 40, with names and properties that no one would choose."""
    noise = np.random.default_rng(random.getrandbits(32))
    shape = (random.randint(1, 40), random.randint(1, 40))
    types = {
        key: random.choice((_TEXTS, _NUMBERS, (True, False), (0, -(2**63), 2**63 - 1))) for key in ("k", "ü", "a b")
    }

    def draw_one() -> NamedMask:
        return NamedMask(
            name=random.choice(_TEXTS),
            mask=_draw_mask(random, noise, shape),
            valid=_draw_mask(random, noise, shape) if random.random() < 0.5 else np.ones(shape, bool),
            color=(random.randrange(256), random.randrange(256), random.randrange(256)),
            properties={key: random.choice((None, *values)) for key, values in types.items()},
        )

    return [draw_one() for _ in range(random.randint(1, 5))]


def _draw_mask(random: Random, noise: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
    kind = random.choice(("empty", "full", "noise", "noise", "checks", "box"))
    if kind == "noise":
        return noise.random(shape) < random.random()
    if kind == "checks":
        return np.indices(shape).sum(axis=0) % 2 == 0
    mask = np.full(shape, kind == "full")
    if kind == "box":
        mask[random.randrange(shape[0]) :, : random.randint(1, shape[1])] = True
    return mask


def _draw_georeference(random: Random) -> tuple[Georeference, bool]:
    """A georeference and True if the way to longitudes and back is exact enough to find every pixel again."""
    kind = random.choice(("none", "sober", "sober", "odd"))
    if kind == "none":
        return Georeference(), True
    if kind == "sober":
        return Georeference(crs=CRS("EPSG:32633"), transform=Affine(10, 0, 500_000, 0, -10, 5_000_000)), True
    x, y = random.choice(((500_000.0, 5e6), (179.999, 60.0), (-180.0, 90.0), (0.0, 0.0), (2.6e6, 1.2e6), (1e9, 1e9)))
    size = random.choice((10.0, 1e-4, 1.0, 5e5, 40.0))
    transform = Affine(size, random.choice((0, 0, size / 3)), x, random.choice((0, 0, -size / 7)), -size, y)
    return Georeference(crs=CRS(random.choice(_PLACES)), transform=transform), False


def _check_tif(path: Path, masks: Sequence[NamedMask]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as dataset:
            stored = dataset.read()
    expected = np.stack([np.where(mask.valid, mask.mask, NODATA) for mask in masks])
    demand(np.array_equal(stored, expected), "masks.tif holds other masks")


def _check_steps(path: Path, masks: Sequence[NamedMask]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as dataset:
            stored = dataset.read(1)
    expected = np.where(np.logical_or.reduce([mask.valid for mask in masks]), 0, NODATA)
    for number, mask in enumerate(masks, start=1):
        expected[mask.inside] = number
    demand(np.array_equal(stored, expected), "steps.tif holds other steps")


def _check_geojson(path: Path, masks: Sequence[NamedMask], georeference: Georeference | None) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    collection = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    demand(len(collection["features"]) == len(masks), "masks.geojson holds another number of masks")
    for feature, mask in zip(collection["features"], masks, strict=True):
        if georeference is not None:
            outline = feature["geometry"] and shapely.from_geojson(json.dumps(feature["geometry"]))
            _check_outline(outline, mask, _from_lonlat(georeference))


def _check_parquet(path: Path, masks: Sequence[NamedMask], georeference: Georeference) -> None:
    frame = geopandas.read_parquet(path)
    demand(len(frame) == len(masks), "masks.parquet holds another number of masks")
    if georeference.is_located:
        demand(frame.crs == georeference.crs, "masks.parquet names another CRS")
    for geometry, mask in zip(frame.geometry, masks, strict=True):
        if georeference.transform is None or abs(georeference.transform.c) < 1e8:
            _check_outline(geometry, mask, _from_crs(georeference))


def _check_outline(geometry: Any, mask: NamedMask, to_pixels: Any) -> None:
    """Burn an outline, brought back onto the grid, and demand the mask."""
    if geometry is None:
        demand(not mask.inside.any(), "a mask has lost its outline")
        return
    pixels = shapely.transform(geometry, lambda points: np.round(to_pixels(points)))
    burnt = rasterize([pixels], mask.mask.shape) if not pixels.is_empty else np.zeros(mask.mask.shape)
    demand(np.array_equal(burnt == 1, mask.inside), "an outline is not that of its mask")


def _from_crs(georeference: Georeference) -> Any:
    back = ~(georeference.transform or Affine.identity())
    matrix = np.array([[back.a, back.d], [back.b, back.e]])
    return lambda points: points @ matrix + np.array([back.c, back.f])


def _from_lonlat(georeference: Georeference) -> Any:
    if not georeference.is_located:
        return lambda points: points
    to_crs = Transformer.from_crs("EPSG:4326", georeference.crs, always_xy=True)
    return lambda points: _from_crs(georeference)(np.stack(to_crs.transform(points[:, 0], points[:, 1]), axis=1))

"""A scene from the items of a STAC API: the bands of its picture, loaded onto one grid and read as any file is."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS as RasterCRS
from rasterio.errors import RasterioError

from terrascope.batch.stac_bands import Item, StacBand, Understood, find_bands, understand
from terrascope.errors import ArchiveError, SceneError
from terrascope.georeference import Georeference
from terrascope.rasters.files import describe_file, describe_reason, gdal_settings, open_raster
from terrascope.rasters.grids import Grid, LonLatBox, part_in_box
from terrascope.rasters.image_files import IN_MEMORY_PIXELS
from terrascope.rasters.plausibility import doubt_offset
from terrascope.rasters.read import read_observation
from terrascope.rasters.sensors import SENSORS
from terrascope.scene import Scene


@dataclass(frozen=True, kw_only=True)
class StacImages:
    """One image of one day: an item, or several side by side.

    Attributes:
        items: as JSON values, the leading one first: the scene lies on its grid.
        bbox: in degrees: the part to load; None for the whole image of one item.
        fills_box: the scene reaches as far as the box, also where no item does.
        sensor, sar_sensor: what the numbers are; None to go by the item.
    """

    items: tuple[Item, ...]
    bbox: LonLatBox | None = None
    fills_box: bool = False
    sensor: str | None = None
    sar_sensor: str | None = None

    def describe(self) -> dict[str, Any]:
        """The items by their names."""
        names = [[item.get("collection"), item["id"]] for item in self.items]
        return {"items": names, **{name: value for name, value in vars(self).items() if name != "items"}}

    def open(self) -> Scene:
        """Load the bands that the sensor's picture is made of.

        Raises:
            SceneError: the item does not say what it shows, an asset cannot be fetched, or nothing lies in the box.
            ArchiveError: odc-stac is missing.
        """
        leading = self.items[0]
        name = f"item {leading['id']}"
        understood = understand(leading, optical=self.sensor, sar=self.sar_sensor)
        bands = find_bands(leading, understood.sensor)
        files = [_File.of(band, name) for band in bands]
        grid = self._grid(max((file.grid for file in files), key=_fineness), name)
        try:
            numbers = self._load(bands, files, grid)
        except (RasterioError, CPLE_BaseError, OSError, RuntimeError, ValueError) as error:
            raise SceneError(f"{name}: cannot be loaded ({describe_reason(error)}); try it again later") from None
        understood, doubt = self._settled(understood, bands, numbers, files[0].nodata)
        with tempfile.TemporaryDirectory(prefix="terrascope-batch-") as folder:
            # Not by the item's name: a product's name would be taken for what says what the numbers are.
            path = Path(folder) / "loaded.tif"
            _write(path, bands, grid, numbers, files[0].nodata, understood)
            try:
                observation = read_observation(
                    path,
                    sensor=understood.sensor.name if understood.is_settled else None,
                    modality=understood.sensor.modality,
                    date=_day(leading),
                )
            except SceneError as error:
                raise SceneError(str(error).replace(str(path), name)) from None
        is_stated = self.sensor is not None or self.sar_sensor is not None
        evidence = observation.evidence
        observation = replace(
            observation,
            source=" and ".join(f"{item.get('collection')}/{item['id']}" for item in self.items),
            evidence=evidence
            if is_stated
            else tuple(e.replace("as stated by the caller", "by its item") for e in evidence),
            assumptions=(*observation.assumptions, *doubt),
        )
        scene = Scene.of(**{observation.modality: [observation]})
        said = f"The archive's {observation.source} was loaded on {grid.width} x {grid.height} pixels."
        return replace(scene, notes=(said, *doubt))

    def _grid(self, whole: Grid, name: str) -> Grid:
        """The grid to load on: that of the leading item's finest band, as far as the box reaches.

        Raises:
            SceneError: it has no place, lies outside of the box, or is too large.
        """
        if not whole.is_located:
            raise SceneError(f"{name}: its images do not say where they lie; search another archive")
        grid = whole
        if self.bbox is not None and self.fills_box:
            grid = _enclosing(whole, self.bbox)
        elif self.bbox is not None:
            part = part_in_box(whole, self.bbox)
            if part is None:
                raise SceneError(f"{name}: its image has no pixel in the bbox; give one within")
            grid = whole.window(part)
        if grid.height * grid.width > IN_MEMORY_PIXELS:
            raise SceneError(
                f"{name}: {grid.width} x {grid.height} pixels are more than the {IN_MEMORY_PIXELS:,} that are loaded "
                "from an archive; give a smaller --bbox"
            )
        return grid

    def _load(self, bands: Sequence[StacBand], files: Sequence[_File], grid: Grid) -> NDArray[Any]:
        """Numbers `[bands, H, W]` as they are stored."""
        try:
            import odc.stac
        except ImportError:
            raise ArchiveError(
                "scenes of an archive need odc-stac; install it with: pip install 'terrascope-eo[stac]'"
            ) from None
        import pystac

        # What items leave out of types and nodata numbers odc-stac would guess: the files themselves say it.
        known = {
            band.asset: {"data_type": file.dtype} | ({} if file.nodata is None else {"nodata": file.nodata})
            for band, file in zip(bands, files, strict=True)
        }
        # The settings of GDAL are those of this thread, so no other one loads.
        with gdal_settings(remote=True):
            loaded = odc.stac.load(
                [pystac.Item.from_dict(dict(item)) for item in self.items],
                bands=[band.asset for band in bands],
                geobox=_geobox(grid),
                groupby=lambda *_: 0,
                stac_cfg={str(item.get("collection") or "*"): {"assets": known} for item in self.items},
                chunks=None,
                fail_on_error=True,
            )
        return np.stack([loaded[band.asset].values[0] for band in bands])

    def _settled(
        self, understood: Understood, bands: Sequence[StacBand], numbers: NDArray[Any], nodata: float | None
    ) -> tuple[Understood, list[str]]:
        """What is understood once the numbers are seen, and a sentence where they contradict the item.

        Archives are known to state the offset of Sentinel-2 for images from which they have taken it.
        """
        if understood.sensor.name != "sentinel-2-offset" or self.sensor is not None:
            return understood, []
        measured = {band.name: layer[layer != (nodata or 0)] for band, layer in zip(bands, numbers, strict=True)}
        doubt = doubt_offset(measured)
        if doubt is None:
            return understood, []
        said = (
            f"The item states the offset of processing baseline 04.00, but {doubt}; "
            "they are read without it (else give --sensor sentinel-2-offset)."
        )
        return Understood(sensor=SENSORS["sentinel-2"]), [said]


@dataclass(frozen=True, kw_only=True)
class _File:
    """What an asset's file says of itself."""

    grid: Grid
    dtype: str
    nodata: float | None

    @classmethod
    def of(cls, band: StacBand, name: str) -> _File:
        layers, grid = describe_file(band.href)
        if len(layers) != 1:
            raise SceneError(f"{name}: its asset {band.asset} has {len(layers)} bands; one is wanted")
        with open_raster(band.href) as dataset:
            nodata = dataset.nodata
        return cls(grid=grid, dtype=layers[0].dtype, nodata=band.nodata if nodata is None else float(nodata))


def _write(
    path: Path,
    bands: Sequence[StacBand],
    grid: Grid,
    numbers: NDArray[Any],
    nodata: float | None,
    understood: Understood,
) -> None:
    """What was loaded as a file, so that its numbers are understood and checked as those of any other."""
    crs = grid.georeference.crs
    assert crs is not None
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(bands),
        height=grid.height,
        width=grid.width,
        dtype=numbers.dtype.name,
        nodata=nodata,
        crs=RasterCRS.from_wkt(crs.to_wkt()),
        transform=grid.affine,
    ) as dataset:
        dataset.write(numbers)
        for index, band in enumerate(bands, 1):
            dataset.set_band_description(index, band.name)
        if understood.scaling is not None:
            scale, offset = understood.scaling
            dataset.scales, dataset.offsets = [scale] * len(bands), [offset] * len(bands)


def _geobox(grid: Grid) -> Any:
    from odc.geo.geobox import GeoBox

    return GeoBox(grid.shape, grid.affine, grid.crs.to_wkt())


def _enclosing(whole: Grid, bbox: LonLatBox) -> Grid:
    """The pixels that a box touches, on and beyond a grid."""
    from odc.geo.geom import box

    around = _geobox(whole).enclosing(box(*bbox, "EPSG:4326").to_crs(whole.crs.to_wkt()))
    height, width = around.shape
    transform = Affine(*tuple(around.affine)[:6])
    return Grid(height=height, width=width, georeference=Georeference(crs=whole.crs, transform=transform))


def _fineness(grid: Grid) -> float:
    return -abs(grid.affine.determinant) if grid.is_located else -float("inf")


def _day(item: Mapping[str, Any]) -> datetime.date | None:
    properties = item["properties"] if isinstance(item.get("properties"), Mapping) else {}
    text = str(properties.get("datetime") or properties.get("start_datetime") or "")[:10]
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return None

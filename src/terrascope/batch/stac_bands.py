"""What the items of archives call what: the sensor of an item, and the asset of each band of the sensor's picture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from terrascope.errors import SceneError
from terrascope.rasters.sensors import SENSORS, Sensor, sensor_named

Item = Mapping[str, Any]
"""A STAC item as JSON values."""

_OFFSET_BASELINE = 4.0
_OFFSET_IS_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
"""Properties by which an archive says that it has taken the offset out of the numbers. What it states of scale and
offset beside them is that of the numbers before."""


@dataclass(frozen=True, kw_only=True)
class Understood:
    """What an item is of.

    Attributes:
        sensor: whose bands it has.
        is_settled: True if its numbers are known to be those of this sensor; else they must decide.
        scaling: scale and offset that take the place of the sensor's; None for the sensor's.
    """

    sensor: Sensor
    is_settled: bool = True
    scaling: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class StacBand:
    """A band of a sensor, and the asset that holds it."""

    name: str
    asset: str
    href: str
    nodata: float | None


def understand(item: Item, *, optical: str | None = None, sar: str | None = None) -> Understood:
    """The sensor of an item, by what it says of its collection, platform and numbers.

    Args:
        optical, sar: names of sensors that its images are, if they are of this kind; None to go by the item.

    Raises:
        SceneError: the item is of no sensor that is known.
    """
    properties = item.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    names = [item.get("collection"), properties.get("platform"), properties.get("constellation")]
    told = " ".join(str(name).lower().replace("_", "-") for name in names if name)
    is_sar = "sentinel-1" in told or "sar" in str(properties.get("instruments", "")).lower()
    stated = sar if is_sar else optical
    if stated is not None:
        return Understood(sensor=sensor_named(stated))
    if re.search(r"hls\w*[.-]?s30|hlss30", told):
        return Understood(sensor=SENSORS["hls-s30"])
    if re.search(r"hls\w*[.-]?l30|hlsl30", told):
        return Understood(sensor=SENSORS["hls-l30"])
    if "sentinel-2" in told:
        return _sentinel_2(item, properties)
    if "landsat" in told and not re.search(r"-l1\b|level-1", told):
        name = "landsat-tm" if re.search(r"landsat-[457]\b", str(properties.get("platform", "")).lower()) else "landsat"
        return Understood(sensor=SENSORS[name], scaling=_stated_scaling(item, SENSORS[name]))
    if "sentinel-1" in told:
        return _sentinel_1(item, properties, told)
    if sar is not None:
        return Understood(sensor=sensor_named(sar))
    raise SceneError(
        f"item {item['id']}: nothing says which sensor the images of {item.get('collection')} are of; "
        f"give --sensor or --sar-sensor (one of {', '.join(SENSORS)})"
    )


def find_bands(item: Item, sensor: Sensor) -> list[StacBand]:
    """The assets of the bands that the sensor's picture is made of, in the sensor's order.

    Raises:
        SceneError: one is missing, or lies where it cannot be fetched from.
    """
    assets = _assets(item)
    found = []
    for band in sensor.display_bands:
        key = _asset_of(assets, sensor, band)
        if key is not None:
            found.append(StacBand(name=band, asset=key, href=_href(item, key), nodata=_nodata(assets[key])))
        elif sensor.modality == "optical":
            held = ", ".join(list(assets)[:12]) or "none"
            raise SceneError(f"item {item['id']}: has no asset of band {band} of {sensor.name}; its assets are {held}")
    if not found:
        raise SceneError(f"item {item['id']}: has no asset of {' or '.join(sensor.display_bands)}")
    return found


def _sentinel_2(item: Item, properties: Mapping[str, Any]) -> Understood:
    without, with_offset = Understood(sensor=SENSORS["sentinel-2"]), Understood(sensor=SENSORS["sentinel-2-offset"])
    if any(properties.get(name) is True for name in _OFFSET_IS_APPLIED):
        return without
    scaling = _stated_scaling(item, SENSORS["sentinel-2"])
    for known in (without, with_offset):
        if scaling == (known.sensor.scale, known.sensor.offset):
            return known
    if scaling is not None:
        return Understood(sensor=SENSORS["sentinel-2"], scaling=scaling)
    baseline = str(properties.get("s2:processing_baseline") or properties.get("processing:version") or "")
    version = re.fullmatch(r"\D*(\d\d?)[.]?(\d\d?)", baseline)
    if version is None:
        return Understood(sensor=SENSORS["sentinel-2"], is_settled=False)
    return with_offset if float(version[1]) >= _OFFSET_BASELINE else without


def _sentinel_1(item: Item, properties: Mapping[str, Any], told: str) -> Understood:
    kind = f"{told} {properties.get('sar:product_type', '')} {properties.get('product:type', '')}".lower()
    units = {str(entry.get("unit", "")).lower() for asset in _assets(item).values() for entry in _entries(asset)}
    if "db" in units:
        return Understood(sensor=SENSORS["sentinel-1"])
    if "rtc" in kind or "nrb" in kind:
        return Understood(sensor=SENSORS["sentinel-1-linear"])
    if "grd" in kind:
        return Understood(sensor=SENSORS["sentinel-1-grd"])
    return Understood(sensor=SENSORS["sentinel-1"], is_settled=False)


def _asset_of(assets: Mapping[str, Any], sensor: Sensor, band: str) -> str | None:
    """The asset that holds a band: by its key, the name that it states, its common name, or a key that begins so."""
    role = next((role for role, name in sensor.roles.items() if name == band), band.lower())
    ranked = []
    for key, asset in assets.items():
        entries = list(_entries(asset))
        names = {str(entry.get("name", "")).lower() for entry in entries}
        common = {str(entry.get("common_name") or entry.get("eo:common_name") or "").lower() for entry in entries}
        signs = (
            key.lower() in (band.lower(), role),
            band.lower() in names,
            role in common,
            re.match(rf"{re.escape(band)}[_-]", key, re.IGNORECASE) is not None,
        )
        is_tiff = "tiff" in str(asset.get("type", "tiff"))
        if any(signs) and len(names) <= 1 and "thumbnail" not in str(asset.get("roles")):
            ranked.append((not is_tiff, signs.index(True), key))
    return min(ranked)[2] if ranked else None


def _assets(item: Item) -> dict[str, Mapping[str, Any]]:
    assets = item.get("assets")
    return (
        {str(key): one for key, one in assets.items() if isinstance(one, Mapping)} if isinstance(assets, dict) else {}
    )


def _entries(asset: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What an asset says of its one band, in STAC 1.1 and before."""
    for name in ("bands", "eo:bands", "raster:bands"):
        entries = asset.get(name)
        if isinstance(entries, list):
            yield from (entry for entry in entries if isinstance(entry, Mapping))


def _stated_scaling(item: Item, sensor: Sensor) -> tuple[float, float] | None:
    """Scale and offset that the item states for the sensor's picture; None where it states none, or several."""
    assets = _assets(item)
    keys = [_asset_of(assets, sensor, band) for band in sensor.display_bands]
    stated = {_scaling(assets[key]) for key in keys if key is not None}
    return stated.pop() if len(stated) == 1 else None


def _scaling(asset: Mapping[str, Any]) -> tuple[float, float] | None:
    for entry in (asset, *_entries(asset)):
        scale, offset = (entry.get(name, entry.get(f"raster:{name}")) for name in ("scale", "offset"))
        if isinstance(scale, int | float):
            return float(scale), float(offset) if isinstance(offset, int | float) else 0.0
    return None


def _nodata(asset: Mapping[str, Any]) -> float | None:
    for entry in (asset, *_entries(asset)):
        try:
            return float(entry["nodata"])
        except (KeyError, TypeError, ValueError):
            continue
    return None


def _href(item: Item, key: str) -> str:
    href = item["assets"][key].get("href")
    # An archive is a stranger: what it names must not be a file of this machine, or a store that opens with its keys.
    if not isinstance(href, str) or not href.lower().startswith(("http://", "https://")):
        raise SceneError(
            f"item {item['id']}: its asset {key} lies at {str(href)[:80]}, and only addresses (https://) are opened; "
            "search an archive that serves files by HTTP"
        )
    return href

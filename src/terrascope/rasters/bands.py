"""Which sensor a raster comes from and which of its layers is which band: told by names, never by guess."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from terrascope.errors import SceneError
from terrascope.rasters.sensors import SENSORS, Sensor, sensor_named
from terrascope.scene import Modality


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One stored layer of a raster.

    Attributes:
        path: the file. index: the layer's number in it, from 1.
        label: what the file says of it (GDAL description, or the file's name where it holds one layer), or "".
        color: GDAL's colour interpretation (`red`, `gray`, `undefined` ...). dtype: numpy name of its numbers.
    """

    path: str
    index: int
    label: str
    color: str
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What to read: the sensor, its bands in the sensor's order, and quality layers that say where it was blind."""

    sensor: Sensor
    bands: dict[str, Layer]
    quality: dict[str, Layer]


def name_bands(layers: Sequence[Layer], *, sensor: str | None, modality: Modality, source: str) -> Reading:
    """Decide the sensor (unless it is named) and what each layer is.

    Layers are told by their labels; an 8-bit picture by its colour interpretation; a stack without labels by the order
    of the sensor that the caller names. A folder or stack may hold other layers too: they are left out.

    Raises:
        SceneError: the layers cannot be told apart, or the bands of the sensor's picture are not among them.
    """
    if sensor is not None:
        return _read_as(_of_modality(sensor_named(sensor), modality, source), layers, source)
    found = [
        _by_label(layers, candidate, source, by_role=False)
        for candidate in SENSORS.values()
        if _may_infer(candidate, modality, layers)
    ]
    complete = [reading for reading in found if _is_complete(reading)]
    if complete:
        return max(complete, key=lambda reading: len(reading.bands) + len(reading.quality))
    colors = {layer.color: layer for layer in layers}
    rgb = SENSORS["rgb"]
    if modality == "optical" and set(rgb.bands) <= set(colors) and all(layer.dtype == "uint8" for layer in layers):
        return Reading(sensor=rgb, bands={band: colors[band] for band in rgb.bands}, quality={})
    raise SceneError(_unknown_bands(layers, found, modality, source))


def _of_modality(sensor: Sensor, modality: Modality, source: str) -> Sensor:
    if sensor.modality != modality:
        raise SceneError(
            f"{source}: sensor {sensor.name} is {sensor.modality} but the image was given as {modality}; "
            f"choose one of {', '.join(_names(modality))}"
        )
    return sensor


def _names(modality: Modality) -> list[str]:
    return [sensor.name for sensor in SENSORS.values() if sensor.modality == modality]


def _option(modality: Modality) -> str:
    return "--sensor" if modality == "optical" else "--sar-sensor"


def _may_infer(sensor: Sensor, modality: Modality, layers: Sequence[Layer]) -> bool:
    """True if the labels speak for this sensor and no other: `B4` alone may be Sentinel-2 or Landsat."""
    if not sensor.tell_tale or sensor.modality != modality:
        return False
    if sensor.is_8bit and any(layer.dtype != "uint8" for layer in layers):
        return False
    return any(_holds_word(layer.label, sensor.tell_tale) for layer in layers)


def _read_as(sensor: Sensor, layers: Sequence[Layer], source: str) -> Reading:
    reading = _by_label(layers, sensor, source, by_role=True)
    if _is_complete(reading):
        return reading
    one_file = len({layer.path for layer in layers}) == 1
    if one_file and not reading.bands:
        for order in sensor.orders:
            if len(order) == len(layers):
                return Reading(sensor=sensor, bands=dict(zip(order, layers, strict=True)), quality={})
        counts = " or ".join(f"{len(order)} ({order[0]}..{order[-1]})" for order in sensor.orders)
        hint = f"a stack without band names must have {counts} bands" if counts else "its bands must carry names"
        raise SceneError(f"{source}: {hint} to be read as {sensor.name}, but it has {len(layers)}")
    missing = [band for band in sensor.display_bands if band not in reading.bands]
    raise SceneError(
        f"{source}: {sensor.name} needs the bands {', '.join(sensor.display_bands)}, but lacks {', '.join(missing)}; "
        "give the bands of one image as one stack, one folder or one list of files named after their bands"
    )


def _is_complete(reading: Reading) -> bool:
    present = [band in reading.bands for band in reading.sensor.display_bands]
    return all(present) if reading.sensor.modality == "optical" else any(present)


def _by_label(layers: Sequence[Layer], sensor: Sensor, source: str, *, by_role: bool) -> Reading:
    bands: dict[str, Layer] = {}
    quality: dict[str, Layer] = {}
    for layer in layers:
        named = [band for band in sensor.bands if _says(layer.label, band)]
        if by_role and not named:
            named = [band for role, band in sensor.roles.items() if layer.label.strip().lower() == role]
        for name in dict.fromkeys(named):
            if len(named) > 1:
                break
            if name in bands:
                raise SceneError(
                    f"{source}: two layers are band {name} ({bands[name].path}, {layer.path}); keep one of them"
                )
            bands[name] = layer
        for name in sensor.quality:
            if _says(layer.label, name):
                quality[name] = layer
    ordered = {band: bands[band] for band in sensor.bands if band in bands}
    return Reading(sensor=sensor, bands=ordered, quality=quality)


def _says(label: str, name: str) -> bool:
    """True if the label holds the name as a word of its own: `S2B_20181013_B02`, `B2`, `VV (dB)`."""
    return _holds_word(label, re.sub("^B0", "B0?", name))


def _holds_word(label: str, pattern: str) -> bool:
    # `SR_B4` is Landsat's name for what is not Sentinel-2's B4, and a red edge is not red.
    word = rf"(?<![A-Z0-9])(?<!SR_)(?:{pattern})(?![A-Z0-9])(?![ _-]?edge)"
    return re.search(word, label, flags=re.IGNORECASE) is not None


def _unknown_bands(layers: Sequence[Layer], found: Sequence[Reading], modality: Modality, source: str) -> str:
    option = _option(modality)
    partial = max((r for r in found if r.bands and not _is_complete(r)), key=lambda r: len(r.bands), default=None)
    if partial is not None:
        missing = [band for band in partial.sensor.display_bands if band not in partial.bands]
        return (
            f"{source}: holds {', '.join(partial.bands)} of {partial.sensor.name} but lacks {', '.join(missing)}; "
            "give the bands of one image as one stack, one folder or one list of files named after their bands"
        )
    fitting = [
        sensor.name
        for sensor in SENSORS.values()
        if sensor.modality == modality and any(len(order) == len(layers) for order in sensor.orders)
    ]
    kind = f"{len(layers)} x {layers[0].dtype}" if layers else "none"
    choices = ", ".join(fitting or _names(modality))
    advice = f"name them in the file or give {option} (one of {choices})"
    return f"{source}: nothing says what its bands ({kind}) show; {advice}"

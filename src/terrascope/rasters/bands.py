"""Which sensor a raster comes from and which of its layers is which band: told by names, never by guess."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from terrascope.errors import SceneError
from terrascope.rasters.registry import SENSORS, Quantity, Sensor
from terrascope.rasters.sensors import sensor_named
from terrascope.scene import Modality

_WITH_OR_WITHOUT_OFFSET = ("sentinel-2", "sentinel-2-offset")
_ASSUMED_WITHOUT_OFFSET = (
    "Nothing says whether the numbers carry the offset of processing baseline 04.00; they are read without it "
    "(else give --sensor sentinel-2-offset)."
)
_OF_QUANTITY: dict[Quantity, str] = {
    "decibels": "sentinel-1",
    "power": "sentinel-1-linear",
    "amplitude": "sentinel-1-amplitude",
}
_QUANTITY_WORDS: dict[Quantity, str] = {
    "decibels": "d[bB]|DB|[dD]ecibels?",
    "power": "[lL]inear|[pP]ower",
    "amplitude": "[aA]mp|[aA]mplitude",
}
_HYP3 = re.compile(r"_RTC\d+_[A-Z]_[gsb]([pad])[uw][nf][ec][dmrpo]_")
"""Names of ASF's terrain-corrected products: the letter says power, amplitude or decibels."""
_HYP3_LETTERS: dict[str, Quantity] = {"p": "power", "a": "amplitude", "d": "decibels"}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One stored layer of a raster.

    Attributes:
        path: the file. index: the layer's number in it, from 1.
        label: what the file says of it (GDAL description, or the file's name where it holds one layer), or "".
        color: GDAL's colour interpretation (`red`, `gray`, `undefined` ...). dtype: numpy name of its numbers.
        unit: the unit that the file states for it, or "".
    """

    path: str
    index: int
    label: str
    color: str
    dtype: str
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What to read of a raster.

    Attributes:
        sensor: what the numbers mean.
        bands: its bands, in the sensor's order. quality: layers that say where it was blind.
        evidence: what decided, one phrase each. assumptions: what nothing decided, one sentence each.
        undecided: names of the sensors between which only the numbers can decide, or nothing can: see
            `plausibility.settle_sensor`. Empty where names have decided.
    """

    sensor: Sensor
    bands: dict[str, Layer]
    quality: dict[str, Layer]
    evidence: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()


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
        _by_label(layers, candidate, by_role=False)
        for candidate in SENSORS.values()
        if _may_infer(candidate, modality, layers)
    ]
    complete = [match for match in found if match.is_complete]
    if complete:
        best = max(complete, key=lambda match: len(match.bands) + len(match.quality))
        if best.sensor.name in ("sentinel-2", "hls"):
            _refuse_two_infrareds(layers, source)
        names = ", ".join((*best.bands, *best.quality))
        reading = best.reading(source, f"{best.sensor.name}: by the names of its layers ({names})")
        return _with_what_is_open(reading, layers)
    colors = {layer.color: layer for layer in layers}
    rgb = SENSORS["rgb"]
    if modality == "optical" and set(rgb.bands) <= set(colors) and all(layer.dtype == "uint8" for layer in layers):
        _refuse_several_pictures(layers, rgb, source)
        said = "rgb: by the file's colour interpretation, in 8 bits"
        return Reading(sensor=rgb, bands={band: colors[band] for band in rgb.bands}, quality={}, evidence=(said,))
    raise SceneError(_unknown_bands(layers, found, modality, source))


def tell_modality(layers: Sequence[Layer]) -> Modality:
    """Optical, unless the names of the layers speak of a SAR sensor and of no optical one."""
    speaking = {
        sensor.modality
        for sensor in SENSORS.values()
        if sensor.tell_tale and any(_holds_word(layer.label, sensor.tell_tale) for layer in layers)
    }
    return "sar" if speaking == {"sar"} else "optical"


@dataclass(frozen=True, kw_only=True)
class _Match:
    """The layers that carry the names of a sensor's bands. `twice` is a band that two layers claim, with the two."""

    sensor: Sensor
    bands: dict[str, Layer]
    quality: dict[str, Layer]
    twice: tuple[str, Layer, Layer] | None

    @property
    def is_complete(self) -> bool:
        present = [band in self.bands for band in self.sensor.display_bands]
        return all(present) if self.sensor.modality == "optical" else any(present)

    def reading(self, source: str, evidence: str) -> Reading:
        if self.twice is not None:
            name, first, second = self.twice
            raise SceneError(f"{source}: two layers are band {name} ({first.path}, {second.path}); keep one of them")
        return Reading(sensor=self.sensor, bands=self.bands, quality=self.quality, evidence=(evidence,))


def _with_what_is_open(reading: Reading, layers: Sequence[Layer]) -> Reading:
    """Say of an inferred sensor what its bands' names leave open: the offset, or the unit of backscatter."""
    if reading.sensor.name == "sentinel-2" and all(layer.dtype == "uint8" for layer in reading.bands.values()):
        stretched = SENSORS["sentinel-2-8bit"]
        return replace(
            reading, sensor=stretched, evidence=(*reading.evidence, f"{stretched.name}: by its 8-bit numbers")
        )
    if reading.sensor.name == "sentinel-2":
        return replace(reading, assumptions=(_ASSUMED_WITHOUT_OFFSET,), undecided=_WITH_OR_WITHOUT_OFFSET)
    if reading.sensor.name != "sentinel-1":
        return reading
    stated = _stated_quantity(reading.bands.values())
    if stated is None:
        return replace(reading, undecided=(*_OF_QUANTITY.values(), "sentinel-1-grd"))
    quantity, word = stated
    sensor = SENSORS[_OF_QUANTITY[quantity]]
    return replace(reading, sensor=sensor, evidence=(*reading.evidence, f"{sensor.name}: {quantity} by {word!r}"))


def _stated_quantity(layers: Iterable[Layer]) -> tuple[Quantity, str] | None:
    """Decibels, power or amplitude and the word that says so, in units and names; None where they say none or two."""
    said: dict[Quantity, str] = {}
    for layer in layers:
        words = f"{Path(layer.path).stem} {layer.label} {layer.unit}"
        hyp3 = _HYP3.search(words)
        if hyp3 is not None:
            said.setdefault(_HYP3_LETTERS[hyp3[1]], hyp3[0].strip("_"))
            continue
        for quantity, pattern in _QUANTITY_WORDS.items():
            word = re.search(rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])", words)
            if word is not None:
                said.setdefault(quantity, word[0])
    return next(iter(said.items())) if len(said) == 1 else None


def _refuse_two_infrareds(layers: Sequence[Layer], source: str) -> None:
    """B05 to B07 are infrared in HLS L30 and red edge in Sentinel-2: without a band that only one has, nobody knows."""
    if any(_says(layer.label, name) for layer in layers for name in ("B08", "B8A", "B12")):
        return
    doubtful = [name for name in ("B05", "B06", "B07") if any(_says(layer.label, name) for layer in layers)]
    if doubtful:
        raise SceneError(
            f"{source}: {doubtful[0]} is infrared in HLS L30 but red edge in Sentinel-2 and HLS S30, and no name says "
            "which this is; give --sensor hls-l30, hls-s30 or sentinel-2"
        )


def _refuse_several_pictures(layers: Sequence[Layer], rgb: Sensor, source: str) -> None:
    """Only one of them would be read."""
    seen: dict[str, Layer] = {}
    for layer in layers:
        first = seen.setdefault(layer.color, layer)
        if first is layer or layer.color not in rgb.bands:
            continue
        if first.path == layer.path:
            raise SceneError(
                f"{source}: bands {first.index} and {layer.index} are both {layer.color}; keep one of them"
            )
        raise SceneError(
            f"{first.path} and {layer.path} both hold the {layer.color} of a picture, so they are not one image; "
            "give each as an image of its own, or only one of them"
        )


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
    match = _by_label(layers, sensor, by_role=True)
    if match.is_complete:
        return match.reading(source, f"bands: by the names of the layers ({', '.join(match.bands)})")
    one_file = len({layer.path for layer in layers}) == 1
    if one_file and not match.bands:
        for order in sensor.orders:
            if len(order) == len(layers):
                said = f"bands: by their order, as {sensor.name} has them ({', '.join(order)})"
                bands = dict(zip(order, layers, strict=True))
                return Reading(sensor=sensor, bands=bands, quality={}, evidence=(said,))
        counts = " or ".join(f"{len(order)} ({order[0]}..{order[-1]})" for order in sensor.orders)
        hint = f"a stack without band names must have {counts} bands" if counts else "its bands must carry names"
        raise SceneError(f"{source}: {hint} to be read as {sensor.name}, but it has {len(layers)}")
    missing = [band for band in sensor.display_bands if band not in match.bands]
    raise SceneError(
        f"{source}: {sensor.name} needs the bands {', '.join(sensor.display_bands)}, but lacks {', '.join(missing)}; "
        "give the bands of one image as one stack, one folder or one list of files named after their bands"
    )


def _by_label(layers: Sequence[Layer], sensor: Sensor, *, by_role: bool) -> _Match:
    bands: dict[str, Layer] = {}
    quality: dict[str, Layer] = {}
    twice = None
    for layer in layers:
        named = [band for band in sensor.bands if _says(layer.label, band)]
        if by_role and not named:
            named = [band for role, band in sensor.roles.items() if layer.label.strip().lower() == role]
        if len(named) == 1:
            if named[0] in bands:
                twice = (named[0], bands[named[0]], layer)
            bands[named[0]] = layer
        for code in sensor.quality:
            if _says(layer.label, code):
                quality[code] = layer
    ordered = {band: bands[band] for band in sensor.bands if band in bands}
    return _Match(sensor=sensor, bands=ordered, quality=quality, twice=twice)


def _says(label: str, name: str) -> bool:
    """True if the label holds the name as a word of its own: `S2B_20181013_B02`, `B2`, `VV (dB)`."""
    return _holds_word(label, re.sub("^B0", "B0?", name))


def _holds_word(label: str, pattern: str) -> bool:
    # `SR_B4` is Landsat's name for what is not Sentinel-2's B4; a red edge is not red, and coastal blue is not blue.
    word = rf"(?<![A-Z0-9])(?<!SR_)(?<!coastal[ _-])(?:{pattern})(?![A-Z0-9])(?![ _-]?edge)(?![ _-]i(?![A-Z]))"
    return re.search(word, label, flags=re.IGNORECASE) is not None


def _unknown_bands(layers: Sequence[Layer], found: Sequence[_Match], modality: Modality, source: str) -> str:
    partial = max((m for m in found if m.bands and not m.is_complete), key=lambda m: len(m.bands), default=None)
    if partial is not None:
        missing = [band for band in partial.sensor.display_bands if band not in partial.bands]
        return (
            f"{source}: holds {', '.join(partial.bands)} of {partial.sensor.name} but lacks {', '.join(missing)}; "
            "give the bands of one image as one stack, one folder or one list of files named after their bands"
        )
    matches = [_by_label(layers, sensor, by_role=False) for sensor in SENSORS.values() if sensor.modality == modality]
    others = [sensor for sensor in SENSORS.values() if sensor.modality != modality]
    foreign = next((sensor for sensor in others if _by_label(layers, sensor, by_role=False).is_complete), None)
    if foreign is not None:
        said, wanted = ("an optical", "a SAR") if modality == "optical" else ("a SAR", "an optical")
        bands = ", ".join(foreign.display_bands)
        return f"{source}: was given as {said} image, but holds {bands} of {foreign.name}; give it as {wanted} image"
    named = [match for match in matches if match.is_complete]
    if named:
        names, sensors = ", ".join(named[0].bands), ", ".join(match.sensor.name for match in named)
        return f"{source}: several sensors have bands named {names}; give {_option(modality)} (one of {sensors})"
    kind = f"{len(layers)} x {layers[0].dtype}" if layers else "none"
    advice = "name them in the file"
    for told in dict.fromkeys((modality, "optical", "sar")):
        fitting = [sensor.name for sensor in SENSORS.values() if _has_order(sensor, told, len(layers))]
        if fitting:
            advice += f" or give {_option(told)} (one of {', '.join(fitting)})"
            break
    return f"{source}: nothing says what its bands ({kind}) show; {advice}"


def _has_order(sensor: Sensor, modality: Modality, num_bands: int) -> bool:
    return sensor.modality == modality and any(len(order) == num_bands for order in sensor.orders)

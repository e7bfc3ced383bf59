"""Numbers as evidence: what they say of a sensor where names say nothing, and what no sensor can have stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import SceneError
from terrascope.rasters.bands import Layer, Reading
from terrascope.rasters.sensors import SENSORS, Sensor

_OFFSET = 1000
_BELOW_OFFSET = 800
"""Stored numbers of Sentinel-2 with the offset begin near 1000; below this there is next to none of them."""

_POWER_NAMES = r"(?:gamma|sigma|beta)[_ ]?(?:0|nought|naught)|rtc|nrb"
"""Products that are stored as linear power unless their names say otherwise."""

_NOT_DECIBELS = (
    "has no negative value, so it is not in decibels; give --sar-sensor sentinel-1-linear if it is power, "
    "sentinel-1-amplitude if it is amplitude, or sentinel-1-grd if it is an uncalibrated GRD"
)


def settle_sensor(reading: Reading, measured: Mapping[str, NDArray[np.float32]], source: str) -> Reading:
    """Let the numbers decide what the names left open: the reading's sensor, with the evidence for it.

    A reading whose sensor is settled comes back as it is.

    Args:
        reading: what `name_bands` made of the names. `reading.undecided` are the sensors that are still possible.
        measured: by band the stored numbers of measured pixels (scale and offset of the file applied, those of the
            sensor not), flat. A sample of each band is enough, if it is spread over the image.

    Raises:
        SceneError: the numbers of a SAR image do not decide between power and amplitude, or mean nothing.
    """
    known = {band: numbers[numbers != reading.sensor.fill] for band, numbers in measured.items()}
    if not reading.undecided or not any(numbers.size for numbers in known.values()):
        return reading
    if reading.sensor.modality == "sar":
        return _settle_backscatter(reading, np.concatenate([n.ravel() for n in known.values()]), source)
    return _settle_offset(reading, known)


def _settle_backscatter(reading: Reading, numbers: NDArray[np.float32], source: str) -> Reading:
    low, middle = float(numbers.min()), float(np.median(numbers))
    layers = list(reading.bands.values())
    dtypes = {layer.dtype for layer in layers}
    if low < 0 and middle < 0:
        said = f"decibels: half of its values lie below {middle:.1f} and linear numbers are never negative"
        return _settled(reading, "sentinel-1", said)
    if low < 0:
        raise SceneError(
            f"{source}: holds {low:g} but half of its values lie above {middle:g}, so they may be decibels or power; "
            "give --sar-sensor sentinel-1 or sentinel-1-linear"
        )
    if dtypes == {"uint8"}:
        raise SceneError(
            f"{source}: backscatter in 8 bits is neither decibels nor power; give one band and --sar-sensor sar-8bit"
        )
    if dtypes <= {"uint16", "int16", "uint32", "int32"} and middle > 1:
        said = f"uncalibrated amplitude: whole numbers without sign, half of them above {middle:g}"
        return _settled(reading, "sentinel-1-grd", said, UNCALIBRATED)
    name = next((found for layer in layers if (found := _power_name(layer)) is not None), None)
    if name is None:
        raise SceneError(f"{source}: {_NOT_DECIBELS}")
    said = f"linear power: {name!r} in its name, and no value is negative"
    return _settled(reading, "sentinel-1-linear", said)


UNCALIBRATED = (
    "The amplitudes are not calibrated: 600, a usual constant of Sentinel-1 GRD, is taken for 0 dB, "
    "so the backscatter may be off by several decibels."
)
"""What is assumed of the numbers of a GRD product without its calibration."""


def _power_name(layer: Layer) -> str | None:
    words = f"{Path(layer.path).stem} {layer.label}"
    found = re.search(rf"(?<![a-z0-9])(?:{_POWER_NAMES})(?![a-z])", words, flags=re.IGNORECASE)
    return None if found is None else found[0]


def _settle_offset(reading: Reading, measured: Mapping[str, NDArray[np.float32]]) -> Reading:
    """Tell Sentinel-2 with the offset of baseline 04.00 from Sentinel-2 without: only the latter has numbers near 0."""
    band, darkest = _darkest(measured)
    if darkest < _BELOW_OFFSET:
        said = f"no offset: 1 % of {band} lie below {darkest:g}, and numbers with the offset begin near {_OFFSET}"
        return _settled(reading, reading.sensor.name, said)
    assumption = (
        f"Its numbers begin at {darkest:g} ({band}), as those with the offset of processing baseline 04.00 do, "
        "but nothing states it; they are read without it (else give --sensor sentinel-2-offset)."
    )
    return replace(reading, undecided=(), assumptions=(assumption,))


def doubt_offset(measured: Mapping[str, NDArray[Any]]) -> str | None:
    """Why numbers of Sentinel-2 do not carry the offset of baseline 04.00, though it is stated; None where they may.

    Args:
        measured: by band the stored numbers of measured pixels, flat; as for `settle_sensor`.
    """
    known = {band: numbers for band, numbers in measured.items() if numbers.size}
    if not known:
        return None
    band, darkest = _darkest(known)
    if darkest >= _BELOW_OFFSET:
        return None
    return f"1 % of {band} lie below {darkest:g}, and numbers with the offset begin near {_OFFSET}"


def _darkest(measured: Mapping[str, NDArray[Any]]) -> tuple[str, float]:
    """The band with the darkest pixels, and the number that 1 % of it lie below."""
    darkest = {band: float(np.percentile(numbers, 1)) for band, numbers in measured.items() if numbers.size}
    band = min(darkest, key=darkest.__getitem__)
    return band, darkest[band]


def _settled(reading: Reading, sensor: str, said: str, *assumptions: str) -> Reading:
    return replace(
        reading,
        sensor=SENSORS[sensor],
        undecided=(),
        evidence=(*reading.evidence, f"{sensor}: by its values ({said})"),
        assumptions=assumptions,
    )


def check_numbers(
    measured: NDArray[np.float32], layer: Layer, sensor: Sensor, source: str, *, scaling: tuple[float, float]
) -> None:
    """Refuse numbers that cannot be what the sensor stores. `measured` is flat, not yet scaled; it may be empty."""
    if not measured.size:
        return
    low, high = float(measured.min()), float(measured.max())
    where = f"{source}: band {layer.index} of {Path(layer.path).name} holds {low:g} to {high:g}"
    if sensor.is_8bit:
        if low < 0 or high > 255 or layer.dtype.startswith("float"):
            raise SceneError(
                f"{where} as {layer.dtype}, but {sensor.name} means 8-bit numbers (0 to 255); name another sensor"
            )
    elif sensor.modality == "optical" and layer.dtype == "uint8":
        raise SceneError(
            f"{where} in 8 bits, which are no {sensor.quantity}s of {sensor.name}; "
            "give --sensor sentinel-2-8bit if it is stretched"
        )
    elif sensor.quantity == "digital number":
        if low < 0 or high > 65535:
            raise SceneError(f"{where}, but {sensor.name} means numbers of 11 to 16 bits; name another sensor")
    elif sensor.quantity == "reflectance":
        top = high * scaling[0] + scaling[1]
        if top < 5e-4 and high > 0 and layer.dtype.startswith("float"):
            raise SceneError(
                f"{where}, too small for {sensor.name}; give --sensor sentinel-2-reflectance if it is reflectance"
            )
        if top > 20:
            raise SceneError(
                f"{where}, which {sensor.name} makes a reflectance of {top:g}; name the sensor that scales it"
            )
    elif sensor.quantity in ("power", "amplitude") and low < 0:
        raise SceneError(
            f"{where}, but {sensor.quantity} is never negative; give --sar-sensor sentinel-1 if it is in decibels"
        )


def check_decibels(measured: NDArray[np.float32], source: str) -> None:
    """Refuse backscatter that cannot be in decibels. `measured` is `[bands, num_valid]`; it may be empty."""
    if not measured.size:
        return
    low, middle = float(measured.min()), float(np.median(measured))
    if low >= 0:
        raise SceneError(f"{source}: {_NOT_DECIBELS}")
    if not -60 <= middle <= 20:
        raise SceneError(f"{source}: half of its values lie below {middle:g}, which are no decibels (about -40 to 5)")

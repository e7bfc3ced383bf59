"""Numbers that cannot be what a sensor stores: better refused than answered about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import SceneError
from terrascope.rasters.bands import Layer
from terrascope.rasters.sensors import Sensor


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
    elif sensor.modality == "optical":
        top = high * scaling[0] + scaling[1]
        if layer.dtype == "uint8":
            raise SceneError(
                f"{where} in 8 bits, which are no reflectances; give --sensor sentinel-2-8bit if it is stretched"
            )
        if top < 5e-4 and high > 0 and layer.dtype.startswith("float"):
            raise SceneError(
                f"{where}, too small for {sensor.name}; give --sensor sentinel-2-reflectance if it is reflectance"
            )
        if top > 20:
            raise SceneError(
                f"{where}, which {sensor.name} makes a reflectance of {top:g}; name the sensor that scales it"
            )
    elif sensor.power and low < 0:
        raise SceneError(
            f"{where}, but linear power is never negative; give --sar-sensor sentinel-1 if it is in decibels"
        )


def check_decibels(measured: NDArray[np.float32], source: str) -> None:
    """Refuse backscatter that cannot be in decibels. `measured` is `[bands, num_valid]`; it may be empty."""
    if not measured.size:
        return
    low, middle = float(measured.min()), float(np.median(measured))
    if low >= 0:
        raise SceneError(
            f"{source}: has no negative value, so it is linear power and not decibels; convert it, or give "
            "--sar-sensor sentinel-1-linear"
        )
    if not -60 <= middle <= 20:
        raise SceneError(f"{source}: half of its values lie below {middle:g}, which are no decibels (about -40 to 5)")

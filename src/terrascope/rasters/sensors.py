"""What the numbers of a sensor mean, and how three of its bands become a picture. The sensors stand in `registry`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import SceneError
from terrascope.rasters.registry import MEAN, SENSORS, Band, Sensor
from terrascope.scene import OVERVIEW_SIDE, Observation

__all__ = [
    "MEAN",
    "SENSORS",
    "Band",
    "Sensor",
    "make_physical",
    "render",
    "render_overview",
    "sensor_named",
    "shown_bands",
    "shown_overview",
    "to_physical",
]


def sensor_named(name: str) -> Sensor:
    """The sensor of a name.

    Raises:
        SceneError: there is no such sensor.
    """
    if name not in SENSORS:
        raise SceneError(f"unknown sensor {name!r}: choose one of {', '.join(SENSORS)}")
    return SENSORS[name]


def to_physical(
    sensor: Sensor, numbers: NDArray[np.generic], scaling: tuple[float, float] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """What stored numbers mean: reflectance, decibels, or the digital number itself.

    Linear power and amplitude become decibels, so that one unit reaches the model.

    Args:
        numbers: as stored, of any shape.
        scaling: scale and offset, where the file states its own; None for the sensor's.

    Returns:
        physical float32 and measured bool, of the shape of `numbers`. A pixel is not measured where its number is not
        finite, is the sensor's fill (other than 0, which only all bands together can tell), or has no logarithm;
        physical is 0 there.
    """
    physical = np.array(numbers, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        measured = make_physical(sensor, physical, scaling or (sensor.scale, sensor.offset))
    if measured is None:
        return physical, np.ones(physical.shape, bool)
    np.copyto(physical, 0, where=~measured)
    return physical, measured


def make_physical(
    sensor: Sensor, numbers: NDArray[np.float32], scaling: tuple[float, float]
) -> NDArray[np.bool_] | None:
    """`to_physical` in place: numbers as stored become what they mean.

    Returns:
        measured bool, or None if they all are; what is not measured may hold anything.
    """
    # In an 8-bit picture a single band may hold the number as a colour: only all bands together can tell.
    fill = numbers == np.float32(sensor.fill) if sensor.fill and not sensor.is_8bit else None
    scale, offset = (np.float32(number) for number in scaling)
    np.multiply(numbers, scale, out=numbers)
    np.add(numbers, offset, out=numbers)
    measured = np.isfinite(numbers)
    if fill is not None:
        measured &= ~fill
    if sensor.quantity in ("power", "amplitude"):
        measured &= numbers > 0
        np.copyto(numbers, 1, where=~measured)
        np.log10(numbers, out=numbers)
        np.multiply(numbers, np.float32(10 if sensor.quantity == "power" else 20), out=numbers)
    return None if measured.all() else measured


def shown_bands(observation: Observation) -> tuple[str, ...]:
    """The bands of an observation that its picture is made of.

    Raises:
        SceneError: the sensor is unknown or a band of its display is missing.
    """
    sensor = sensor_named(observation.sensor)
    present = tuple(band for band in sensor.display_bands if band in observation.bands)
    if not present or (sensor.modality == "optical" and len(present) < len(sensor.display_bands)):
        missing = next(band for band in sensor.display_bands if band not in present)
        raise SceneError(f"{observation.source}: no band {missing}; it has {', '.join(observation.bands)}")
    return present


def shown_overview(observation: Observation, max_side: int) -> Observation:
    """The bands of an observation's picture, reduced until no side is longer than `max_side`.

    It is made of the overview that the first look is made from, as another would cost a pass over the files.
    """
    return observation.overview(OVERVIEW_SIDE, shown_bands(observation)).overview(max_side)


def render_overview(observation: Observation, max_side: int = OVERVIEW_SIDE) -> NDArray[np.float32]:
    """The picture float32 `[3, h, w]` of an observation, reduced until no side is longer than `max_side`."""
    return render(shown_overview(observation, max_side))


def render(observation: Observation) -> NDArray[np.float32]:
    """Three channels float32 `[3, H, W]` in 0..1 of an observation; pixels outside `valid` are 0.

    This is the one way in which an observation becomes a picture, for the model and for people alike. A SAR image
    with one polarisation shows it in all three channels.

    Raises:
        SceneError: the sensor is unknown or a band of its display is missing.
    """
    sensor = sensor_named(observation.sensor)
    present = shown_bands(observation)
    shown: dict[int, NDArray[np.float32]] = {}  # by channel; one without a band of its own shows the mean of these
    for channel, (entry, (low, high)) in enumerate(zip(sensor.display, sensor.stretch, strict=True)):
        if sensor.band_of(entry) in present:
            shown[channel] = np.clip((observation.band(sensor.band_of(entry)) - low) / (high - low), 0.0, 1.0)
    mean: NDArray[np.float32] = np.mean(list(shown.values()), axis=0, dtype=np.float32)
    picture = np.stack([shown.get(channel, mean) for channel in range(3)]).astype(np.float32)
    return np.where(observation.valid, picture, np.float32(0.0))

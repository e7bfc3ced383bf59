"""What the bands of a sensor are called, what their numbers mean, and how three of them become a picture.

A new sensor is one more entry in the list at the end of this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import SceneError
from terrascope.scene import OVERVIEW_SIDE, Modality, Observation

MEAN = "mean"
"""Display entry that stands for the mean of the other display channels, after their stretch."""

Stretch = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """One kind of image that the program understands.

    Attributes:
        name: what `--sensor` and `Observation.sensor` say.
        modality: `optical` or `sar`.
        bands: the sensor's bands; a raster may hold a part of them.
        roles: role (blue, green, red, nir, swir1, swir2, vv, vh) -> band.
        scale, offset: physical value = stored number * scale + offset.
        display: the bands or roles shown as red, green and blue; `MEAN` for the mean of the other two.
        stretch: per display channel the physical values shown as 0 and 1. They are fixed, never taken from the image,
            so that one brightness means one thing in every scene.
        orders: the orders in which stacks without band names come, told apart by their number of bands.
        fill: stored number that marks a pixel as unmeasured, with or without a nodata tag. A 0 does so only where every
            band holds it, because in a single band it may be a dark measurement.
        quality: quality layers that may lie beside the bands -> the number in them that says "not measured".
        power: True if the stored numbers are linear power, which reading turns into decibels.
        tell_tale: regular expression; band names alone choose this sensor only if one of them contains it as a word.
        description: one line for lists of sensors.
    """

    name: str
    modality: Modality
    bands: tuple[str, ...]
    roles: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    scale: float = 1.0
    offset: float = 0.0
    display: tuple[str, str, str]
    stretch: tuple[Stretch, Stretch, Stretch]
    orders: tuple[tuple[str, ...], ...] = ()
    fill: float | None = None
    quality: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    power: bool = False
    tell_tale: str = ""
    description: str

    def band_of(self, role: str) -> str:
        """The band that plays a role; a band's own name stands for itself."""
        return self.roles.get(role, role)

    @property
    def display_bands(self) -> tuple[str, ...]:
        """The bands that the picture is made of. An optical image must hold all of them, a SAR image at least one."""
        return tuple(dict.fromkeys(self.band_of(entry) for entry in self.display if entry != MEAN))

    @property
    def is_8bit(self) -> bool:
        """True if the stored numbers are those of an 8-bit picture (0-255)."""
        return self.stretch[0] == (0.0, 255.0)


def sensor_named(name: str) -> Sensor:
    """The sensor of a name.

    Raises:
        SceneError: there is no such sensor.
    """
    if name not in SENSORS:
        raise SceneError(f"unknown sensor {name!r}: choose one of {', '.join(SENSORS)}")
    return SENSORS[name]


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


def render_overview(observation: Observation, max_side: int = OVERVIEW_SIDE) -> NDArray[np.float32]:
    """The picture float32 `[3, h, w]` of an observation, reduced until no side is longer than `max_side`."""
    return render(observation.overview(max_side, shown_bands(observation)))


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


_REFLECTANCE: tuple[Stretch, Stretch, Stretch] = ((0.0, 0.3), (0.0, 0.3), (0.0, 0.3))
_BYTE: tuple[Stretch, Stretch, Stretch] = ((0.0, 255.0), (0.0, 255.0), (0.0, 255.0))
_TRUE_COLOR = ("red", "green", "blue")

_S2_L1C = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_S2_L2A = tuple(band for band in _S2_L1C if band != "B10")
_S2_ROLES = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08", "swir1": "B11", "swir2": "B12"}
_HLS = ("B01", "B02", "B03", "B04", "B8A", "B11", "B12")
_OLI = ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7")
_OLI_ROLES = dict(zip(("blue", "green", "red", "nir", "swir1", "swir2"), _OLI[1:], strict=True))

SENSORS: dict[str, Sensor] = {
    sensor.name: sensor
    for sensor in (
        Sensor(
            name="sentinel-2",
            modality="optical",
            bands=_S2_L1C,
            roles=_S2_ROLES,
            scale=1e-4,
            display=_TRUE_COLOR,
            stretch=_REFLECTANCE,
            orders=(_S2_L2A, _S2_L1C),
            fill=0,
            quality={"SCL": 0},
            tell_tale=r"B0\d|B8A|B12",
            description="Sentinel-2 L1C or L2A, reflectance x 10000 without offset",
        ),
        Sensor(
            name="sentinel-2-offset",
            modality="optical",
            bands=_S2_L1C,
            roles=_S2_ROLES,
            scale=1e-4,
            offset=-0.1,
            display=_TRUE_COLOR,
            stretch=_REFLECTANCE,
            orders=(_S2_L2A, _S2_L1C),
            fill=0,
            quality={"SCL": 0},
            description="Sentinel-2 as processed since baseline 04.00 (2022): reflectance x 10000 + 1000",
        ),
        Sensor(
            name="sentinel-2-reflectance",
            modality="optical",
            bands=_S2_L1C,
            roles=_S2_ROLES,
            display=_TRUE_COLOR,
            stretch=_REFLECTANCE,
            orders=(_S2_L2A, _S2_L1C),
            quality={"SCL": 0},
            description="Sentinel-2 as floating-point reflectance, 0-1",
        ),
        Sensor(
            name="sentinel-2-8bit",
            modality="optical",
            bands=_S2_L1C,
            roles=_S2_ROLES,
            display=_TRUE_COLOR,
            stretch=_BYTE,
            description="Sentinel-2 bands stretched to 0-255 for display",
        ),
        Sensor(
            name="hls",
            modality="optical",
            bands=_HLS,
            roles={**_S2_ROLES, "nir": "B8A"},
            scale=1e-4,
            display=_TRUE_COLOR,
            stretch=_REFLECTANCE,
            orders=(_HLS, _HLS[1:]),
            fill=-9999,
            quality={"Fmask": 255},
            tell_tale="Fmask",
            description="Harmonized Landsat Sentinel-2 under Sentinel-2 band names, reflectance x 10000",
        ),
        Sensor(
            name="landsat",
            modality="optical",
            bands=_OLI,
            roles=_OLI_ROLES,
            scale=2.75e-5,
            offset=-0.2,
            display=_TRUE_COLOR,
            stretch=_REFLECTANCE,
            orders=(_OLI,),
            fill=0,
            tell_tale=r"SR_B6|LC0[89]\w*",
            description="Landsat 8 and 9, Collection 2 Level 2 surface reflectance",
        ),
        Sensor(
            name="rgb",
            modality="optical",
            bands=("red", "green", "blue"),
            roles={"red": "red", "green": "green", "blue": "blue"},
            display=_TRUE_COLOR,
            stretch=_BYTE,
            orders=(("red", "green", "blue"),),
            tell_tale="red",
            description="8-bit red, green and blue picture",
        ),
        Sensor(
            name="false-color",
            modality="optical",
            bands=("swir", "nir", "red"),
            roles={"swir1": "swir", "nir": "nir", "red": "red"},
            display=("swir", "nir", "red"),
            stretch=_BYTE,
            orders=(("swir", "nir", "red"),),
            description="8-bit composite of short-wave infrared, near infrared and red (OMBRIA)",
        ),
        Sensor(
            name="sentinel-1",
            modality="sar",
            bands=("VV", "VH"),
            roles={"vv": "VV", "vh": "VH"},
            display=("vv", "vh", MEAN),
            stretch=((-25.0, 0.0), (-32.0, -5.0), (0.0, 1.0)),
            orders=(("VV", "VH"),),
            fill=0,
            tell_tale="VV|VH",
            description="Sentinel-1 backscatter in decibels",
        ),
        Sensor(
            name="sentinel-1-linear",
            modality="sar",
            bands=("VV", "VH"),
            roles={"vv": "VV", "vh": "VH"},
            display=("vv", "vh", MEAN),
            stretch=((-25.0, 0.0), (-32.0, -5.0), (0.0, 1.0)),
            orders=(("VV", "VH"),),
            fill=0,
            power=True,
            description="Sentinel-1 backscatter as linear power, turned into decibels when read",
        ),
        Sensor(
            name="sar-8bit",
            modality="sar",
            bands=("backscatter",),
            display=("backscatter", "backscatter", "backscatter"),
            stretch=_BYTE,
            orders=(("backscatter",),),
            description="one band of backscatter stretched to 0-255",
        ),
    )
}
"""Every sensor by its name."""

"""Every kind of image that the program understands: its bands, what their numbers mean, how they are shown.

A new sensor is one more entry in the list at the end of this file. `docs/sensors.md` explains the fields and holds the
same list as a table; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from terrascope.scene import Modality

MEAN = "mean"
"""Display entry that stands for the mean of the other display channels, after their stretch."""

Quantity = Literal["reflectance", "decibels", "power", "amplitude", "digital number"]
"""What stored numbers are once scaled. Power and amplitude become decibels when they are read."""

Stretch = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Band:
    """One band of a sensor.

    Attributes:
        name: as the sensor's operator calls it. role: what it sees (blue, green, red, nir, swir1, vv ...), or "".
        wavelength_nm: its centre; None where the entry stands for images of many instruments.
        resolution_m: size of the pixels it is delivered in; None as above.
    """

    name: str
    role: str = ""
    wavelength_nm: float | None = None
    resolution_m: float | None = None


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """One kind of image that the program understands.

    Attributes:
        name: what `--sensor` and `Observation.sensor` say.
        modality: `optical` or `sar`.
        spectrum: the sensor's bands; a raster may hold a part of them.
        quantity: what the stored numbers are, once scaled.
        scale, offset: that quantity = stored number * scale + offset.
        display: the bands or roles shown as red, green and blue; `MEAN` for the mean of the other two.
        stretch: per display channel the physical values shown as 0 and 1. They are fixed, never taken from the image,
            so that one brightness means one thing in every scene.
        orders: the orders in which stacks without band names come, told apart by their number of bands.
        fill: stored number that marks a pixel as unmeasured, with or without a nodata tag. A 0 does so only where every
            band holds it, because in a single band it may be a dark measurement.
        quality: quality layers that may lie beside the bands -> the number in them that says "not measured".
        tell_tale: regular expression; band names alone choose this sensor only if one of them contains it as a word.
        description: one line for lists of sensors.
    """

    name: str
    modality: Modality
    spectrum: tuple[Band, ...]
    quantity: Quantity
    scale: float = 1.0
    offset: float = 0.0
    display: tuple[str, str, str]
    stretch: tuple[Stretch, Stretch, Stretch]
    orders: tuple[tuple[str, ...], ...] = ()
    fill: float | None = None
    quality: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    tell_tale: str = ""
    description: str

    def __getstate__(self) -> dict[str, Any]:
        # A mapping that cannot be changed cannot be pickled either.
        return {**vars(self), "quality": dict(self.quality)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, quality=MappingProxyType(state["quality"]))

    @property
    def bands(self) -> tuple[str, ...]:
        """The names of the sensor's bands, in its order."""
        return tuple(band.name for band in self.spectrum)

    @property
    def roles(self) -> dict[str, str]:
        """Role -> name of the band that plays it."""
        return {band.role: band.name for band in self.spectrum if band.role}

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
        return self.stretch[0] == _BYTE[0]


_BYTE: tuple[Stretch, Stretch, Stretch] = ((0.0, 255.0), (0.0, 255.0), (0.0, 255.0))
_REFLECTANCE: tuple[Stretch, Stretch, Stretch] = ((0.0, 0.3), (0.0, 0.3), (0.0, 0.3))
_DECIBELS: tuple[Stretch, Stretch, Stretch] = ((-25.0, 0.0), (-32.0, -5.0), (0.0, 1.0))
_HALF_OF_11_BITS: tuple[Stretch, Stretch, Stretch] = ((0.0, 1023.0), (0.0, 1023.0), (0.0, 1023.0))
_TRUE_COLOR = ("red", "green", "blue")
_C_BAND_NM = 55_465_763.0

_Row = tuple[str, str] | tuple[str, str, float | None, float | None]


def _spectrum(*rows: _Row) -> tuple[Band, ...]:
    """Bands from rows of name, role, wavelength in nm, resolution in m."""
    wide = [(*row, None, None)[:4] for row in rows]
    return tuple(Band(name=name, role=role, wavelength_nm=nm, resolution_m=m) for name, role, nm, m in wide)


def _names(bands: tuple[Band, ...], without: str = "") -> tuple[str, ...]:
    return tuple(band.name for band in bands if band.name != without)


_MSI = _spectrum(
    ("B01", "coastal", 443, 60),
    ("B02", "blue", 490, 10),
    ("B03", "green", 560, 10),
    ("B04", "red", 665, 10),
    ("B05", "red edge 1", 705, 20),
    ("B06", "red edge 2", 740, 20),
    ("B07", "red edge 3", 783, 20),
    ("B08", "nir", 842, 10),
    ("B8A", "narrow nir", 865, 20),
    ("B09", "water vapour", 945, 60),
    ("B10", "cirrus", 1375, 60),
    ("B11", "swir1", 1610, 20),
    ("B12", "swir2", 2190, 20),
)
_MSI_30M = tuple(replace(band, resolution_m=30) for band in _MSI)
_HLS = _spectrum(
    ("B01", "coastal", 443, 30),
    ("B02", "blue", 490, 30),
    ("B03", "green", 560, 30),
    ("B04", "red", 665, 30),
    ("B8A", "nir", 865, 30),
    ("B11", "swir1", 1610, 30),
    ("B12", "swir2", 2190, 30),
)
_HLS_L30 = _spectrum(
    ("B01", "coastal", 443, 30),
    ("B02", "blue", 482, 30),
    ("B03", "green", 561, 30),
    ("B04", "red", 655, 30),
    ("B05", "nir", 865, 30),
    ("B06", "swir1", 1609, 30),
    ("B07", "swir2", 2201, 30),
    ("B09", "cirrus", 1373, 30),
)
_OLI = tuple(replace(band, name=f"SR_B{number}") for number, band in enumerate(_HLS_L30[:7], 1))
_TM = _spectrum(
    ("SR_B1", "blue", 485, 30),
    ("SR_B2", "green", 560, 30),
    ("SR_B3", "red", 660, 30),
    ("SR_B4", "nir", 835, 30),
    ("SR_B5", "swir1", 1650, 30),
    ("SR_B7", "swir2", 2220, 30),
)
_DOVE = _spectrum(("blue", "blue", 485, 3), ("green", "green", 545, 3), ("red", "red", 630, 3), ("nir", "nir", 820, 3))
_SUPERDOVE = _spectrum(
    ("coastal_blue", "coastal", 442, 3),
    ("blue", "blue", 490, 3),
    ("green_i", "green 1", 531, 3),
    ("green", "green", 565, 3),
    ("yellow", "yellow", 610, 3),
    ("red", "red", 665, 3),
    ("rededge", "red edge 1", 705, 3),
    ("nir", "nir", 865, 3),
)
_RGB = _spectrum(("red", "red"), ("green", "green"), ("blue", "blue"))
_RGB_NIR = (*_RGB, *_spectrum(("nir", "nir")))
_WORLDVIEW = _spectrum(
    ("coastal", "coastal", 427, None),
    ("blue", "blue", 478, None),
    ("green", "green", 546, None),
    ("yellow", "yellow", 608, None),
    ("red", "red", 659, None),
    ("rededge", "red edge 1", 724, None),
    ("nir", "nir", 833, None),
    ("nir2", "nir 2", 949, None),
)
_WORLDVIEW_ORDERS = (_names(_WORLDVIEW), ("blue", "green", "red", "nir"), ("red", "green", "blue"))
_SAR = _spectrum(("VV", "vv", _C_BAND_NM, 10), ("VH", "vh", _C_BAND_NM, 10))

_SENTINEL_2 = Sensor(
    name="sentinel-2",
    modality="optical",
    spectrum=_MSI,
    quantity="reflectance",
    scale=1e-4,
    display=_TRUE_COLOR,
    stretch=_REFLECTANCE,
    orders=(_names(_MSI, without="B10"), _names(_MSI)),
    fill=0,
    quality={"SCL": 0},
    tell_tale=r"B0\d|B8A|B12",
    description="Sentinel-2 L1C or L2A, reflectance x 10000 without offset",
)
_HLS_SENSOR = Sensor(
    name="hls",
    modality="optical",
    spectrum=_HLS,
    quantity="reflectance",
    scale=1e-4,
    display=_TRUE_COLOR,
    stretch=_REFLECTANCE,
    orders=(_names(_HLS), _names(_HLS[1:])),
    fill=-9999,
    quality={"Fmask": 255},
    tell_tale="Fmask",
    description="Harmonized Landsat Sentinel-2 under Sentinel-2 band names, reflectance x 10000",
)
_LANDSAT = Sensor(
    name="landsat",
    modality="optical",
    spectrum=_OLI,
    quantity="reflectance",
    scale=2.75e-5,
    offset=-0.2,
    display=_TRUE_COLOR,
    stretch=_REFLECTANCE,
    orders=(_names(_OLI),),
    fill=0,
    quality={"QA_PIXEL": 1},
    tell_tale=r"SR_B6|LC0[89]\w*",
    description="Landsat 8 and 9, Collection 2 Level 2 surface reflectance",
)
_PLANETSCOPE = Sensor(
    name="planetscope",
    modality="optical",
    spectrum=_DOVE,
    quantity="reflectance",
    scale=1e-4,
    display=_TRUE_COLOR,
    stretch=_REFLECTANCE,
    orders=(_names(_DOVE),),
    fill=0,
    description="PlanetScope surface reflectance x 10000, 4 bands",
)
_RGB_SENSOR = Sensor(
    name="rgb",
    modality="optical",
    spectrum=_RGB,
    quantity="digital number",
    display=_TRUE_COLOR,
    stretch=_BYTE,
    orders=(_names(_RGB),),
    tell_tale="red",
    description="8-bit red, green and blue picture",
)
_MAXAR = Sensor(
    name="maxar-11bit",
    modality="optical",
    spectrum=_WORLDVIEW,
    quantity="digital number",
    display=_TRUE_COLOR,
    stretch=_HALF_OF_11_BITS,
    orders=_WORLDVIEW_ORDERS,
    fill=0,
    description="Maxar digital numbers of 11 bits (0-2047), 3, 4 or 8 bands",
)
_SENTINEL_1 = Sensor(
    name="sentinel-1",
    modality="sar",
    spectrum=_SAR,
    quantity="decibels",
    display=("vv", "vh", MEAN),
    stretch=_DECIBELS,
    orders=(_names(_SAR),),
    fill=0,
    tell_tale="VV|VH",
    description="Sentinel-1 backscatter in decibels",
)

SENSORS: dict[str, Sensor] = {
    sensor.name: sensor
    for sensor in (
        _SENTINEL_2,
        replace(
            _SENTINEL_2,
            name="sentinel-2-offset",
            offset=-0.1,
            tell_tale="",
            description="Sentinel-2 as processed since baseline 04.00 (2022): reflectance x 10000 + 1000",
        ),
        replace(
            _SENTINEL_2,
            name="sentinel-2-reflectance",
            scale=1.0,
            fill=None,
            tell_tale="",
            description="Sentinel-2 as floating-point reflectance, 0-1",
        ),
        replace(
            _SENTINEL_2,
            name="sentinel-2-8bit",
            quantity="digital number",
            scale=1.0,
            stretch=_BYTE,
            fill=None,
            quality={},
            tell_tale="",
            description="Sentinel-2 bands stretched to 0-255 for display",
        ),
        _HLS_SENSOR,
        replace(
            _HLS_SENSOR,
            name="hls-s30",
            spectrum=_MSI_30M,
            orders=(_names(_MSI), _names(_MSI, without="B10"), *_HLS_SENSOR.orders),
            tell_tale="",
            description="HLS S30 (Sentinel-2 on Landsat's grid), reflectance x 10000",
        ),
        replace(
            _HLS_SENSOR,
            name="hls-l30",
            spectrum=_HLS_L30,
            orders=(_names(_HLS_L30), _names(_HLS_L30[:7]), _names(_HLS_L30[1:7])),
            tell_tale="",
            description="HLS L30 (Landsat 8 and 9): B05 is near infrared, reflectance x 10000",
        ),
        _LANDSAT,
        replace(
            _LANDSAT,
            name="landsat-tm",
            spectrum=_TM,
            orders=(_names(_TM),),
            tell_tale=r"LE07\w*|LT0[45]\w*",
            description="Landsat 4, 5 and 7, Collection 2 Level 2 surface reflectance",
        ),
        _PLANETSCOPE,
        replace(
            _PLANETSCOPE,
            name="planetscope-8band",
            spectrum=_SUPERDOVE,
            orders=(_names(_SUPERDOVE),),
            description="PlanetScope surface reflectance x 10000, 8 bands",
        ),
        _RGB_SENSOR,
        replace(
            _RGB_SENSOR,
            name="rgb-nir",
            spectrum=_RGB_NIR,
            orders=(_names(_RGB_NIR),),
            tell_tale="nir",
            description="8-bit red, green, blue and near infrared, as aerial photographs come",
        ),
        Sensor(
            name="false-color",
            modality="optical",
            spectrum=_spectrum(("swir", "swir1"), ("nir", "nir"), ("red", "red")),
            quantity="digital number",
            display=("swir", "nir", "red"),
            stretch=_BYTE,
            orders=(("swir", "nir", "red"),),
            description="8-bit composite of short-wave infrared, near infrared and red (OMBRIA)",
        ),
        _MAXAR,
        replace(
            _MAXAR,
            name="maxar-reflectance",
            quantity="reflectance",
            scale=1e-4,
            stretch=_REFLECTANCE,
            description="Maxar surface reflectance x 10000 (16 bits), 3, 4 or 8 bands",
        ),
        _SENTINEL_1,
        replace(
            _SENTINEL_1,
            name="sentinel-1-linear",
            quantity="power",
            tell_tale="",
            description="Sentinel-1 backscatter as linear power, turned into decibels when read",
        ),
        replace(
            _SENTINEL_1,
            name="sentinel-1-amplitude",
            quantity="amplitude",
            tell_tale="",
            description="Sentinel-1 backscatter as calibrated amplitude, turned into decibels when read",
        ),
        replace(
            _SENTINEL_1,
            name="sentinel-1-grd",
            quantity="amplitude",
            scale=1 / 600,
            tell_tale="",
            description="Sentinel-1 GRD, uncalibrated 16-bit amplitude: 600 is taken for a backscatter of 0 dB",
        ),
        Sensor(
            name="sar-8bit",
            modality="sar",
            spectrum=_spectrum(("backscatter", "")),
            quantity="digital number",
            display=("backscatter", "backscatter", "backscatter"),
            stretch=_BYTE,
            orders=(("backscatter",),),
            description="one band of backscatter stretched to 0-255",
        ),
    )
}
"""Every sensor by its name."""

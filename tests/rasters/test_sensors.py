"""What the numbers of a sensor mean, and the picture that is made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from terrascope.errors import SceneError
from terrascope.rasters.sensors import MEAN, SENSORS, Sensor, render, sensor_named, to_physical
from terrascope.scene import Modality, Observation


def observe(sensor: str, bands: dict[str, list[float]], valid: list[bool] | None = None) -> Observation:
    pixels = np.array([[row] for row in bands.values()], np.float32)
    modality: Modality = SENSORS[sensor].modality
    return Observation(
        pixels=pixels,
        bands=tuple(bands),
        modality=modality,
        sensor=sensor,
        valid=np.array([valid or [True] * pixels.shape[2]]),
    )


@pytest.mark.parametrize("sensor", SENSORS.values(), ids=SENSORS)
def test_every_entry_shows_bands_that_it_has(sensor) -> None:
    assert set(sensor.display_bands) <= set(sensor.bands)
    assert set(sensor.roles.values()) <= set(sensor.bands)
    assert all(set(order) <= set(sensor.bands) for order in sensor.orders)
    assert len({len(order) for order in sensor.orders}) == len(sensor.orders)
    assert all(low < high for low, high in sensor.stretch)
    assert len(set(sensor.bands)) == len(sensor.bands)
    assert len(sensor.roles) == sum(bool(band.role) for band in sensor.spectrum)


def test_sentinel_2_shows_red_green_blue_up_to_30_percent() -> None:
    bands = {"B02": [0.3, 0.0], "B03": [0.15, 0.6], "B04": [0.03, -0.1], "B08": [0.5, 0.5]}
    picture = render(observe("sentinel-2", bands))
    assert picture.dtype == np.float32
    np.testing.assert_allclose(picture[:, 0, 0], [0.1, 0.5, 1.0], rtol=1e-6)
    np.testing.assert_allclose(picture[:, 0, 1], [0.0, 1.0, 0.0], rtol=1e-6)


def test_sentinel_1_windows_are_fixed() -> None:
    picture = render(observe("sentinel-1", {"VV": [-12.5, 0.0, -30.0], "VH": [-18.5, -32.0, -5.0]}))
    np.testing.assert_allclose(picture[:, 0, 0], [0.5, 0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(picture[:, 0, 1], [1.0, 0.0, 0.5], rtol=1e-6)
    np.testing.assert_allclose(picture[:, 0, 2], [0.0, 1.0, 0.5], rtol=1e-6)


@pytest.mark.parametrize(("band", "value", "shown"), [("VV", -20.0, 0.2), ("VH", -5.0, 1.0)])
def test_one_polarisation_fills_all_channels(band: str, value: float, shown: float) -> None:
    picture = render(observe("sentinel-1", {band: [value]}))
    np.testing.assert_allclose(picture[:, 0, 0], [shown] * 3, rtol=1e-6)


def test_8_bit_pictures_are_divided_by_255() -> None:
    picture = render(observe("false-color", {"swir": [255], "nir": [51], "red": [0]}))
    np.testing.assert_allclose(picture[:, 0, 0], [1.0, 0.2, 0.0], rtol=1e-6)
    np.testing.assert_allclose(render(observe("sar-8bit", {"backscatter": [102]}))[:, 0, 0], [0.4] * 3, rtol=1e-6)


def test_invalid_pixels_are_black() -> None:
    picture = render(observe("sentinel-1", {"VV": [0.0, 0.0], "VH": [0.0, 0.0]}, valid=[True, False]))
    assert picture[:, 0, 0].tolist() == [1, 1, 1]
    assert picture[:, 0, 1].tolist() == [0, 0, 0]


def test_missing_display_band_is_named() -> None:
    with pytest.raises(SceneError, match="no band B04; it has B02, B03"):
        render(observe("sentinel-2", {"B02": [0.1], "B03": [0.1]}))


def test_unknown_sensor_lists_the_known() -> None:
    with pytest.raises(SceneError, match=r"unknown sensor 'kompsat': choose one of sentinel-2, .*sar-8bit"):
        sensor_named("kompsat")
    assert MEAN not in SENSORS["sentinel-1"].display_bands


@pytest.mark.parametrize(
    ("sensor", "stored", "expected"),
    [("sentinel-2", 3000, 0.3), ("sentinel-2-offset", 4000, 0.3), ("sentinel-2-reflectance", 0.3, 0.3),
     ("sentinel-2-8bit", 77, 77), ("hls", -100, -0.01), ("hls-l30", 3000, 0.3), ("landsat", 7272.7272, 0.0),
     ("landsat-tm", 43636.3636, 1.0), ("planetscope-8band", 3000, 0.3), ("maxar-11bit", 511, 511),
     ("maxar-reflectance", 3000, 0.3), ("sentinel-1", -12.5, -12.5), ("sentinel-1-linear", 0.01, -20),
     ("sentinel-1-amplitude", 0.01, -40), ("sentinel-1-grd", 60, -20), ("sar-8bit", 102, 102)],
)  # fmt: skip
def test_what_a_stored_number_means(sensor: str, stored: float, expected: float) -> None:
    physical, measured = to_physical(SENSORS[sensor], np.array([[stored]], np.float32))
    assert physical.dtype == np.float32 and physical.shape == (1, 1) and measured.all()
    np.testing.assert_allclose(physical, expected, rtol=1e-4, atol=1e-4)


def test_numbers_without_a_meaning_are_not_measured() -> None:
    numbers = np.array([np.nan, np.inf, -1, 0, 1e-3], np.float32)
    physical, measured = to_physical(SENSORS["sentinel-1-linear"], numbers)
    assert measured.tolist() == [False, False, False, False, True]
    np.testing.assert_allclose(physical, [0, 0, 0, 0, -30], atol=1e-4)
    _, measured = to_physical(SENSORS["hls"], np.array([-9999, 0, 5], np.int16))
    assert measured.tolist() == [False, True, True]
    _, measured = to_physical(SENSORS["sentinel-2"], np.array([0, 5], np.uint16))
    assert measured.all()


def test_scaling_of_the_file_goes_before_that_of_the_sensor() -> None:
    physical, _ = to_physical(SENSORS["sentinel-2"], np.array([50], np.int16), (0.002, 0.1))
    np.testing.assert_allclose(physical, [0.2], rtol=1e-6)
    decibels, _ = to_physical(SENSORS["sentinel-1-grd"], np.array([50], np.uint16), (1 / 500, 0.0))
    np.testing.assert_allclose(decibels, [-20], rtol=1e-5)


def test_the_model_sees_what_it_was_trained_on() -> None:
    """Scale, offset, bands and stretch of the sensors of its training data: to change one is to train it anew."""
    reflectance, byte = ((0.0, 0.3),) * 3, ((0.0, 255.0),) * 3
    trained = {
        "hls": (("B04", "B03", "B02"), reflectance, 1e-4, 0.0),
        "sentinel-2": (("B04", "B03", "B02"), reflectance, 1e-4, 0.0),
        "sentinel-1": (("VV", "VH"), ((-25.0, 0.0), (-32.0, -5.0), (0.0, 1.0)), 1.0, 0.0),
        "rgb": (("red", "green", "blue"), byte, 1.0, 0.0),
        "false-color": (("swir", "nir", "red"), byte, 1.0, 0.0),
        "sar-8bit": (("backscatter",), byte, 1.0, 0.0),
    }
    assert {
        name: (entry.display_bands, entry.stretch, entry.scale, entry.offset)
        for name, entry in SENSORS.items()
        if name in trained
    } == trained


def meaning_of(sensor: Sensor) -> list[str]:
    """A sensor as docs/sensors.md has it: what it is, its stacks without names, its numbers and its picture."""
    stretch = " / ".join(dict.fromkeys(f"{low:g} to {high:g}" for low, high in sensor.stretch))
    numbers = f"{sensor.quantity} = stored x {sensor.scale:.6g}"
    if sensor.offset:
        numbers += f" {'-' if sensor.offset < 0 else '+'} {abs(sensor.offset):g}"
    sizes = ", ".join(str(len(order)) for order in sensor.orders)
    return [f"`{sensor.name}`", sensor.description, sizes, numbers, f"{' / '.join(sensor.display)}: {stretch}"]


def wavelength(wavelength_nm: float) -> str:
    return f"{wavelength_nm:g} nm" if wavelength_nm < 1e6 else f"{wavelength_nm / 1e7:.2f} cm"


def spectra() -> list[list[str]]:
    """The bands of docs/sensors.md with role, wavelength and pixels, once for all sensors that share them."""
    names: dict[str, list[str]] = {}
    for sensor in SENSORS.values():
        bands = ", ".join(
            band.name
            + (f" {band.role}" if band.role not in ("", band.name.lower()) else "")
            + ("" if band.wavelength_nm is None else f" {wavelength(band.wavelength_nm)}")
            + ("" if band.resolution_m is None else f" {band.resolution_m:g} m")
            for band in sensor.spectrum
        )
        names.setdefault(bands, []).append(f"`{sensor.name}`")
    return [[", ".join(sensors), bands] for bands, sensors in names.items()]


@pytest.mark.parametrize(
    "rows", [[meaning_of(sensor) for sensor in SENSORS.values()], spectra()], ids=["meanings", "spectra"]
)
def test_the_tables_of_the_documents_are_the_registry(rows: list[list[str]]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "sensors.md").read_text(encoding="utf-8")
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    assert [[cell.strip() for cell in line] for line in lines if len(line) == len(rows[0])] == rows

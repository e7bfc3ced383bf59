"""What numbers say of a sensor where names are silent, and which numbers no sensor can have stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrascope.errors import SceneError
from terrascope.rasters.bands import Layer, Reading, name_bands
from terrascope.rasters.plausibility import check_decibels, check_numbers, settle_sensor
from terrascope.rasters.sensors import SENSORS, to_physical


def reading_of(labels: tuple[str, ...], modality, *, dtype: str = "float32", path: str = "a.tif") -> Reading:
    layers = [Layer(path=path, index=n, label=label, color="", dtype=dtype) for n, label in enumerate(labels, 1)]
    return name_bands(layers, sensor=None, modality=modality, source=path)


def settle(numbers, *, dtype: str = "float32", path: str = "a.tif", labels: tuple[str, ...] = ("VV",)) -> Reading:
    reading = reading_of(labels, "sar", dtype=dtype, path=path)
    return settle_sensor(reading, {name: np.asarray(numbers, np.float32) for name in reading.bands}, path)


def test_negative_backscatter_is_in_decibels() -> None:
    reading = settle([-21.0, -9.5, 0.0, 3.0])
    assert (reading.sensor.name, reading.undecided, reading.assumptions) == ("sentinel-1", (), ())
    assert reading.evidence[-1].startswith("sentinel-1: by its values (decibels: half of its values lie below -9.5")


def test_whole_numbers_are_uncalibrated_amplitude() -> None:
    reading = settle([0, 120, 300, 4000], dtype="uint16", path="x.tif")
    assert reading.sensor.name == "sentinel-1-grd"
    assert "half of them above 300" in reading.evidence[-1]
    assert reading.assumptions[0].startswith("The amplitudes are not calibrated")


@pytest.mark.parametrize(
    ("path", "label"),
    [("gamma0-rtc.tif", "VV"), ("a.tif", "Sigma0_VV"), ("iw-vv.rtc.tif", "VV"), ("sigma0_VV.tif", "VV")],
)
def test_linear_power_by_the_name_of_its_product(path: str, label: str) -> None:
    reading = settle([0.0, 0.02, 0.3], path=path, labels=(label,))
    assert reading.sensor.name == "sentinel-1-linear"
    assert reading.evidence[-1].startswith("sentinel-1-linear: by its values (linear power: '")
    # What the name promises gives way to what the values show.
    assert settle([-20.0, -9.0], path=path, labels=(label,)).sensor.name == "sentinel-1"


def test_positive_numbers_alone_decide_nothing() -> None:
    with pytest.raises(SceneError, match=r"a.tif: has no negative value.*-linear if it is power, sentinel-1-amplitude"):
        settle([0.02, 0.3, 1.5])
    with pytest.raises(SceneError, match="holds -1 but half of its values lie above 2, so they may be"):
        settle([-1.0, 2.0, 3.0])
    with pytest.raises(SceneError, match=r"8 bits is neither .* --sar-sensor sar-8bit"):
        settle([0, 200], dtype="uint8")


def test_nothing_is_settled_twice_or_without_numbers() -> None:
    reading = reading_of(("VV",), "sar")
    assert settle_sensor(reading, {"VV": np.zeros(9, np.float32)}, "a") is reading
    named = replace(reading, undecided=())
    assert settle_sensor(named, {"VV": np.array([5.0], np.float32)}, "a") is named


def test_numbers_below_1000_have_no_offset() -> None:
    reading = reading_of(("B02", "B03", "B04"), "optical", dtype="uint16")
    dark = {name: np.r_[np.zeros(50), np.linspace(300, 4000, 371)].astype(np.float32) for name in reading.bands}
    settled = settle_sensor(reading, dark, "a")
    assert (settled.sensor.name, settled.assumptions) == ("sentinel-2", ())
    # The zeros are fill: 1 % of the others lie below 300 + 1 % of 3700.
    assert settled.evidence[-1].startswith("sentinel-2: by its values (no offset: 1 % of B02 lie below 337,")
    bright = {name: numbers + 1000 * (numbers > 0) for name, numbers in dark.items()}
    open_still = settle_sensor(reading, bright, "a")
    assert open_still.sensor.name == "sentinel-2"
    assert open_still.assumptions[0].startswith("Its numbers begin at 1337 (B02), as those with the offset")


@given(st.lists(st.floats(-40, 15), min_size=1, max_size=50))
def test_power_and_amplitude_become_the_same_decibels(decibels: list[float]) -> None:
    expected = np.array(decibels, np.float32)
    power, amplitude = 10 ** (expected.astype(np.float64) / 10), 10 ** (expected.astype(np.float64) / 20)
    for sensor, numbers in (("sentinel-1-linear", power), ("sentinel-1-amplitude", amplitude)):
        physical, measured = to_physical(SENSORS[sensor], numbers)
        assert measured.all() and physical.dtype == np.float32
        np.testing.assert_allclose(physical, expected, atol=1e-4)


def check(sensor: str, numbers, dtype: str) -> None:
    layer = Layer(path="a.tif", index=1, label="", color="", dtype=dtype)
    entry = SENSORS[sensor]
    check_numbers(np.asarray(numbers, np.float32), layer, entry, "a.tif", scaling=(entry.scale, entry.offset))


@pytest.mark.parametrize(
    ("sensor", "numbers", "dtype", "said"),
    [("sentinel-1-linear", [-0.1, 1], "float32", "power is never negative"),
     ("sentinel-1-amplitude", [-0.1, 1], "float32", "amplitude is never negative"),
     ("maxar-11bit", [-5, 300], "int16", "numbers of 11 to 16 bits"),
     ("maxar-11bit", [0, 255], "uint8", "in 8 bits"),
     ("planetscope", [0, 65535000], "uint32", "a reflectance of 6553.5"),
     ("rgb-nir", [0, 300], "uint16", "8-bit numbers")],
)  # fmt: skip
def test_what_a_sensor_cannot_have_stored(sensor: str, numbers: list[float], dtype: str, said: str) -> None:
    with pytest.raises(SceneError, match=said):
        check(sensor, numbers, dtype)


@pytest.mark.parametrize(
    ("sensor", "numbers", "dtype"),
    [("maxar-11bit", [1, 2047], "uint16"), ("planetscope", [1, 12000], "uint16"), ("rgb-nir", [0, 255], "uint8"),
     ("landsat", [7273, 43636], "uint16"), ("sentinel-1-grd", [0, 65535], "uint16"), ("hls-l30", [-50, 9000], "int16")],
)  # fmt: skip
def test_what_it_can(sensor: str, numbers: list[float], dtype: str) -> None:
    check(sensor, numbers, dtype)
    check(sensor, [], dtype)


def test_decibels_that_are_none() -> None:
    check_decibels(np.array([[-12.0, -20.0]], np.float32), "a")
    with pytest.raises(SceneError, match="has no negative value"):
        check_decibels(np.array([[40.0, 60.0]], np.float32), "a")
    with pytest.raises(SceneError, match="half of its values lie below -1200, which are no decibels"):
        check_decibels(np.array([[-1200.0]], np.float32), "a")

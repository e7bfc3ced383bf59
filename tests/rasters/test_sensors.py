"""What the numbers of a sensor mean, and the picture that is made of them."""

from __future__ import annotations

import numpy as np
import pytest

from terrascope.errors import SceneError
from terrascope.rasters.sensors import MEAN, SENSORS, render, sensor_named
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

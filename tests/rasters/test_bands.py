"""Which layer is which band of which sensor: what names, colours and units decide, and what they leave open."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from terrascope.errors import SceneError
from terrascope.rasters.bands import Layer, name_bands, tell_modality
from terrascope.rasters.registry import SENSORS

S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")


def stack(
    labels: Sequence[str], *, dtype: str = "uint16", path: str = "a.tif", unit: str = "", color="undefined"
) -> list[Layer]:
    return [
        Layer(path=path, index=index, label=label, color=color, dtype=dtype, unit=unit)
        for index, label in enumerate(labels, 1)
    ]


def indices(bands: dict[str, Layer]) -> dict[str, int]:
    return {name: layer.index for name, layer in bands.items()}


def test_names_of_sentinel_2_say_so_but_not_whether_there_is_an_offset() -> None:
    reading = name_bands(stack(S2_BANDS), sensor=None, modality="optical", source="a.tif")
    assert reading.sensor.name == "sentinel-2"
    assert reading.evidence == (f"sentinel-2: by the names of its layers ({', '.join(S2_BANDS)})",)
    assert reading.undecided == ("sentinel-2", "sentinel-2-offset")
    assert reading.assumptions == (
        "Nothing says whether the numbers carry the offset of processing baseline 04.00; they are read without it "
        "(else give --sensor sentinel-2-offset).",
    )


def test_a_named_sensor_leaves_nothing_open() -> None:
    by_name = name_bands(stack(S2_BANDS), sensor="sentinel-2", modality="optical", source="a.tif")
    assert (by_name.undecided, by_name.assumptions) == ((), ())
    assert by_name.evidence == (f"bands: by the names of the layers ({', '.join(S2_BANDS)})",)
    by_order = name_bands(stack([""] * 12), sensor="sentinel-2-8bit", modality="optical", source="a.tif")
    assert by_order.evidence == (f"bands: by their order, as sentinel-2-8bit has them ({', '.join(S2_BANDS)})",)


def test_infrared_of_hls_l30_is_another_band_than_that_of_s30() -> None:
    names = ("B02", "B03", "B04", "B05", "B06", "B07", "Fmask")
    for quality in (names, names[:-1]):
        with pytest.raises(SceneError, match=r"B05 is infrared in HLS L30 but .*; give --sensor hls-l30"):
            name_bands(stack(quality), sensor=None, modality="optical", source="a.tif")
    l30 = name_bands(stack(names), sensor="hls-l30", modality="optical", source="a.tif")
    assert indices(l30.bands)[l30.sensor.band_of("nir")] == 4
    assert indices(l30.bands)[l30.sensor.band_of("swir2")] == 6
    assert indices(l30.quality) == {"Fmask": 7}
    s30_names = ("B02", "B03", "B04", "B05", "B8A", "B11", "B12", "Fmask")
    s30 = name_bands(stack(s30_names), sensor="hls-s30", modality="optical", source="a.tif")
    assert indices(s30.bands)[s30.sensor.band_of("narrow nir")] == 5
    assert indices(s30.bands)[s30.sensor.band_of("swir1")] == 6


@pytest.mark.parametrize(
    ("sensor", "count", "nir"),
    [("hls-l30", 6, 4), ("hls-l30", 7, 5), ("hls-l30", 8, 5), ("hls-s30", 6, 4), ("hls-s30", 13, 8),
     ("landsat", 7, 5), ("landsat-tm", 6, 4), ("planetscope", 4, 4), ("planetscope-8band", 8, 8), ("rgb-nir", 4, 4),
     ("maxar-11bit", 4, 4), ("maxar-reflectance", 8, 7)],
)  # fmt: skip
def test_place_of_infrared_in_a_stack_without_names(sensor: str, count: int, nir: int) -> None:
    reading = name_bands(stack([""] * count), sensor=sensor, modality="optical", source="a.tif")
    infrared = {"nir", "narrow nir"} & set(reading.sensor.roles)
    assert nir in {indices(reading.bands).get(reading.sensor.roles[role]) for role in infrared}


def test_planet_names_hold_one_another() -> None:
    names = ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir")
    reading = name_bands(stack(names), sensor="planetscope-8band", modality="optical", source="a.tif")
    assert indices(reading.bands) == {name: index for index, name in enumerate(names, 1)}
    four = name_bands(
        stack(("coastal blue", "green", "red", "nir", "blue")), sensor="planetscope", modality="optical", source="a"
    )
    assert indices(four.bands) == {"blue": 5, "green": 2, "red": 3, "nir": 4}


def test_8_bit_aerial_photograph_with_infrared() -> None:
    labels = ("red", "green", "blue", "nir")
    assert (
        name_bands(stack(labels, dtype="uint8"), sensor=None, modality="optical", source="a").sensor.name == "rgb-nir"
    )
    three = name_bands(stack(labels[:3], dtype="uint8"), sensor=None, modality="optical", source="a")
    assert three.sensor.name == "rgb"
    with pytest.raises(SceneError, match=r"several sensors have bands named blue, green, red, nir; give .*planetscope"):
        name_bands(stack(labels), sensor=None, modality="optical", source="a")


def test_landsat_generations_are_told_by_their_names() -> None:
    for satellite, sensor in (("LE07", "landsat-tm"), ("LT05", "landsat-tm"), ("LC09", "landsat")):
        labels = [f"{satellite}_L2SP_193027_19990704_20200908_02_T1_SR_B{band}" for band in (1, 2, 3, 4, 5, 7)]
        reading = name_bands(stack(labels), sensor=None, modality="optical", source="a")
        assert reading.sensor.name == sensor
        assert indices(reading.bands)[reading.sensor.band_of("red")] == (3 if sensor == "landsat-tm" else 4)


@pytest.mark.parametrize(
    ("path", "label", "unit", "sensor"),
    [("s1_VV_db.tif", "VV", "", "sentinel-1"), ("a.tif", "Sigma0_VV_dB", "", "sentinel-1"),
     ("a.tif", "VV", "dB", "sentinel-1"), ("a.tif", "VV linear", "", "sentinel-1-linear"),
     ("a.tif", "VV_amplitude", "", "sentinel-1-amplitude"),
     ("S1A_IW_20181102T155531_DVP_RTC30_G_gpuned_5685_VV.tif", "VV", "", "sentinel-1-linear"),
     ("S1A_IW_20181102T155531_DVP_RTC30_G_gauned_5685_VV.tif", "VV", "", "sentinel-1-amplitude"),
     ("S1A_IW_20181102T155531_DVP_RTC30_G_sdufed_5685_VV.tif", "VV", "", "sentinel-1")],
)  # fmt: skip
def test_names_and_units_of_backscatter(path: str, label: str, unit: str, sensor: str) -> None:
    reading = name_bands(stack([label], dtype="float32", path=path, unit=unit), sensor=None, modality="sar", source="a")
    assert (reading.sensor.name, reading.undecided) == (sensor, ())
    assert reading.evidence[-1].startswith(f"{sensor}: ")


@pytest.mark.parametrize("label", ["VV", "Sigma0_VV", "VV_power_db"])
def test_backscatter_without_a_unit_is_left_to_its_numbers(label: str) -> None:
    reading = name_bands(stack([label], dtype="float32"), sensor=None, modality="sar", source="a")
    assert reading.undecided == ("sentinel-1", "sentinel-1-linear", "sentinel-1-amplitude", "sentinel-1-grd")


def test_a_band_that_two_layers_claim() -> None:
    layers = stack(("B02", "B03", "B04", "B04"))
    with pytest.raises(SceneError, match=r"two layers are band B04 \(a.tif, a.tif\)"):
        name_bands(layers, sensor=None, modality="optical", source="a.tif")


def test_modality_by_names() -> None:
    assert tell_modality(stack(("VV", "VH"))) == "sar"
    assert tell_modality(stack(("B02", "B03", "B04"))) == "optical"
    assert tell_modality(stack(("VV", "B04"))) == "optical"
    assert tell_modality(stack(("", ""))) == "optical"


@pytest.mark.parametrize("sensor", [sensor for sensor in SENSORS.values() if sensor.orders], ids=lambda s: s.name)
def test_every_order_of_every_sensor_is_read(sensor) -> None:
    for order in sensor.orders:
        reading = name_bands(stack([""] * len(order)), sensor=sensor.name, modality=sensor.modality, source="a.tif")
        assert indices(reading.bands) == {band: index for index, band in enumerate(order, 1)}


@pytest.mark.parametrize(
    ("count", "dtype", "advice"),
    [(1, "uint8", r"--sar-sensor \(one of sar-8bit\)"), (2, "float64", r"--sar-sensor \(one of sentinel-1, "),
     (13, "int16", r"--sensor \(one of sentinel-2, "), (5, "uint16", "name them in the file$")],
)  # fmt: skip
def test_advice_names_the_sensors_that_fit(count: int, dtype: str, advice: str) -> None:
    with pytest.raises(SceneError, match=rf"nothing says what its bands \({count} x {dtype}\) show.*{advice}"):
        name_bands(stack([""] * count, dtype=dtype), sensor=None, modality="optical", source="a.tif")


@pytest.mark.parametrize(
    ("names", "modality", "sentence"),
    [
        (("VV", "VH"), "optical", "an optical image, but holds VV, VH of sentinel-1; give it as a SAR image"),
        (
            ("B04", "B03", "B02"),
            "sar",
            "a SAR image, but holds B04, B03, B02 of sentinel-2; give it as an optical image",
        ),
    ],
)
def test_bands_of_the_other_kind_of_image_are_told(names, modality, sentence) -> None:
    with pytest.raises(SceneError) as caught:
        name_bands(stack(names), sensor=None, modality=modality, source="a.tif")
    assert str(caught.value) == f"a.tif: was given as {sentence}"


def test_names_that_several_sensors_have_are_told() -> None:
    layers = stack(["B2", "B3", "B4"])
    with pytest.raises(
        SceneError, match=r"several sensors have bands named B02, B03, B04; give --sensor \(one of sentinel-2, "
    ):
        name_bands(layers, sensor=None, modality="optical", source="a.tif")


def picture(path: str, colors: Sequence[str] = ("red", "green", "blue")) -> list[Layer]:
    return [
        Layer(path=path, index=index, label="", color=color, dtype="uint8") for index, color in enumerate(colors, 1)
    ]


def test_several_pictures_are_not_one() -> None:
    said = (
        "^a.png and b.png both hold the red of a picture, so they are not one image; give each as an image of its own"
    )
    for layers in (picture("a.png") + picture("b.png"), picture("a.png") + picture("b.png") + picture("c.png")):
        with pytest.raises(SceneError, match=said):
            name_bands(layers, sensor=None, modality="optical", source="a.png and more")
    with pytest.raises(SceneError, match=r"^a.tif: bands 2 and 4 are both green; keep one of them$"):
        name_bands(picture("a.tif", ("red", "green", "blue", "green")), sensor=None, modality="optical", source="a.tif")


def test_a_picture_may_have_its_colours_in_three_files_and_others_beside_it() -> None:
    colors = {"r.png": "red", "g.png": "green", "b.png": "blue", "one.png": "gray", "other.png": "gray"}
    layers = [layer for path, color in colors.items() for layer in picture(path, (color,))]
    reading = name_bands(layers, sensor=None, modality="optical", source="r.png and 4 more")
    assert {band: layer.path for band, layer in reading.bands.items()} == {
        "red": "r.png", "green": "g.png", "blue": "b.png",
    }  # fmt: skip

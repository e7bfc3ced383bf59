"""Files of one band each are one image where their names say so."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from fastapi.testclient import TestClient

from oracle import draw_picture
from product_trees import write_image
from serve.told import StreamingOracle, fields
from terrascope.errors import QuestionError
from terrascope.scene import Scene
from terrascope.serve.band_files import split_band

Upload = tuple[str, tuple[str, bytes]]


@pytest.mark.parametrize(
    ("name", "image", "band"),
    [
        ("T32TQM_20240501T101559_B02_10m.jp2", "T32TQM_20240501T101559_*.jp2", "b02_10m"),
        ("T32TQM_20240501T101559_SCL_20m.jp2", "T32TQM_20240501T101559_*.jp2", "scl_20m"),
        ("HLS.S30.T32TQM.2024122T101559.v2.0.B8A.tif", "HLS.S30.T32TQM.2024122T101559.v2.0.*.tif", "b8a"),
        ("HLS.S30.T32TQM.2024122T101559.v2.0.Fmask.tif", "HLS.S30.T32TQM.2024122T101559.v2.0.*.tif", "fmask"),
        ("LC08_L2SP_193027_20240429_02_T1_SR_B2.TIF", "LC08_L2SP_193027_20240429_02_T1_*.TIF", "sr_b2"),
        ("LC08_L2SP_193027_20240429_02_T1_QA_PIXEL.TIF", "LC08_L2SP_193027_20240429_02_T1_*.TIF", "qa_pixel"),
        ("S1_20240501_VV.tif", "S1_20240501_*.tif", "vv"),
        ("b4.tif", "*.tif", "b4"),
        ("B1_site_B02.tif", "B1_site_*.tif", "b02"),
        ("lake_red.tif", "lake_*.tif", "red"),
        ("red_lake.tif", None, None),
        ("lake.tif", None, None),
        ("AB02.tif", None, None),
        ("B021.tif", None, None),
    ],
)
def test_the_band_of_a_name_is_its_last(name: str, image: str | None, band: str | None) -> None:
    assert split_band(name) == (None if image is None else (image, band))


@pytest.fixture
def seen(oracle: StreamingOracle) -> list[Scene]:
    """The scenes that were asked about; none of them is answered."""
    scenes: list[Scene] = []

    def stream(scene: Scene, question: str, *, options: Any = ()) -> Any:
        scenes.append(scene)
        raise QuestionError("seen")

    oracle.stream = stream  # type: ignore[method-assign]
    return scenes


@pytest.fixture
def band(tmp_path: Path) -> Callable[..., Upload]:
    """A file of one band, of one number throughout."""

    def write(name: str, value: int, field: str = "optical_bands", **how: Any) -> Upload:
        return field, (name, write_image(tmp_path / name, value=value, **how).read_bytes())

    return write


def ask(client: TestClient, images: Sequence[Upload], **form: Any) -> dict[str, Any]:
    return client.post("/v1/ask", files=[*fields(question="How much is water?", **form), *images]).json()["error"]


def test_bands_of_two_dates_are_two_images_in_whatever_order_they_come(
    client: TestClient, seen: list[Scene], band: Callable[..., Upload]
) -> None:
    days = {"20240602": 3000, "20240501": 1000}
    names = ("B04", "B02", "B03", "B08")
    images = [
        band(f"T32TQM_{day}T101559_{name}.tif", value + 100 * names.index(name))
        for name in names
        for day, value in days.items()
    ]
    told = ask(client, images, sensor="sentinel-2")
    assert told["message"] == "seen"
    (scene,) = seen
    assert scene.dates == (datetime.date(2024, 5, 1), datetime.date(2024, 6, 2))
    for pair, value in zip(scene.pairs, (1000, 3000), strict=True):
        assert pair.optical is not None and pair.optical.bands == ("B02", "B03", "B04", "B08")
        for number, name in enumerate(names):
            assert pair.optical.band(name) == pytest.approx((value + 100 * number) / 10000)
        assert pair.optical.source.endswith("_B04.tif and 3 more") and "/" not in pair.optical.source


def test_bands_of_other_resolutions_and_of_both_kinds_make_one_pair(
    client: TestClient, seen: list[Scene], band: Callable[..., Upload]
) -> None:
    ten = [band(f"x_{name}_10m.tif", 2000, size=4) for name in ("B02", "B03", "B04")]
    twenty = [band("x_B11_20m.tif", 2500, size=2, metres=20)]
    sar = [band(f"x_{name}.tif", 300, "sar_bands") for name in ("VH", "VV")]
    told = ask(client, [*ten, *sar, *twenty], sensor="sentinel-2", sar_sensor="sentinel-1-grd")
    assert told["message"] == "seen", told
    (pair,) = seen[0].pairs
    assert pair.optical is not None and pair.sar is not None
    assert pair.optical.bands == ("B02", "B03", "B04", "B11") and pair.sar.bands == ("VV", "VH")
    assert pair.optical.band("B11") == pytest.approx(0.25)


def test_a_band_that_an_image_has_begins_the_next_one(
    client: TestClient, seen: list[Scene], band: Callable[..., Upload]
) -> None:
    """Names without a day, as two folders of files hold them."""
    images = [band(f"{name}.tif", value) for value in (1000, 2000) for name in ("B02", "B03", "B04")]
    assert ask(client, images, sensor="sentinel-2", date=["2024-06-02", "2024-05-01"])["message"] == "seen"
    values = [float(pair.optical.band("B02").max()) for pair in seen[0].pairs if pair.optical is not None]
    assert values == pytest.approx([0.2, 0.1])
    assert seen[0].dates == (datetime.date(2024, 5, 1), datetime.date(2024, 6, 2))


def test_images_are_taken_in_the_order_of_the_form_however_they_are_given(
    start: Callable[..., TestClient], seen: list[Scene], band: Callable[..., Upload], tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    files = [band(f"m_{name}.tif", 2000) for name in ("B02", "B03", "B04")]
    client = start(root=tmp_path / "root")
    form = [
        ("question", (None, "How much is water?")), ("sensor", (None, "sentinel-2")), files[0],
        ("optical_path", (None, "m_B02.tif,m_B03.tif,m_B04.tif")), *files[1:],
    ]  # fmt: skip
    for name in ("B02", "B03", "B04"):
        write_image(tmp_path / "root" / f"m_{name}.tif", value=1000)
    assert client.post("/v1/ask", files=form).json()["error"]["message"] == "seen"
    values = [float(pair.optical.band("B02").max()) for pair in seen[-1].pairs if pair.optical is not None]
    assert values == pytest.approx([0.2, 0.1])
    form = [form[0], form[1], form[3], *files]
    assert client.post("/v1/ask", files=form).json()["error"]["message"] == "seen"
    values = [float(pair.optical.band("B02").max()) for pair in seen[-1].pairs if pair.optical is not None]
    assert values == pytest.approx([0.1, 0.2])


def picture_of(value: int) -> bytes:
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", width=50, height=40, count=3, dtype="uint8", photometric="RGB") as dataset:
            dataset.write(np.clip(draw_picture() + value, 0, 255).astype(np.uint8))
        return memory.read()


def test_pictures_under_the_names_of_bands_are_refused_and_none_is_lost(client: TestClient, seen: list[Scene]) -> None:
    told = ask(client, [("optical_bands", (f"lake_B{number}.tif", picture_of(number))) for number in (1, 2)])
    assert (told["code"], told["field"]) == ("scene", "optical_bands")
    assert told["message"] == "lake_B1.tif: holds 3 bands, not one; send it as an image of its own"
    assert seen == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["lake.tif"], "lake.tif: its name holds no band, as lake_B02.tif and lake_VV.tif do; send it as optical"),
        (["x_B02.tif", "x_B03.tif"], "holds B02, B03 of sentinel-2 but lacks B04"),
        (["x_B02_10m.tif", "x_B02_20m.tif", "x_B03.tif", "x_B04.tif"], "two layers are band B02"),
        (["x_B02.tif", "y_B03.tif", "y_B04.tif"], "lacks"),
    ],
)
def test_what_is_no_image_is_a_sentence(
    client: TestClient, seen: list[Scene], band: Callable[..., Upload], names: list[str], message: str
) -> None:
    told = ask(client, [band(name, 1000) for name in names])
    assert message in told["message"] and "/" not in told["message"]
    assert (told["code"], told["field"]) == ("scene", "optical_bands") and seen == []


def test_no_file_lies_beside_another(client: TestClient, oracle: StreamingOracle, band: Callable[..., Upload]) -> None:
    lying: list[list[str]] = []

    def stream(scene: Scene, question: str, *, options: Any = ()) -> Any:
        uploads: Path = client.app.state.service.uploads  # type: ignore[attr-defined]
        lying.extend(sorted(file.name for file in folder.iterdir()) for folder in uploads.glob("*/*"))
        raise QuestionError("seen")

    oracle.stream = stream  # type: ignore[method-assign]
    images = [band(f"x_{name}.tif", 1000) for name in ("B02", "B03", "B04")]
    assert ask(client, images, sensor="sentinel-2")["message"] == "seen"
    assert sorted(lying) == [["x_B02.tif"], ["x_B03.tif"], ["x_B04.tif"]]


def test_names_of_the_folders_of_many_files_are_not_told(client: TestClient, band: Callable[..., Upload]) -> None:
    images = [band(f"x{number}_B02.tif", 1000) for number in range(12)]
    told = ask(client, images)
    assert "/" not in told["message"] and "terrascope-serve" not in told["message"]

"""Scenes from a STAC API on loopback: what is found and loaded, and every way in which an archive fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pystac_client")
pytest.importorskip("odc.stac")

from terrascope.batch.archive import SEARCH, Search, find_items, plan_of
from terrascope.batch.asking import ask_scenes
from terrascope.batch.run import run
from terrascope.batch.stac_bands import find_bands, understand
from terrascope.batch.stac_images import StacImages
from terrascope.errors import ArchiveError, ManifestError, OutputError, SceneError, TerraScopeError
from tests.batch.stac_server import BOX, NORTH, SIDE, WEST, Archive, sentinel_2, served
from tests.oracle import Oracle

SHARE = "What percentage of the image is water?"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    folder = tmp_path / "served"
    folder.mkdir()
    with served(folder) as small:
        yield small


def search_of(archive: Archive, **changes: Any) -> Search:
    asked = {"collection": "sentinel-2-l2a", "bbox": ",".join(map(str, BOX)), "datetime": "2024-05-01/2024-05-31"}
    return Search.of(address=archive.address, **{**asked, **changes})


def opened(item: dict[str, Any], **how: Any) -> Any:
    return StacImages(items=(item,), **how).open()


def test_items_are_found_page_by_page_in_order_of_time_and_kept(archive: Archive, tmp_path: Path) -> None:
    for number in (3, 1, 2):
        archive.add(f"s{number}", sentinel_2(), day=f"2024-05-0{number}")
    archive.add("june", sentinel_2(), day="2024-06-02")
    archive.add("far", sentinel_2(), origin=(WEST + 50_000, NORTH))
    plan = plan_of(search_of(archive), [SHARE, "Is there water?"], tmp_path / "out", timeout_s=5)
    assert [scene.name for scene in plan.scenes] == ["s1", "s2", "s3"]
    assert [q.id for q in plan.scenes[0].questions] == ["s1-1", "s1-2"]
    assert archive.num_searches == 2
    archive.items.clear()
    again = plan_of(search_of(archive), [SHARE, "Is there water?"], tmp_path / "out", timeout_s=5)
    assert (again.digest, archive.num_searches) == (plan.digest, 2)
    kept = json.loads((tmp_path / "out" / SEARCH).read_text())
    assert [item["id"] for item in kept["items"]] == ["s1", "s2", "s3"]


def test_reflectance_is_that_of_the_numbers(archive: Archive) -> None:
    # What a product's name says of its numbers is not what the archive made of them.
    name = "S2B_MSIL2A_20240501T100559_N0510_R022_T33UXP_20240501T120000"
    item = archive.add(name, sentinel_2(), **{"s2:processing_baseline": "02.14"})
    scene = opened(item)
    (image,) = scene.observations
    assert (image.sensor, image.bands, image.shape) == ("sentinel-2", ("B02", "B03", "B04"), (SIDE, SIDE))
    assert image.band("B04")[0, [0, -1]] == pytest.approx([0.02, 0.2])
    assert image.band("B02")[0, -1] == pytest.approx(0.2002)
    assert str(image.date) == "2024-05-01"
    assert image.source == f"sentinel-2-l2a/{name}"
    assert tuple(scene.georeference.transform)[:6] == (10, 0, WEST, 0, -10, NORTH)
    assert any("by its item" in phrase for phrase in image.evidence)


@pytest.mark.parametrize(
    ("properties", "asset", "plus", "sensor"),
    [
        ({"s2:processing_baseline": "05.10"}, {}, 1000, "sentinel-2-offset"),
        ({}, {"raster:bands": [{"scale": 1e-4, "offset": -0.1}]}, 1000, "sentinel-2-offset"),
        ({}, {"bands": [{"raster:scale": 1e-4, "raster:offset": -0.1}]}, 1000, "sentinel-2-offset"),
        (
            {"earthsearch:boa_offset_applied": True},
            {"raster:bands": [{"scale": 1e-4, "offset": -0.1}]},
            0,
            "sentinel-2",
        ),
        ({}, {"raster:bands": [{"scale": 1e-4, "offset": 0}]}, 0, "sentinel-2"),
    ],
)
def test_the_offset_is_that_of_the_item(
    archive: Archive, properties: dict[str, Any], asset: dict[str, Any], plus: int, sensor: str
) -> None:
    item = archive.add("one", sentinel_2(plus=plus), asset=lambda _: asset, **properties)
    (image,) = opened(item).observations
    assert image.sensor == sensor
    assert image.band("B04")[0, [0, -1]] == pytest.approx([0.02, 0.2])


def test_an_offset_that_the_numbers_contradict_is_left_out_and_said(archive: Archive) -> None:
    item = archive.add("one", sentinel_2(), asset=lambda _: {"raster:bands": [{"scale": 1e-4, "offset": -0.1}]})
    scene = opened(item)
    assert scene.observations[0].band("B04")[0, [0, -1]] == pytest.approx([0.02, 0.2])
    assert any("states the offset of processing baseline 04.00, but 1 % of" in note for note in scene.notes)


def test_only_the_box_is_loaded(archive: Archive) -> None:
    from rasterio.warp import transform_bounds

    box = transform_bounds("EPSG:32633", "EPSG:4326", WEST + 100, NORTH - 300, WEST + 400, NORTH - 100)
    item = archive.add("one", sentinel_2())
    scene = opened(item, bbox=box)
    left, top = scene.georeference.transform.c, scene.georeference.transform.f
    height, width = scene.shape
    assert WEST + 80 <= left <= WEST + 100 and NORTH - 100 <= top <= NORTH - 80
    assert 20 <= height <= 23 and 30 <= width <= 33
    assert scene.observations[0].band("B04")[0, 0] == pytest.approx(0.02)


def test_images_of_a_day_lie_side_by_side(archive: Archive, tmp_path: Path) -> None:
    from rasterio.warp import transform_bounds

    archive.add("west", sentinel_2())
    archive.add("east", sentinel_2(land=3000), origin=(WEST + 600, NORTH))
    archive.add("later", sentinel_2(), day="2024-05-09")
    box = transform_bounds("EPSG:32633", "EPSG:4326", WEST + 10, NORTH - 590, WEST + 1190, NORTH - 10)
    search = search_of(archive, group="day", bbox=",".join(map(str, box)))
    plan = plan_of(search, [SHARE], tmp_path / "out", timeout_s=5)
    assert [scene.name for scene in plan.scenes] == ["sentinel-2-l2a-2024-05-01", "sentinel-2-l2a-2024-05-09"]
    both, later = (scene.images.open() for scene in plan.scenes)
    assert both.shape == later.shape
    row = both.observations[0].band("B04")[30]
    assert row[[40, 100]] == pytest.approx([0.3, 0.2]) or row[[40, 100]] == pytest.approx([0.2, 0.3])
    assert both.observations[0].valid[30].all()
    assert later.observations[0].valid[30].sum() == pytest.approx(SIDE, abs=2)


def test_landsat_and_radar_are_read_as_their_sensors(archive: Archive) -> None:
    numbers = np.full((SIDE, SIDE), 10_000, np.uint16)
    landsat = archive.add(
        "LC09",
        {"red": numbers, "green": numbers, "blue": numbers, "nir08": numbers},
        collection="landsat-c2-l2",
        platform="landsat-9",
        asset=lambda _: {"raster:bands": [{"scale": 2.75e-5, "offset": -0.2}]},
    )
    (image,) = opened(landsat).observations
    assert (image.sensor, image.bands) == ("landsat", ("SR_B2", "SR_B3", "SR_B4"))
    assert image.band("SR_B4")[0, 0] == pytest.approx(10_000 * 2.75e-5 - 0.2)
    power = np.full((SIDE, SIDE), 0.1, np.float32)
    radar = archive.add(
        "S1", {"vv": power, "vh": power / 10}, collection="sentinel-1-rtc", platform="SENTINEL-1A", nodata=-32768
    )
    (image,) = opened(radar).observations
    assert (image.sensor, image.modality) == ("sentinel-1-linear", "sar")
    assert image.band("VV")[0, 0] == pytest.approx(-10, abs=1e-4)
    assert image.band("VH")[0, 0] == pytest.approx(-20, abs=1e-4)


def test_numbers_without_a_nodata_tag_have_the_fill_of_their_sensor(archive: Archive) -> None:
    bands = sentinel_2()
    for numbers in bands.values():
        numbers[:10] = 0
    item = archive.add("one", bands, nodata=None)
    (image,) = opened(item).observations
    assert not image.valid[:10].any() and image.valid[10:].all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda item: item["assets"].pop("green"), "item one: has no asset of band B03 of sentinel-2"),
        (lambda item: item["assets"]["red"].update(href="s3://store/red.tif"), "its asset red lies at s3://store/red"),
        (lambda item: item["assets"]["red"].update(href="/etc/passwd"), "only addresses"),
        (
            lambda item: item.update(collection="unheard-of"),
            "nothing says which sensor .* give --sensor or --sar-sensor",
        ),
        (lambda item: item["assets"]["red"].update(href=item["assets"]["red"]["href"] + "x"), "cannot be fetched"),
    ],
)
def test_an_item_that_cannot_be_loaded_is_one_sentence(archive: Archive, change: Any, reason: str) -> None:
    item = archive.add("one", sentinel_2())
    change(item)
    with pytest.raises(SceneError, match=reason):
        opened(item)


PART = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(("red", "vv", "dB", "sentinel-2"))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(("name", "common_name", "scale", "offset", "nodata", "unit", "href")), inner),
    ),
    max_leaves=5,
)
ASSET = st.one_of(PART, st.dictionaries(st.sampled_from(("href", "type", "roles", "bands", "eo:bands", "scale")), PART))


@given(
    collection=st.sampled_from(("sentinel-2-l2a", "landsat-c2-l2", "sentinel-1-rtc", "sentinel-1", "HLSS30", 3, None)),
    properties=st.one_of(PART, st.dictionaries(st.sampled_from(("platform", "s2:processing_baseline")), PART)),
    assets=st.one_of(PART, st.dictionaries(st.sampled_from(("red", "B03", "blue", "vv", "x")), ASSET)),
)
@settings(max_examples=200, deadline=None)
def test_no_item_gives_a_traceback(collection: Any, properties: Any, assets: Any) -> None:
    item = {"id": "odd", "collection": collection, "properties": properties, "assets": assets}
    try:
        bands = find_bands(item, understand(item).sensor)
    except SceneError:
        return
    assert bands and all(band.href.startswith("http") for band in bands)


def test_a_box_beside_the_image_and_an_image_without_end(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    item = archive.add("one", sentinel_2())
    with pytest.raises(SceneError, match="item one: its image has no pixel in the bbox"):
        opened(item, bbox=(100, 10, 101, 11))
    monkeypatch.setattr("terrascope.batch.stac_images.IN_MEMORY_PIXELS", 100)
    with pytest.raises(SceneError, match=r"60 x 60 pixels are more than the 100 .* smaller --bbox"):
        opened(item)


def test_what_an_archive_answers_badly_is_one_sentence(archive: Archive) -> None:
    archive.add("one", sentinel_2())

    def refused(sentence: str, timeout_s: float = 5, **changes: Any) -> None:
        with pytest.raises(ArchiveError, match=sentence):
            find_items(search_of(archive, **changes), timeout_s=timeout_s)

    refused("has no collection 'sentinel-3'; it has sentinel-2-l2a", collection="sentinel-3")
    refused(r"finds no image of sentinel-2-l2a in bbox .* at 1999-01-01", datetime="1999-01-01")
    archive.wait_s = 2
    refused("does not answer within 0.2 s, 3 times tried; .* --timeout", timeout_s=0.2)
    archive.wait_s, archive.status = 0, 400
    refused("answers with error 400")
    archive.status, archive.items[0]["assets"] = 200, None
    refused("does not answer as a STAC API does")
    archive.address += "/collections"
    refused("does not answer as a STAC API does|answers with error")


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with served(tmp_path / "served") as archive:
        search = search_of(archive)
    with pytest.raises(ArchiveError, match="cannot be reached"):
        find_items(search, timeout_s=1)


def test_pages_without_end_are_left(archive: Archive) -> None:
    archive.add("one", sentinel_2())
    archive.is_endless = True
    assert [item["id"] for item in find_items(search_of(archive), timeout_s=5)] == ["one"]


def test_clouds_and_the_limit_leave_images_out(archive: Archive) -> None:
    for number, cloud in enumerate((80, 5, None, 10), 1):
        more = {} if cloud is None else {"eo:cloud_cover": cloud}
        archive.add(f"s{number}", sentinel_2(), day=f"2024-05-0{number}", **more)
    assert [i["id"] for i in find_items(search_of(archive, max_cloud=10.0), timeout_s=5)] == ["s2", "s3", "s4"]
    assert [i["id"] for i in find_items(search_of(archive, limit=1), timeout_s=5)] == ["s1"]
    assert [i["id"] for i in find_items(search_of(archive, max_cloud=10.0, limit=2), timeout_s=5)] == ["s2", "s3"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"address": "ftp://x"}, "is no address"),
        ({"collection": None}, "give the collection to search with --collection"),
        ({"bbox": "1,2,3"}, "is not a box"),
        ({"datetime": "May"}, "--datetime May: date 'May' is not a day"),
        ({"datetime": "2024-06-01/2024-05-01"}, "write a day, or the first and the last day"),
        ({"bbox": None, "group": "day"}, "say how far they shall reach with --bbox"),
        ({"sensor": "nikon"}, "unknown sensor 'nikon'"),
    ],
)
def test_a_search_that_cannot_be_made(changes: dict[str, Any], reason: str) -> None:
    asked: dict[str, Any] = {"address": "https://a.example", "collection": "c", "bbox": "1,2,3,4", "datetime": None}
    with pytest.raises(TerraScopeError, match=reason):
        Search.of(**{**asked, **changes})


def test_a_batch_from_an_archive(archive: Archive, tmp_path: Path) -> None:
    archive.add("good", sentinel_2())
    archive.add("bad", sentinel_2(), day="2024-05-02")["assets"].pop("red")
    out = tmp_path / "out"

    def report() -> Any:
        plan = plan_of(search_of(archive), [SHARE], out, timeout_s=5)
        return run(plan, lambda scenes: ask_scenes(Oracle(), scenes), out, model="oracle")

    done = report()
    assert (done.num_answered, dict(done.failed)) == (1, {"image cannot be read": 1})
    with pytest.raises(OutputError, match="holds a batch of another search"):
        plan_of(search_of(archive, datetime="2024-05-01"), [SHARE], out, timeout_s=5)
    with pytest.raises(ManifestError, match="give --question TEXT"):
        plan_of(search_of(archive), [], out, timeout_s=5)
    assert report().num_asked == 0

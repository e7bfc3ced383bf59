"""The parts of the page's script, each alone in a browser: events, masks, numbers, places, names, reasoning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import numpy as np
import pytest
from affine import Affine
from pycocotools import mask as coco
from pyproj import CRS, Geod, Transformer

from terrascope import trace
from terrascope.quantities import format_area, format_coverage, format_distance, format_objects
from terrascope.rasters.product_names import date_in
from terrascope.serve.band_files import BAND_NAME, split_band

pytest.importorskip("fastapi", reason="the server comes with the serve extra")
pytest.importorskip("playwright.sync_api", reason="a browser is driven by playwright, of the dev extra")

pytest_plugins = ("tests.serve.page_fixtures",)


@pytest.fixture(scope="module")
def modules(browser: Any) -> Iterator[Any]:
    """An empty page that can import the modules, without a server."""
    folder = resources.files("terrascope.serve") / "page"
    page = browser.new_page()

    def reply(route: Any) -> None:
        name = route.request.url.rpartition("/")[2]
        if name:
            route.fulfill(body=(folder / name).read_text(encoding="utf-8"), content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html>", content_type="text/html")

    page.route("**/*", reply)
    page.goto("http://localhost/")
    yield page
    page.close()


def call(modules: Any, module: str, body: str, given: Any = None) -> Any:
    """What a function body returns that has the module as `m` and a value as `given`."""
    return modules.evaluate(f"async (given) => {{ const m = await import('/{module}.js'); {body} }}", given)


# ---------------------------------------------------------------------------------------------------------------------
# Events.

STREAM = (
    '\ufeff: waiting\r\n\r\nevent: queued\r\ndata: {"position": 1}\r\n\r\n'
    "event: text\ndata: first\ndata:second\n\n"
    "data: no name\r\rid: 7\nretry: 5\nevent: empty\n\n"
    "event: text\nda: x\ndata:  für é 🛰\n\n"
    "event: cut\ndata: off"
)
EVENTS = [
    {"name": "queued", "data": '{"position": 1}'},
    {"name": "text", "data": "first\nsecond"},
    {"name": "message", "data": "no name"},
    {"name": "text", "data": " für é 🛰"},
]


def test_events_are_the_same_however_the_bytes_are_cut(modules: Any) -> None:
    body = """
      const bytes = new TextEncoder().encode(given);
      const results = new Set();
      const read = async (cuts) => {
        const chunks = cuts.map((from, at) => bytes.slice(from, cuts[at + 1] ?? bytes.length));
        const stream = new ReadableStream({ start(c) { chunks.forEach((x) => c.enqueue(x)); c.close(); } });
        const events = [];
        for await (const event of m.readEvents(stream)) events.push(event);
        results.add(JSON.stringify(events));
      };
      for (let cut = 1; cut < bytes.length; cut++) await read([0, cut]);
      for (const size of [1, 2, 3, 7]) {
        await read([...Array(Math.ceil(bytes.length / size)).keys()].map((i) => i * size));
      }
      return [...results];
    """
    results = call(modules, "sse", body, STREAM)
    assert len(results) == 1 and json.loads(results[0]) == EVENTS


def test_a_last_event_that_ends_with_a_bare_carriage_return_is_told(modules: Any) -> None:
    body = """
      const stream = new Response("data: last\\r\\r").body;
      const events = [];
      for await (const event of m.readEvents(stream)) events.push(event.data);
      return events;
    """
    assert call(modules, "sse", body) == ["last"]


def test_who_stops_reading_cancels_the_body(modules: Any) -> None:
    body = """
      let isCancelled = false;
      const text = new TextEncoder().encode("data: 1\\n\\ndata: 2\\n\\n");
      const stream = new ReadableStream({ start(c) { c.enqueue(text); }, cancel() { isCancelled = true; } });
      for await (const event of m.readEvents(stream)) break;
      return isCancelled;
    """
    assert call(modules, "sse", body) is True


# ---------------------------------------------------------------------------------------------------------------------
# Masks.


def some_masks() -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    shapes = [(1, 1), (1, 17), (23, 1), (40, 50), (131, 77)]
    masks = [rng.random(shape) < share for shape in shapes for share in (0.02, 0.5, 0.98)]
    blocks = np.kron(rng.random((9, 7)) < 0.5, np.ones((60, 70))).astype(bool)
    return [*masks, blocks, np.zeros((5, 8), bool), np.ones((700, 900), bool)]


def test_masks_are_decoded_as_pycocotools_does(modules: Any) -> None:
    for mask in some_masks():
        code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        rle = {"size": list(mask.shape), "counts": code["counts"].decode()}
        found = call(modules, "rle", "const d = m.decodeRle(given); return {...d, inside: Array.from(d.inside)};", rle)
        assert (found["height"], found["width"], found["block"]) == (*mask.shape, 1)
        assert (np.array(found["inside"]).reshape(mask.shape) == coco.decode(code)).all()


@pytest.mark.parametrize("max_side", [1, 13, 64])
def test_a_reduced_pixel_is_inside_if_any_below_it_is(modules: Any, max_side: int) -> None:
    for mask in some_masks():
        code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        rle = {"size": list(mask.shape), "counts": code["counts"].decode()}
        body = "const d = m.decodeRle(given[0], given[1]); return {...d, inside: Array.from(d.inside)};"
        found = call(modules, "rle", body, [rle, max_side])
        block = found["block"]
        height, width = (-(-side // block) for side in mask.shape)
        assert (found["height"], found["width"]) == (height, width) and max(height, width) <= max_side
        padded = np.zeros((height * block, width * block), bool)
        padded[: mask.shape[0], : mask.shape[1]] = mask
        expected = padded.reshape(height, block, width, block).any(axis=(1, 3))
        assert (np.array(found["inside"]).reshape(height, width) == expected).all()


@pytest.mark.parametrize("counts", ["", "5", "o", "\x00", "d0d0", "é", "!!"])
def test_a_damaged_mask_is_refused(modules: Any, counts: str) -> None:
    body = "try { m.decodeRle(given); return 'decoded'; } catch (error) { return error.message; }"
    assert "mask" in call(modules, "rle", body, {"size": [4, 5], "counts": counts})


# ---------------------------------------------------------------------------------------------------------------------
# Numbers and places.


def test_numbers_are_worded_as_everywhere_else(modules: Any) -> None:
    rng = np.random.default_rng(3)
    values = [*(10 ** rng.uniform(-3, 10, 400)).tolist(), *(float(n) * 100 for n in range(1, 400)), 0.0, 9_950.0, 9.5e6]
    ties = [12_500.0, 13_500.0, 125.0, 115.0, 1.25, 1.15, 0.125, 105_000.0]
    for name, wording in (("Area", format_area), ("Distance", format_distance)):
        found = call(modules, "numbers", f"return given.map(m.format{name});", values + ties)
        assert found == [wording(value) for value in values + ties]
    shares = [*rng.uniform(0, 100, 400).tolist(), 26.25, 26.35, 0.04, 0.05, 0.06, 0.0, 100.0, 0.25, 99.95]
    assert call(modules, "numbers", "return given.map(m.formatCoverage);", shares) == [
        format_coverage(share / 100) for share in shares
    ]
    assert call(modules, "numbers", "return [0, 1, 7].map(m.formatObjects);") == [format_objects(n) for n in (0, 1, 7)]


@pytest.mark.parametrize("code", [32601, 32633, 32660, 32701, 32756, 3857, 4326])
def test_longitudes_and_latitudes_are_those_of_proj(modules: Any, code: int) -> None:
    area = CRS.from_epsg(code).area_of_use
    assert area is not None
    to_map = Transformer.from_crs(4326, code, always_xy=True)
    rng = np.random.default_rng(code)
    for _ in range(4):
        lon = rng.uniform(area.west + 0.3, area.east - 0.3)
        lat = rng.uniform(max(area.south, -80) + 0.5, min(area.north, 80) - 0.5)
        x, y = to_map.transform(lon, lat)
        size = 1e-4 if code == 4326 else 10.0
        transform = Affine(size, 0, x, 0, -size, y)
        back = Transformer.from_crs(code, 4326, always_xy=True)
        width, height = 300, 200
        corners = [back.transform(*(transform @ at)) for at in ((0, 0), (width, 0), (width, height), (0, height))]
        scene = {"width_px": width, "height_px": height, "crs": f"EPSG:{code}", "transform": list(transform)[:6]}
        body = """
          const place = new m.Place(given[0], given[1]);
          return [place.lonLat(20, 30), place.map(20, 30), place.metresPerPixel(), place.northTurn()];
        """
        found, on_map, metres, turn = call(modules, "place", body, [scene, corners])
        expected = back.transform(*(transform @ (20, 30)))
        assert on_map == pytest.approx(list(transform @ (20, 30)), rel=1e-12)
        assert [found["lon"], found["lat"]] == pytest.approx(expected, abs=1e-8) and found["isExact"]
        middle = [back.transform(*(transform @ (width / 2 + dx, height / 2))) for dx in (-0.5, 0.5)]
        _, _, distance = Geod(ellps="WGS84").inv(*middle[0], *middle[1])
        assert metres == pytest.approx(distance, rel=1e-4)
        assert abs(turn) < 3.5


def test_a_crs_that_the_page_does_not_know_is_told_between_the_corners(modules: Any) -> None:
    back = Transformer.from_crs(3035, 4326, always_xy=True)
    transform = Affine(0, 10, 4_321_000, 10, 0, 3_210_000)  # rows run east, columns north
    corners = [back.transform(*(transform @ at)) for at in ((0, 0), (300, 0), (300, 200), (0, 200))]
    scene = {"width_px": 300, "height_px": 200, "crs": "EPSG:3035", "transform": list(transform)[:6]}
    body = "const p = new m.Place(given[0], given[1]); return [p.lonLat(150, 60), p.northTurn()];"
    found, turn = call(modules, "place", body, [scene, corners])
    expected = back.transform(*(transform @ (150, 60)))
    assert [found["lon"], found["lat"]] == pytest.approx(expected, abs=1e-5) and not found["isExact"]
    assert turn == pytest.approx(90, abs=0.1), "north is on the right"


@pytest.mark.parametrize("angle", [0, 30, -75, 170])
def test_north_is_told_where_the_grid_is_turned(modules: Any, angle: float) -> None:
    transform = Affine.translation(500_000, 5_000_000) @ Affine.rotation(angle) @ Affine.scale(10, -10)
    back = Transformer.from_crs(32633, 4326, always_xy=True)
    corners = [back.transform(*(transform @ at)) for at in ((0, 0), (40, 0), (40, 40), (0, 40))]
    scene = {"width_px": 40, "height_px": 40, "crs": "EPSG:32633", "transform": list(transform)[:6]}
    turn = call(modules, "place", "return new m.Place(given[0], given[1]).northTurn();", [scene, corners])
    # A grid turned to the left has its north to the right of up.
    assert turn == pytest.approx(angle, abs=0.1)


def test_a_scene_whose_rows_run_north_is_mirrored(modules: Any) -> None:
    corners = [[10.0, 47.0], [10.1, 47.0], [10.1, 47.1], [10.0, 47.1]]
    scene = {"width_px": 10, "height_px": 10, "crs": "EPSG:4326", "transform": [0.01, 0, 10, 0, 0.01, 47]}
    assert np.isnan(call(modules, "place", "return new m.Place(given[0], given[1]).northTurn();", [scene, corners]))


def test_a_scene_without_a_place_tells_none(modules: Any) -> None:
    scene = {"width_px": 40, "height_px": 40, "crs": None, "transform": None}
    body = (
        "const p = new m.Place(given, null); return [p.map(1, 1), p.lonLat(1, 1), p.metresPerPixel(), p.northTurn()];"
    )
    assert call(modules, "place", body, scene) == [None] * 4


def test_the_scale_bar_is_a_round_number_that_fits(modules: Any) -> None:
    metres = [0.03, 0.9, 1.0, 1.99, 2.0, 4.9, 5.1, 99, 999, 1000, 12_345, 5e6]
    found = call(modules, "place", "return given.map(m.scaleFor);", metres)
    assert [bar["text"] for bar in found] == [
        "0.02 m", "0.5 m", "1 m", "1 m", "2 m", "2 m", "5 m", "50 m", "500 m", "1 km", "10 km", "5000 km"
    ]  # fmt: skip
    assert all(bar["metres"] <= limit * 1.0001 for bar, limit in zip(found, metres, strict=True))


# ---------------------------------------------------------------------------------------------------------------------
# Names of files, and what is sent of them.


def test_days_in_names_are_those_that_the_reader_finds(modules: Any) -> None:
    names = [
        "S2A_MSIL2A_20240502T101031_N0510.tif", "flood_2024-06-12.tif", "202309_00.tif", "a_20240230.tif", "x.tif",
        "20240101_20240102.tif", "20240101_2024-01-01.tif", "1234567890.tif", "19590101.tif", "2100-12-31.tif",
        "2024:05:01.tif", "2024-0501.tif", "b20240501c.tif",
    ]  # fmt: skip
    found = call(modules, "images", "return given.map(m.guessDate);", names)
    assert found == [day.isoformat() if (day := date_in(name)) else "" for name in names]


def test_sar_is_told_by_the_words_of_a_name(modules: Any) -> None:
    sar = ["S1A_IW_GRDH_1SDV_20240503.tif", "scene_VV.tif", "vh.tif", "flood_sar.tif", "sentinel-1.tif", "x_S1Hand.tif"]
    optical = [
        "S2A_MSIL2A.tif",
        "sarajevo.tif",
        "sentinel-10.tif",
        "s10.tif",
        "LC08_L2SP.tif",
        "vvv.tif",
        "T32UPU_B02.jp2",
    ]
    assert call(modules, "images", "return given.map(m.guessKind);", sar + optical) == ["sar"] * 6 + ["optical"] * 7


def sent(modules: Any, images: list[dict[str, Any]]) -> list[list[str]]:
    body = "const form = new FormData(); m.appendImages(form, given); return [...form];"
    return call(modules, "images", body, images)


def image(name: str, kind: str = "optical", date: str = "", **more: Any) -> dict[str, Any]:
    return {"path": name, "kind": kind, "date": date, "isDated": False, **more}


def test_images_are_sent_in_the_order_of_their_days_with_one_day_per_date(modules: Any) -> None:
    both = [image("b", date="2024-06-01"), image("a", date="2024-05-01"), image("s", "sar", "2024-06-01")]
    assert sent(modules, [*both, image("r", "sar", "2024-05-01")]) == [
        ["optical_path", "a"], ["optical_path", "b"], ["sar_path", "r"], ["sar_path", "s"],
        ["date", "2024-05-01"], ["date", "2024-06-01"],
    ]  # fmt: skip
    assert sent(modules, [image("v", "sar", "2024-05-01")]) == [["sar_path", "v"], ["date", "2024-05-01"]]
    assert sent(modules, [image("b", date="2024-06-01"), image("a")]) == [["optical_path", "b"], ["optical_path", "a"]]
    assert sent(modules, [{"sample": True}]) == [["sample", "demo"]]


def test_a_sar_image_of_another_day_keeps_it_unless_somebody_said_otherwise(modules: Any) -> None:
    pair = [image("a", date="2024-05-01"), image("s", "sar", "2024-05-02")]
    assert ["date", "2024-05-01"] not in sent(modules, pair)
    pair[0]["isDated"] = True
    assert sent(modules, pair)[-1] == ["date", "2024-05-01"]


NAMES = [
    "T32TQM_20240501T101559_B02_10m.jp2", "HLS.S30.T32TQM.2024122T101559.v2.0.Fmask.tif", "b4.tif", "B1_site_B02.tif",
    "LC08_L2SP_193027_20240429_02_T1_SR_B2.TIF", "x_qa_pixel.tif", "S1_20240501_vv.tif", "lake_Red.tif", "red_lake.tif",
    "AB02.tif", "B021.tif", "größe_B8A.tif", "B02", "_VV_VH.tif",
]  # fmt: skip


def test_bands_in_names_are_those_that_the_server_finds(modules: Any) -> None:
    body = "return given.names.map((name) => m.splitBand(name, given.pattern));"
    found = call(modules, "images", body, {"names": NAMES, "pattern": BAND_NAME})
    expected = [split_band(name) for name in NAMES]
    assert [one and (one["image"], one["band"].lower()) for one in found] == expected
    assert expected.count(None) == 3


def grouped(modules: Any, names: list[str], pattern: str | None = BAND_NAME, **more: Any) -> list[list[str]]:
    images = [{"files": [{"name": name}], "name": name, "kind": "optical", **more} for name in names]
    body = """
      const images = m.groupBands(given.images, given.pattern);
      return images.map((image) => [image.name, ...image.files.map((file) => file.name)]);
    """
    return call(modules, "images", body, {"images": images, "pattern": pattern})


def test_files_whose_names_differ_in_the_band_are_one_image(modules: Any) -> None:
    names = ["a_B02.tif", "b_B02.tif", "lake.tif", "a_B03.tif", "b_B03.tif", "a_B04_20m.tif"]
    together = [
        ["a_*.tif", "a_B02.tif", "a_B03.tif", "a_B04_20m.tif"], ["b_*.tif", "b_B02.tif", "b_B03.tif"],
        ["lake.tif", "lake.tif"],
    ]  # fmt: skip
    assert grouped(modules, names) == together
    assert grouped(modules, ["a_B02.tif", "lake.tif"]) == [["a_B02.tif", "a_B02.tif"], ["lake.tif", "lake.tif"]]
    # The same band again is of the next image, as on the server.
    again = ["B02.tif", "B03.tif", "B02.tif", "B03.tif", "B04.tif"]
    assert [len(image) - 1 for image in grouped(modules, again)] == [2, 3]
    assert len(grouped(modules, names, pattern=None)) == len(grouped(modules, names, isApart=True)) == 6


def test_a_band_of_either_kind_goes_with_its_kind(modules: Any) -> None:
    body = """
      const image = (name) => ({ files: [new File([], name)], name, kind: m.guessKind(name), date: "" });
      const images = given.names.map(image);
      const form = new FormData();
      m.appendImages(form, m.groupBands(images, given.pattern));
      return [...form].map(([field, file]) => [field, file.name]);
    """
    names = ["B02.tif", "VV.tif", "B03.tif", "VH.tif", "more_B04.tif"]
    assert call(modules, "images", body, {"names": names, "pattern": BAND_NAME}) == [
        ["optical_bands", "B02.tif"], ["optical_bands", "B03.tif"], ["optical", "more_B04.tif"],
        ["sar_bands", "VV.tif"], ["sar_bands", "VH.tif"],
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# The reasoning while it is written.

REASONINGS = (
    "<think>The water: [SEG] It covers 26% of the image.</think><answer>27%</answer>",
    "<think>The water: Image: 1 [SEG] It covers 3%. The flood: Image: 2 [SEG] It covers 46% of the image. "
    "So the flood is larger.</think><answer>flood</answer>",
    "<think>First I look. The building: [SEG] There are 11 buildings. The destroyed building: [SEG] 1 are destroyed."
    "</think><answer>10%</answer>",
)


@pytest.mark.parametrize("reasoning", REASONINGS)
def test_a_reasoning_that_grows_never_shows_tags_and_ends_as_the_trace_has_it(modules: Any, reasoning: str) -> None:
    growing = [reasoning[:end] for end in range(len(reasoning) + 1)]
    found = call(modules, "reasoning", "return given.map(m.readReasoning);", growing)
    for read in found:
        shown = [read["draft"], read["answer"] or "", *(text for step in read["steps"] for text in step.values())]
        assert not any(mark in text for text in shown for mark in ("<", ">", "[", "Image:"))
    parsed = trace.parse(reasoning)
    last = found[-1]
    assert last["answer"] == parsed.answer
    assert [step["text"].split(". ")[-1] for step in last["steps"]] == [step.text for step in parsed.grounded_steps]
    assert [step["finding"] for step in last["steps"][:-1]] == [step.finding for step in parsed.grounded_steps[:-1]]

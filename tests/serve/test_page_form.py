"""The form of the page in a real browser: what is sent, what comes back, files and tokens."""

from __future__ import annotations

import datetime
import json
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from terrascope.quantities import format_area
from tests.oracle import HEIGHT, TREE, WATER, WIDTH, draw_picture, write_picture

pytest.importorskip("fastapi", reason="the server comes with the serve extra")
pytest.importorskip("playwright.sync_api", reason="a browser is driven by playwright, of the dev extra")
from tests.serve.visiting import Open, Teller, Visit, fetch, serving

pytest_plugins = ("tests.serve.page_fixtures",)


def test_uploads_go_by_kind_and_day(visit: Open, teller: Teller, place: Path, tmp_path: Path) -> None:
    sar = tmp_path / "S1A_20240502_vv.png"
    sar.write_bytes(write_picture(tmp_path / "any.png").read_bytes())
    one = visit()
    one.page.set_input_files("#files", [sar, place])
    assert one.page.locator("#images select").evaluate_all("(all) => all.map((e) => e.value)") == ["sar", "optical"]
    one.page.locator("#images select").first.select_option("optical")
    one.page.locator("#images .remove").first.click()
    assert one.texts("#images .name") == [place.name]
    one.ask("How much   of the image is water?")
    asked, question, options = teller.asked[-1]
    assert asked.observations[0].source.endswith(place.name)
    assert asked.dates == (datetime.date(2024, 5, 2),)
    assert (question, options) == ("How much of the image is water?", ())


def test_files_can_be_dropped_anywhere_and_no_key_throws_them_away(visit: Open) -> None:
    one = visit()
    one.page.evaluate(
        "() => { const dataTransfer = new DataTransfer();"
        " dataTransfer.items.add(new File(['x'.repeat(2048)], 'vv_20240501.tif'));"
        " const tell = (name) => !document.querySelector('footer').dispatchEvent("
        "   new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true }));"
        " tell('dragenter'); window.dropping = document.body.className;"
        " tell('dragover'); window.taken = tell('drop'); }"
    )
    assert one.page.evaluate("[dropping, taken, document.body.className]") == ["dropping", True, ""]
    assert one.texts("#images .name") == ["vv_20240501.tif"] and one.texts("#images .note") == ["2 kB"]
    assert one.page.locator("#images select").input_value() == "sar"
    assert one.page.locator("#images input").input_value() == "2024-05-01"
    one.page.evaluate("document.activeElement.blur()")
    one.page.keyboard.press("s")
    assert one.texts("#images .name") == ["vv_20240501.tif"]


@pytest.fixture
def bands(tmp_path: Path) -> list[Path]:
    """The picture as three files of a band each."""
    bands = {name: draw_picture()[number : number + 1] for number, name in enumerate(("red", "green", "blue"))}
    for name, pixels in bands.items():
        with rasterio.open(
            tmp_path / f"place_20240502_{name}.tif", "w", count=1, height=HEIGHT, width=WIDTH, dtype="uint8",
            driver="GTiff", crs="EPSG:32633", transform=from_origin(500_000, 5_000_000, 10, 10),
        ) as dataset:  # fmt: skip
            dataset.write(pixels)
    return sorted(tmp_path.iterdir())


def test_files_of_bands_are_brought_together_told_of_and_can_be_separated(
    visit: Open, teller: Teller, bands: list[Path]
) -> None:
    one = visit()
    one.page.locator("#model:not(:empty)").wait_for()
    one.page.set_input_files("#files", bands)
    assert one.texts("#images .name") == ["place_20240502_*.tif"]
    assert one.text("#images .bands").startswith("One image of 3 files: blue, green, red.")
    assert one.page.locator("#images input").input_value() == "2024-05-02"
    one.page.click("#part-details summary")
    one.page.fill("#sensor", "rgb")
    one.ask()
    (image,) = teller.asked[-1][0].observations
    assert image.bands == ("red", "green", "blue") and image.date == datetime.date(2024, 5, 2)
    assert image.source == "place_20240502_blue.tif and 2 more"
    np.testing.assert_array_equal(image.pixels, draw_picture())
    one.page.click("#images .bands button")
    assert one.texts("#images .name") == [file.name for file in bands]
    assert one.page.evaluate("document.activeElement.tagName") == "SELECT"
    one.page.set_input_files("#files", bands[0])
    assert len(one.texts("#images .name")) == 4


def test_files_of_bands_are_brought_together_once_the_token_is_known(browser: Any, bands: list[Path]) -> None:
    teller = Teller()
    with serving(teller, token="secret-of-the-test") as address:
        one = Visit(browser, address)
        one.page.locator("#token").wait_for()
        one.page.set_input_files("#files", bands)
        one.page.click("#part-details summary")
        one.page.fill("#sensor", "rgb")
        one.page.fill("#token", "secret-of-the-test")
        one.ask()
        assert one.texts("#images .name") == ["place_20240502_*.tif"]
        assert [image.bands for image in teller.asked[-1][0].observations] == [("red", "green", "blue")]
        one.close()


def test_files_of_the_server_are_named_where_it_reads_any(browser: Any, place: Path) -> None:
    teller = Teller()
    with serving(teller, root=place.parent) as address:
        one = Visit(browser, address)
        one.page.click("#part-details summary")
        one.page.fill("#path", place.name)
        one.page.press("#path", "Enter")
        assert one.texts("#images li .note") == ["on the server"]
        one.ask()
        assert teller.asked[0][0].observations[0].source == place.name
        one.close()


def test_what_users_and_models_write_is_shown_as_text(visit: Open, place: Path) -> None:
    one = visit()
    evil = '<img src=x onerror="document.title=1"><b>water</b>?'
    one.page.set_input_files("#files", place)
    one.ask(evil)
    assert one.text("#asked") == evil
    assert one.page.title() == f"{evil} – TerraScope"
    assert one.page.locator("article img, article h1 b").count() == 0


def test_options_are_sent_and_the_chosen_one_is_marked(visit: Open, teller: Teller) -> None:
    one = visit()
    one.page.click("#sample")
    one.page.click("#part-options summary")
    one.page.get_by_label("Option A").fill("5%")
    one.page.click("#ask")
    assert one.text("#error-option") == "Give two to five options, or none."
    one.page.get_by_label("Option B").fill("10%")
    assert not one.page.locator("#error-option").is_visible()
    one.ask()
    assert teller.asked[-1][2] == ("5%", "10%")
    assert one.text("#said") == "B. 10%"
    assert one.texts("#chosen .chosen") == ["B 10%"]


def test_the_example_questions_fill_the_field(visit: Open) -> None:
    one = visit()
    kinds = one.texts("#examples b")
    assert kinds == ["Coverage", "Area", "Distance", "Count", "Change", "Comparison"]
    one.page.click("#examples button:nth-child(3)")
    assert one.page.input_value("#question") == "How far apart are water and developed areas?"


def test_text_that_contradicts_its_mask_is_said_at_the_step_and_above(browser: Any, place: Path) -> None:
    with serving(Teller(stated_percent=34)) as address:
        one = Visit(browser, address)
        one.page.set_input_files("#files", place)
        one.ask()
        assert one.texts(".step .warning") == ["Text and mask disagree. The text says 34 %, but the mask shows 10 %."]
        assert one.page.locator(".step.disagrees").count() == 1
        assert one.text("#warnings p:first-child").startswith("1 stated number disagrees with the masks.")
        one.close()


def test_a_refused_file_is_named_beside_the_scene(visit: Open, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("no picture")
    one = visit()
    one.page.set_input_files("#files", notes)
    one.page.fill("#question", "How much of the image is water?")
    one.page.click("#ask")
    error = one.page.locator("#error-scene")
    error.wait_for()
    assert "notes.txt" in error.inner_text() and error.inner_text().endswith(".")
    assert one.page.evaluate("document.activeElement.id") == "files"
    assert one.page.locator("#files").get_attribute("aria-invalid") == "true"
    assert one.page.locator("#welcome").is_visible() and one.page.locator("#ask").is_enabled()
    one.page.click("#images .remove")
    assert not error.is_visible()


def test_what_is_missing_is_said_before_anything_is_sent(visit: Open, teller: Teller) -> None:
    one = visit()
    num_asked = len(teller.asked)
    one.page.click("#ask")
    assert one.text("#error-scene") == "Give a scene: drop an image, choose files, or use the sample."
    one.page.click("#sample")
    one.page.fill("#question", "")
    one.page.click("#ask")
    assert one.text("#error-question") == "Write a question, or choose one of the examples."
    assert one.page.evaluate("document.activeElement.id") == "question"
    assert len(teller.asked) == num_asked


def test_a_refusal_that_names_an_option_of_the_command_leads_to_its_field(visit: Open, tmp_path: Path) -> None:
    one = visit()
    one.page.set_input_files("#files", write_picture(tmp_path / "plain.png"))
    one.page.fill("#question", "What is the area of the water?")
    one.page.click("#ask")
    one.page.locator("#error-gsd").wait_for()
    assert "give the pixel size" in one.text("#error-gsd") and "--" not in one.text("#error-gsd")
    assert one.page.evaluate("document.activeElement.id") == "gsd"
    one.page.keyboard.type("10")
    one.page.click("#ask")
    one.page.locator("#state", has_text="Answered").wait_for()
    assert one.text(".step:first-child [data-fact=area] dd") == format_area(WATER.sum() * 100)
    assert one.page.locator("#scale").is_visible()


def test_stop_cancels_the_reasoning_on_the_server(browser: Any) -> None:
    teller = Teller()
    teller.may_go_on.clear()
    with serving(teller) as address:
        one = Visit(browser, address)
        one.page.click("#sample")
        one.page.press("#question", "Enter")
        one.page.locator(".step").wait_for()
        assert one.page.locator("#draft").is_visible() and one.page.locator("#answer[aria-busy=true]").count() == 1
        one.page.click("#stop")
        assert one.text("#state") == "Stopped."
        assert teller.was_closed.wait(10)
        assert one.page.locator(".step").count() == 1 and one.page.locator("#ask").is_enabled()
        assert one.page.evaluate("document.activeElement.id") == "ask"
        teller.may_go_on.set()
        one.ask()
        assert one.page.locator(".step").count() == 2
        assert one.errors == []
        one.close()


def test_the_place_in_the_line_is_told_and_a_full_line_says_when_to_come_again(browser: Any) -> None:
    teller = Teller()
    teller.may_go_on.clear()
    with serving(teller, max_running=1, max_queue=1) as address:
        first, second, third = (Visit(browser, address) for _ in range(3))
        for one in (first, second, third):
            one.page.click("#sample")
        first.page.press("#question", "Enter")
        first.page.locator(".step").wait_for()
        second.page.press("#question", "Enter")
        second.page.locator("#state", has_text="Waiting: you are next.").wait_for()
        third.page.press("#question", "Enter")
        third.page.locator("#error-all").wait_for()
        assert third.text("#error-all").endswith("Try again in 5 s.")
        teller.may_go_on.set()
        for one in (first, second):
            one.page.locator("#state", has_text="Answered").wait_for()
        for one in (first, second, third):
            one.close()


# ---------------------------------------------------------------------------------------------------------------------
# Files and tokens.


def test_files_are_those_of_the_answer_and_can_be_forgotten(visit: Open, place: Path, tmp_path: Path) -> None:
    one = visit()
    one.page.set_input_files("#files", place)
    one.ask()
    with one.page.expect_download() as coming:
        one.page.click("#taken a[download='masks.geojson']")
    features = json.loads(coming.value.path().read_text())["features"]
    assert [feature["properties"]["num_pixels"] for feature in features] == [WATER.sum(), TREE.sum()]
    with one.page.expect_download() as coming:
        one.page.click("#taken a[download='all.zip']")
    assert "masks.tif" in zipfile.ZipFile(coming.value.path()).namelist()
    with one.context.expect_page() as opened:
        one.page.click("#taken a >> nth=0")
    opened.value.locator("h1").wait_for()
    assert opened.value.locator("h1").inner_text() == "How much of the image is water?"
    href = one.page.locator("#taken a").first.get_attribute("href").rpartition("/")[0]
    one.page.click(".forget button")
    one.page.locator("#taken", has_text="forgotten").wait_for()
    with pytest.raises(urllib.request.HTTPError, match="404"):
        fetch(f"{one.address}/{href}")


def test_a_token_is_asked_for_kept_for_the_tab_and_borne_by_downloads(browser: Any, place: Path) -> None:
    with serving(Teller(), token="secret-of-the-test") as address:
        one = Visit(browser, address)
        one.page.locator("#token").wait_for()
        one.page.set_input_files("#files", place)
        one.page.fill("#token", "wrong")
        one.page.fill("#question", "How much of the image is water?")
        one.page.click("#ask")
        one.page.locator("#error-token").wait_for()
        assert one.page.evaluate("document.activeElement.id") == "token"
        one.page.fill("#token", "secret-of-the-test")
        one.ask()
        with one.page.expect_download() as coming:
            one.page.click("#taken a[download='answer.json']")
        assert json.loads(coming.value.path().read_text())["schema"] == "terrascope-answer/1"
        assert one.page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]
        one.page.reload()
        one.page.locator("#model:not(:empty)").wait_for()
        assert not one.page.locator("#part-token").is_visible()
        assert {error for error in one.errors if "401" not in error} == set()
        one.close()

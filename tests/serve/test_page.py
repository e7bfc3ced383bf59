"""The answer on the page in a real browser: what it says, and what its canvas shows, by mouse and by keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyproj import Transformer

from terrascope.quantities import format_area, format_coverage
from tests.oracle import HEIGHT, TREE, WATER, WIDTH

pytest.importorskip("fastapi", reason="the server comes with the serve extra")
pytest.importorskip("playwright.sync_api", reason="a browser is driven by playwright, of the dev extra")
from tests.serve.visiting import Open, Visit, fetch, serving

pytest_plugins = ("tests.serve.page_fixtures",)

SCENE_MASKS = {1: WATER, 2: TREE}


def where(mask: np.ndarray, shown: np.ndarray, margin: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the canvas well inside and well outside of a mask, when it shows all of the scene."""
    height, width = shown.shape[:2]
    zoom = min(width / WIDTH, height / HEIGHT)
    rows = ((np.arange(height) + 0.5 - height / 2) / zoom + HEIGHT / 2).astype(int)
    columns = ((np.arange(width) + 0.5 - width / 2) / zoom + WIDTH / 2).astype(int)
    kept = (rows >= 0)[:, None] & (rows < HEIGHT)[:, None] & (columns >= 0) & (columns < WIDTH)
    near = np.zeros_like(mask)
    for dy in range(-margin, margin + 1):
        for dx in range(-margin, margin + 1):
            shifted = np.roll(mask, (dy, dx), (0, 1))
            near |= shifted != mask
    at = np.ix_(rows.clip(0, HEIGHT - 1), columns.clip(0, WIDTH - 1))
    return (mask & ~near)[at] & kept, (~mask & ~near)[at] & kept


# ---------------------------------------------------------------------------------------------------------------------
# The real model.


@pytest.mark.weights
def test_the_sample_is_asked_by_keys_and_the_page_says_what_the_json_says(browser: Any) -> None:
    from terrascope.model import TerraScope

    with serving(TerraScope.from_pretrained("nano")) as address:
        one = Visit(browser, address)
        one.page.keyboard.press("s")
        assert one.page.evaluate("document.activeElement.id") == "question"
        with one.page.expect_response("**/v1/ask") as asked:
            one.ask("What percentage of the scene is covered by water?")
        assert asked.value.status == 200
        href = one.page.locator("#taken a").first.get_attribute("href")
        answer = fetch(f"{address}/v1/answers/{href.split('/')[2]}")
        assert one.text("#said") == answer["answer"] and answer["answer"].endswith("%")
        assert one.text("#measured") == answer["measured"]
        assert one.text("#asked") == answer["question"]
        steps = answer["steps"]
        assert len(steps) == one.page.locator(".step").count() == 1
        assert one.text(".step .words") == steps[0]["text"] and one.text(".step .finding") == steps[0]["finding"]
        assert one.text("[data-fact=coverage] dd") == format_coverage(steps[0]["coverage_percent"] / 100)
        assert one.text("[data-fact=area] dd") == format_area(steps[0]["area_m2"])
        optical, sar = steps[0]["num_optical_tokens"], steps[0]["num_sar_tokens"]
        assert one.text(".legend .sar") == f"SAR {round(100 * sar / (optical + sar))} %"
        assert answer["answer"] in one.text("#spoken")
        one.close()
        assert one.errors == [] and len(one.hosts) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Masks and pictures.


def test_a_step_that_is_pointed_at_fills_its_mask_and_nothing_else(visit: Open, place: Path) -> None:
    one = visit()
    one.page.set_input_files("#files", place)
    one.ask()
    assert one.page.locator(".step").count() == 2
    one.page.locator(".step .head").nth(1).click()  # it was chosen as the last one; now none is
    one.page.mouse.move(5, 5)
    one.page.evaluate("document.activeElement.blur()")
    before = one.canvas()
    for step, mask in SCENE_MASKS.items():
        one.page.hover(f".step[data-step='{step}']")
        shown = one.canvas()
        inside, outside = where(mask, shown)
        changed = (shown != before).any(axis=-1)
        assert inside.sum() > 5000 and changed[inside].all()
        assert not changed[outside].any()
    one.page.mouse.move(5, 5)
    assert (one.canvas() == before).all()


def test_the_mask_is_drawn_in_the_colour_of_its_step_and_as_opaque_as_wished(visit: Open, place: Path) -> None:
    one = visit()
    one.page.set_input_files("#files", place)
    one.ask()
    one.page.locator(".step .head").first.focus()
    one.page.keyboard.press("Enter")
    assert one.page.locator(".step .head").first.get_attribute("aria-pressed") == "true"
    color = one.page.locator(".step").first.evaluate("(e) => e.style.getPropertyValue('--color')")
    rgb = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)])
    for percent in (100, 50):
        one.page.locator("#opacity").fill(str(percent))
        shown = one.canvas()
        inside, _ = where(WATER, shown)
        expected = rgb * percent / 100 + np.array([10, 20, 200]) * (1 - percent / 100)
        assert np.abs(shown[inside] - expected).max() <= 2


def test_a_step_on_another_date_turns_to_its_picture(visit: Open, place: Path, later: Path) -> None:
    one = visit()
    one.page.set_input_files("#files", [later, place])
    assert one.page.locator("#images input").evaluate_all("(all) => all.map((e) => e.value)") == [
        "2024-06-11",
        "2024-05-02",
    ]
    one.ask()
    # The images were sent in the order of their days, and the steps lie on the second.
    labels = one.texts("#pictures label")
    assert labels == ["Image 1 · 2024-05-02 · optical", "Image 2 · 2024-06-11 · optical"]
    assert one.page.locator("#pictures input").nth(1).is_checked()
    assert one.text(".step:first-child [data-fact=image] dd") == "2 · 2024-06-11"
    one.page.locator("#pictures input").first.check()
    one.page.locator(".step .head").nth(1).click()
    one.page.mouse.move(5, 5)
    assert one.page.locator("#pictures input").nth(1).is_checked() is False, "the chosen step was let go"
    first = one.canvas()
    colors = {tuple(color) for color in np.unique(first.reshape(-1, 3), axis=0).tolist()}
    assert colors == {(120, 120, 120), (10, 20, 200), (10, 150, 20)}, "no mask on the first date, not even its outline"
    gray, _ = where(~(WATER | TREE), first)
    one.page.hover(".step[data-step='1']")
    assert (one.canvas()[gray] != 120).any()


def test_the_divider_compares_two_pictures_by_keys_and_by_mouse(visit: Open, place: Path, later: Path) -> None:
    one = visit()
    one.page.set_input_files("#files", [place, later])
    one.ask()
    one.page.locator("#all-masks").click()
    one.page.locator("#all-masks").click()
    one.page.check("#compare")
    divider = one.page.get_by_role("slider", name="Divider between Image 1")
    divider.focus()
    seen = []
    for key in ("PageDown", "ArrowLeft", "ArrowRight", "PageUp", "Home", "ArrowRight", "End"):
        one.page.keyboard.press(key)
        seen.append(int(divider.get_attribute("aria-valuenow") or -1))
    assert seen == [40, 38, 40, 50, 0, 2, 100]
    box = one.page.locator("#stage").bounding_box()
    one.page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 200)
    one.page.mouse.down()
    one.page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 200)
    one.page.mouse.up()
    assert divider.get_attribute("aria-valuenow") == "25"
    shown = one.canvas()
    gray, _ = where(~(WATER | TREE), shown)
    gray[:, : int(shown.shape[1] * 0.02)] = False
    left = gray & (np.arange(shown.shape[1]) < shown.shape[1] * 0.24)
    right = gray & (np.arange(shown.shape[1]) > shown.shape[1] * 0.26)
    assert left.sum() > 1000 and (shown[left] == 120).all()
    assert np.median(shown[right]) == 135
    assert one.texts(".side") == ["Image 1 · 2024-05-02 · optical", "Image 2 · 2024-06-11 · optical"]


# ---------------------------------------------------------------------------------------------------------------------
# Where things lie.


def test_the_pointer_is_told_in_degrees_map_coordinates_and_pixels(visit: Open, place: Path) -> None:
    one = visit()
    one.page.set_input_files("#files", place)
    one.ask()
    assert one.text("#readout").split("\n") == [f"{WIDTH} × {HEIGHT} pixels", "EPSG:32633", "north is up"]
    box = one.page.locator("#canvas").bounding_box()
    one.page.mouse.move(box["x"] + box["width"] * 0.31, box["y"] + box["height"] * 0.61)
    degrees, metres, pixel = one.text("#readout").split("\n")
    assert pixel == "column 15, row 24"
    x, y = (float(part[2:].replace(",", "")) for part in metres.split(", "))
    assert x == pytest.approx(500_155, abs=1) and y == pytest.approx(4_999_756, abs=1)
    lon, lat = Transformer.from_crs(32633, 4326, always_xy=True).transform(x, y)
    assert degrees == f"{lat:.5f}° N, {lon:.5f}° E"


def test_zoom_by_keys_wheel_and_buttons_keeps_scale_and_place(visit: Open, place: Path) -> None:
    one = visit()
    one.page.set_input_files("#files", place)
    one.ask()

    def metres_per_pixel() -> float:
        width = one.page.locator("#scale").evaluate("(e) => parseFloat(e.style.width)")
        return float(one.text("#scale").split()[0]) / float(width)

    whole = metres_per_pixel()
    box = one.page.locator("#canvas").bounding_box()
    assert whole == pytest.approx(10 * WIDTH / box["width"], rel=0.01)
    one.page.focus("#canvas")
    one.page.keyboard.press("+")
    assert metres_per_pixel() == pytest.approx(whole / 1.5, rel=0.01)
    assert one.text("#readout").endswith(f"column {WIDTH // 2}, row {HEIGHT // 2}")
    one.page.keyboard.press("ArrowRight")
    one.page.keyboard.press("ArrowDown")
    moved = 60 * metres_per_pixel() / 10
    assert one.text("#readout").endswith(f"column {int(WIDTH / 2 + moved)}, row {int(HEIGHT / 2 + moved)}")
    one.page.keyboard.press("0")
    assert metres_per_pixel() == pytest.approx(whole)
    # The point below the pointer stays below it.
    one.page.mouse.move(box["x"] + 40, box["y"] + 40)
    below = one.text("#readout").split("\n")
    one.page.mouse.wheel(0, -300)
    assert metres_per_pixel() < whole / 1.5
    one.page.mouse.move(box["x"] + 40, box["y"] + 41)
    one.page.mouse.move(box["x"] + 40, box["y"] + 40)
    now = one.text("#readout").split("\n")
    assert (now[0][:8], now[1][:9], now[2]) == (below[0][:8], below[1][:9], below[2])
    one.page.click("#zoom-fit")
    assert metres_per_pixel() == pytest.approx(whole)


def test_two_fingers_zoom_and_one_scrolls_the_page_until_then(visit: Open, place: Path) -> None:
    one = visit(viewport={"width": 400, "height": 800}, has_touch=True)
    one.page.set_input_files("#files", place)
    one.ask()
    touch_action = "(e) => getComputedStyle(e).touchAction"
    canvas = one.page.locator("#canvas")
    assert canvas.evaluate(touch_action) == "pan-x pan-y"
    width = float(one.page.locator("#scale").evaluate("(e) => parseFloat(e.style.width)"))
    bar = float(one.text("#scale").split()[0])
    canvas.evaluate(
        "(e) => { const box = e.getBoundingClientRect(); e.setPointerCapture = () => {};"
        " const tell = (name, pointerId, x) => e.dispatchEvent(new PointerEvent(name, { pointerId,"
        " pointerType: 'touch', clientX: box.left + x, clientY: box.top + 100, bubbles: true }));"
        " tell('pointerdown', 1, 100); tell('pointerdown', 2, 150); tell('pointermove', 2, 200);"
        " tell('pointerup', 1, 0); tell('pointerup', 2, 0); }"
    )
    now = float(one.page.locator("#scale").evaluate("(e) => parseFloat(e.style.width)"))
    assert (now / float(one.text("#scale").split()[0])) / (width / bar) == pytest.approx(2, rel=0.01)
    assert canvas.evaluate(touch_action) == "none"

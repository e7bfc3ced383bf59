"""What a notebook shows: read by an HTML parser, and by a browser where there is one."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from terrascope.answer import Answer, Grounding
from terrascope.georeference import Georeference
from terrascope.scene import Observation, Pair, Scene
from tests.oracle import HEIGHT, TREE, WATER, WIDTH, Oracle, ground, make_scene
from tests.test_report import EVIL, Page, pixels, two_dates

BYTES = 400_000


def shown(answer: Answer, folder: Path) -> Page:
    html = answer._repr_html_()
    assert len(html) < BYTES
    path = folder / "answer.html"
    path.write_text(html, encoding="utf-8")
    return Page(path)


def words(page: Page) -> str:
    return " ".join(page.text.split())


def answered(scene: Scene, reasoning: str, *masks: np.ndarray, **more: object) -> Answer:
    about = {"question": "Where?", "model": "test", **more}
    return Answer.from_reasoning(scene=scene, reasoning=reasoning, groundings=[ground(mask) for mask in masks], **about)  # type: ignore[arg-type]


def test_pictures_and_masks_are_those_of_the_answer(tmp_path: Path) -> None:
    page = shown(two_dates(), tmp_path)
    water, tree = (pixels(a["src"]) for a in page.all("img", "ts-layer"))
    np.testing.assert_array_equal(water[..., 3] == 255, WATER & (np.arange(WIDTH) < WIDTH - 5))
    np.testing.assert_array_equal(tree[..., 3] == 255, TREE)
    assert {tuple(c) for c in water[WATER][:, :3].tolist()} == {(0, 100, 200)}
    first, second = (pixels(a["src"]) for a in page.all("img", "ts-picture"))
    assert first[0, 0].tolist() == [10, 20, 200, 255]
    assert (second[:, -5:] == [110, 110, 110, 255]).all()
    radios = [a for a in page.all("input") if a.get("type") == "radio"]
    assert ["checked" in a for a in radios] == [False, True], "the first step looks at the second image"


def test_texts_numbers_and_warnings_are_told(tmp_path: Path) -> None:
    text = words(shown(two_dates(), tmp_path))
    for told in (
        "Where is it?",
        "Answer there",
        "1 stated number disagrees with the masks.",
        "The grids differ.",
        "1. The water: image 2, 2024-05-02 · 11.1 % · 2 ha · 1 object · northwestern part confidence 0.75 · 9 tokens",
        "It covers 50% of the image. The text says 50 %, but the mask shows 11.1 %.",
        "2. The trees: image 1, 2024-05-01 · 12.5 % · 2.5 ha · 1 object · southeastern part",
        "190 m from the step before",
        "Image 2 · 2024-05-02 · optical",
    ):
        assert told in text


def test_the_share_of_optical_and_sar_is_told_where_both_are_there(tmp_path: Path) -> None:
    optical = make_scene(gsd_m=10).observations[0]
    sar = Observation(
        pixels=np.full((1, HEIGHT, WIDTH), -12, np.float32),
        bands=("VV",),
        modality="sar",
        sensor="sentinel-1",
        valid=np.ones((HEIGHT, WIDTH), bool),
        georeference=optical.georeference,
    )
    reasoning = "<think>The water: [SEG]</think><answer>here</answer>"
    both = shown(answered(Scene.of(optical=[optical], sar=[sar]), reasoning, WATER), tmp_path)
    assert "9 tokens: 78% optical, 22% SAR" in words(both)
    assert "width: 77.8%" in [a.get("style") for a in both.all("span")]
    assert len(both.all("img", "ts-picture")) == 2
    alone = shown(answered(Scene.of(sar=[sar]), reasoning, WATER), tmp_path)
    assert "9 tokens" in words(alone) and "9 tokens:" not in words(alone)
    assert len(alone.all("img", "ts-picture")) == 1


def test_the_chosen_option_is_marked(tmp_path: Path) -> None:
    page = shown(Oracle().ask(make_scene(), "How much water?", options=["5%", "10%"]), tmp_path)
    assert [len(page.all("div", cls)) for cls in ("ts-option", "ts-chosen")] == [2, 1]
    assert "Answer B. 10%" in words(page)


def test_whatever_is_filled_in_stays_text(tmp_path: Path) -> None:
    scene = replace(make_scene(), notes=(EVIL,))
    reasoning = f"<think>{EVIL} [SEG] {EVIL}</think><answer>{EVIL}</answer>"
    page = shown(answered(scene, reasoning, WATER, question=EVIL, options=(EVIL, "b"), model=EVIL), tmp_path)
    assert page.all("script") == [] and {a.get("src", "")[:11] for a in page.all("img")} == {"data:image/"}  # type: ignore[index]
    assert not [name for _, a in page.tags for name in a if name.startswith("on")]
    assert page.text.count(EVIL) >= 6 and "49" not in page.text


def test_styles_bear_on_their_own_output_only() -> None:
    scopes = []
    for html in (two_dates()._repr_html_(), two_dates()._repr_html_()):
        style = re.sub(r"\s+", " ", html.partition("<style>")[2].partition("</style>")[0])
        scope = re.search(r'<div class="(terrascope-[0-9a-f]{8})">', html)
        assert scope is not None
        selectors = [
            one for rule in re.findall(r"([^{}]+)\{[^{}]*\}", style) for one in re.split(r",(?![^()]*\))", rule)
        ]
        assert len(selectors) > 20
        assert [one for one in selectors if not re.match(rf"\.{scope[1]}(?![\w-])", one.strip())] == []
        assert "url(" not in style and "@" not in style
        assert set(re.findall(r'name="([^"]*)"', html)) == {scope[1]}
        scopes.append(scope[1])
    assert scopes[0] != scopes[1], "the same answer may be shown twice in a notebook"


def test_without_styles_there_is_one_sheet_and_no_loose_controls(tmp_path: Path) -> None:
    """Viewers of notebooks that they do not trust drop styles and classes."""
    page = shown(two_dates(), tmp_path)
    assert page.all("img")[0]["class"] == "ts-sheet"
    sheet = pixels(page.all("img", "ts-sheet")[0]["src"])
    assert sheet.shape[1] == 900
    for cls in ("ts-stage", "ts-choices"):
        assert ["hidden" in a for a in page.all("div", cls)] == [True]
    assert all("hidden" in a for a in page.all("input", "ts-show"))


ODD = {
    "no step": answered(make_scene(), "<think>There is none.</think><answer>No</answer>"),
    "nothing at all": answered(make_scene(), ""),
    "an empty mask": answered(make_scene(), "<think>[SEG]</think><answer>x</answer>", np.zeros_like(WATER)),
    "a name that is no text": answered(make_scene(), "<think>a\udc80: [SEG]\x00</think><answer>x</answer>", WATER),
    "many dates": answered(make_scene(num_dates=20), "<think>Image: 20 [SEG]</think><answer>x</answer>", WATER),
    "a mask on the last of many dates": Answer.from_reasoning(
        scene=make_scene(num_dates=20),
        question="Where?",
        reasoning="<think>Image: 20 [SEG]</think><answer>x</answer>",
        groundings=[ground(WATER, image=20)],
        model="test",
    ),
    "many steps": answered(make_scene(gsd_m=10), "<think>" + "The water: [SEG] " * 60 + "</think>", *[WATER] * 60),
    "long texts": answered(
        make_scene(), f"<think>{'word ' * 99_999}[SEG]</think><answer>{'x' * 99_999}</answer>", WATER
    ),
    "no tokens": Answer.from_reasoning(
        scene=make_scene(),
        question="",
        reasoning="[SEG]",
        groundings=[Grounding(mask=WATER, image=1, confidence=0.0, num_optical_tokens=0, num_sar_tokens=0)],
        model="",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_answers_are_shown(tmp_path: Path, name: str) -> None:
    page = shown(ODD[name], tmp_path)
    assert "Answer" in page.text
    pictures = page.all("img", "ts-picture")
    assert 1 <= len(pictures) <= 12 and all(pixels(a["src"]).shape == (HEIGHT, WIDTH, 4) for a in pictures)
    assert len(page.all("img", "ts-layer")) == len(page.all("div", "ts-step")) == min(len(ODD[name].steps), 24)
    if name == "many steps":
        assert "36 more steps are not shown here." in page.text


def test_one_pixel_is_a_scene(tmp_path: Path) -> None:
    image = replace(make_scene().observations[0].window(slice(0, 1), slice(0, 1)), georeference=Georeference(gsd_m=10))
    page = shown(answered(Scene.of(optical=[image]), "The water: [SEG]", np.ones((1, 1), bool)), tmp_path)
    assert "100.0 % · 100 m2 · 1 object" in page.text


def test_a_scene_whose_files_are_gone_is_shown_in_words(tmp_path: Path) -> None:
    scene = make_scene()
    unknown = replace(scene.observations[0], sensor="none")
    page = shown(replace(two_dates(), scene=Scene((Pair(optical=unknown),) * 2)), tmp_path)
    assert page.all("img") == [] and "No pictures: unknown sensor 'none'" in page.text
    assert "11.1 %" in page.text


@pytest.mark.parametrize("num_dates", [1, 6])
def test_large_scenes_make_no_large_output(tmp_path: Path, num_dates: int) -> None:
    rng = np.random.default_rng(0)

    def noise(blocks: np.ndarray) -> np.ndarray:
        return np.repeat(np.repeat(blocks, 3, axis=-2), 3, axis=-1)

    # Noise is what compresses worst; in blocks, so that the overview keeps it.
    image = replace(
        make_scene().observations[0],
        pixels=noise(rng.integers(0, 256, (3, 700, 600)).astype(np.float32)),
        valid=np.ones((2100, 1800), bool),
    )
    masks = [noise(rng.random((700, 600)) < 0.4) for _ in range(6)]
    reasoning = "<think>" + "Here: [SEG]" * 6 + "</think>"
    page = shown(answered(Scene.of(optical=[image] * num_dates), reasoning, *masks), tmp_path)
    pictures = [pixels(a["src"]) for a in page.all("img", "ts-picture")]
    layers = [pixels(a["src"]) for a in page.all("img", "ts-layer")]
    assert len(pictures) == num_dates and len(layers) == 6
    assert all(max(one.shape) <= 640 and min(one.shape[:2]) >= 80 for one in [*pictures, *layers])


def test_a_browser_shows_the_masks_that_are_ticked_on_their_own_picture(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here")
    path = tmp_path / "answer.html"
    # Another one in the same notebook does not follow.
    path.write_text(f"<!doctype html>{two_dates()._repr_html_()}{two_dates()._repr_html_()}", encoding="utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(path.as_uri())

        def visible(of: int) -> list[str]:
            images = page.locator(f"body > div:nth-of-type({of}) img")
            names = [one.get_attribute("class") or "" for one in images.all() if one.is_visible()]
            return [name.split()[1] if " " in name else name for name in names]

        assert visible(1) == visible(2) == ["ts-picture-1", "ts-layer-1"]
        page.locator(".ts-pick-0").first.check()
        assert visible(1) == ["ts-picture-0", "ts-layer-2"]
        page.locator(".ts-show-2").first.uncheck()
        assert visible(1) == ["ts-picture-0"]
        assert visible(2) == ["ts-picture-1", "ts-layer-1"]
        browser.close()

"""Samples drawn for people: the page read by an HTML parser, the picture by its pixels."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terrascope.errors import OutputError, SampleError
from terrascope.rasters.overlay import BLIND
from terrascope.sample import Sample
from terrascope.sources.chips import Chip, ChipError
from terrascope.terracot.show import choose_samples, show
from tests.terracot.made_samples import HEIGHT, SAMPLE, TREE, WATER, WIDTH, code, make_chip, of_dates, reader

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;{{ 7 * 7 }}'


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of the style."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._in_style = "", False
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_style |= tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._in_style &= tag != "style"

    def handle_data(self, data: str) -> None:
        self.text += "" if self._in_style else data

    def all(self, tag: str, cls: str = "") -> list[dict[str, str | None]]:
        return [a for name, a in self.tags if name == tag and cls in (a.get("class") or "").split() + [""]]


def pixels(uri: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2]))) as image:
        return np.asarray(image.convert("RGBA"))


def pictures_of(article: dict[str, str | None]) -> list[np.ndarray]:
    return [pixels(uri) for uri in re.findall(r"url\((data:[^)]*)\)", article["style"] or "")]


def test_a_page_shows_question_options_reasoning_and_every_mask_in_its_colour(tmp_path: Path) -> None:
    show([SAMPLE], tmp_path / "page.html", read=reader({"a": make_chip()}))
    page = Page(tmp_path / "page.html")
    assert "Which is larger, water or trees?" in page.text
    assert "A tree B water right" in page.text and [a.get("class") for a in page.all("li")] == [None, "chosen"]
    assert "The water: SEG 1 It covers 20% of the image. The tree: SEG 2 It covers" in page.text
    assert "So the answer is B." in page.text and "Answer B water" in page.text and "<think>" not in page.text
    assert "1. water · 20.0 % · 2400 m2" in page.text and "2. tree · 20.0 % · 2400 m2" in page.text
    assert "made / a · train · 10 × 12 pixels of 10 m · -7.250°, 12.500° · Austria · by templates" in page.text
    assert [mark["style"] for mark in page.all("mark")] == ["--color: #0064c8", "--color: #006400"]
    for layer, mask, color in zip(page.all("img", "layer"), (WATER, TREE), ((0, 100, 200), (0, 100, 0)), strict=True):
        drawn = pixels(layer["src"] or "")
        np.testing.assert_array_equal(drawn[..., 3] == 255, mask)
        assert {tuple(pixel) for pixel in drawn[mask][:, :3].tolist()} == {color}
    ((article,),) = [page.all("article")]
    (picture,) = pictures_of(article)
    np.testing.assert_array_equal(picture[3, 7], [10, 3, 7, 255])


def test_of_several_dates_a_mask_lies_on_its_own_picture(tmp_path: Path) -> None:
    kinds = ("optical", "sar")
    show([of_dates(2, kinds)], tmp_path / "page.html", read=reader({"a": make_chip(num_dates=2, kinds=kinds)}))
    page = Page(tmp_path / "page.html")
    labels = ("Image 1 · 2023-05-01 · optical", "Image 1 · 2023-05-01 · SAR", "Image 2 · 2023-05-02 · optical")
    assert all(label in page.text for label in labels)
    stages = [stage.get("style") for stage in page.all("div", "stage")]
    shown = [f"background-image: var(--picture-{number})" for number in (0, 1, 2, 3, 0, 2)]
    assert stages == shown
    assert "1. water · image 1 · 20.0 %" in page.text and "2. tree · image 2 · 20.0 %" in page.text
    assert len(pictures_of(page.all("article")[0])) == 4


def test_without_the_scene_the_masks_are_drawn_alone_and_the_page_says_why(tmp_path: Path) -> None:
    def broken(source: str, key: str) -> Chip:
        raise ChipError("a.tif: damaged", reason="unreadable image")

    def of_other_size(source: str, key: str) -> Chip:
        return make_chip()

    taller = replace(SAMPLE, height=HEIGHT * 2, masks=(), reasoning="<think></think><answer>B</answer>")
    for sample, read, note in (
        (SAMPLE, None, "The scene itself is not at hand: its masks are drawn alone."),
        (SAMPLE, broken, "The scene cannot be read: a.tif: damaged"),
        (taller, of_other_size, "The scene cannot be read: the scene is now (12, 10), its masks are (24, 10)"),
    ):
        show([sample], tmp_path / "page.html", read=read)
        page = Page(tmp_path / "page.html")
        assert note in page.text and pictures_of(page.all("article")[0]) == []
        assert len(page.all("img", "layer")) == len(sample.masks)
        assert not [stage for stage in page.all("div", "stage") if stage.get("style")]


def test_whatever_is_filled_in_stays_text_and_nothing_is_loaded(tmp_path: Path) -> None:
    evil_masks = tuple(replace(mask, class_name=EVIL) for mask in SAMPLE.masks)
    sample = replace(
        SAMPLE,
        **dict.fromkeys(("id", "task", "question", "country", "writer", "key"), EVIL),
        options=(EVIL, "b"),
        masks=evil_masks,
        reasoning=f"<think>{EVIL} [SEG] {EVIL} [SEG]</think><answer>A</answer>",
    )
    show([sample], tmp_path / "page.html", title=EVIL)
    page = Page(tmp_path / "page.html")
    assert page.all("script") == [] and "49" not in page.text
    assert page.text.count(" ".join(EVIL.split())) >= 10
    sources = [a[name] for _, a in page.tags for name in ("src", "href", "srcset", "action") if name in a]
    assert all((source or "").startswith("data:image/") for source in sources)
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "default-src 'none'" in policy and "script-src" not in policy


def test_pixels_that_were_not_measured_are_gray_and_in_no_mask(tmp_path: Path) -> None:
    chip = make_chip()
    image = chip.scene.observations[0]
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[:, :2] = False
    chip = replace(chip, scene=type(chip.scene).of(optical=[replace(image, valid=valid)]))
    show([SAMPLE], tmp_path / "page.html", read=reader({"a": chip}))
    page = Page(tmp_path / "page.html")
    (picture,) = pictures_of(page.all("article")[0])
    assert (picture[:, :2, :3] == BLIND).all() and not (picture[:, 2:, :3] == BLIND).all(-1).any()
    layer = pixels(page.all("img", "layer")[0]["src"] or "")
    np.testing.assert_array_equal(layer[..., 3] == 255, WATER & valid)


def test_large_scenes_are_reduced(tmp_path: Path) -> None:
    mask = np.zeros((3000, 1500), bool)
    mask[1400, 700] = True
    pointed = (replace(SAMPLE.masks[0], counts=code(mask)),)
    big = replace(SAMPLE, height=3000, width=1500, masks=pointed, reasoning="<think>[SEG]</think><answer>B</answer>")
    show([big], tmp_path / "page.html")
    (layer,) = Page(tmp_path / "page.html").all("img", "layer")
    drawn = pixels(layer["src"] or "")
    assert drawn.shape == (512, 256, 4) and (drawn[..., 3] == 255).sum() == 1


def test_a_picture_has_the_scene_a_panel_a_mask_and_the_words(tmp_path: Path) -> None:
    show([SAMPLE, SAMPLE], tmp_path / "a.png", read=reader({"a": make_chip()}))
    show([SAMPLE], tmp_path / "one.png")
    with Image.open(tmp_path / "a.png") as both, Image.open(tmp_path / "one.png") as one:
        assert both.width == one.width > 3 * 200
        assert both.height > 1.8 * one.height
        colors = Counter(map(tuple, np.asarray(one).reshape(-1, 3).tolist()))
    assert colors[(0, 100, 200)] > 1000, "without a scene, the first panel shows all masks in their colours"
    assert colors[(0, 100, 0)] > 1000


def test_samples_are_chosen_by_what_they_are() -> None:
    many = [replace(SAMPLE, id=str(n), level="L2" if n % 2 else "L1", task=f"t{n % 3}") for n in range(20)]
    assert [s.id for s in choose_samples(many, level="L2", task="t1", num=2)] == ["1", "7"]
    assert [s.id for s in choose_samples(many, sample_id="13")] == ["13"]
    assert len(choose_samples(many, source="made", num=100)) == 20
    with pytest.raises(SampleError, match="no sample with level L1, source nowhere"):
        choose_samples(many, level="L1", source="nowhere")
    with pytest.raises(SampleError, match="no sample; "):
        choose_samples([])


def test_drawn_at_random_each_is_as_likely_and_a_seed_draws_the_same() -> None:
    many = [replace(SAMPLE, id=str(n)) for n in range(10)]

    def drawn(seed: int) -> list[str]:
        return [sample.id for sample in choose_samples(iter(many), num=3, seed=seed)]

    assert drawn(5) == drawn(5) == sorted(drawn(5), key=int)
    counts = Counter(one for seed in range(400) for one in drawn(seed))
    assert all(80 < counts[sample.id] < 165 for sample in many), counts


@pytest.mark.parametrize("name", ["a.jpg", "a", "html"])
def test_other_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"samples are drawn as \.html or \.png"):
        show([SAMPLE], tmp_path / name)


def test_a_sample_whose_masks_do_not_fit_is_named(tmp_path: Path) -> None:
    broken: Sample = replace(SAMPLE, masks=SAMPLE.masks[:1])
    with pytest.raises(SampleError, match=r"sample made/a/L1/1: 2 \[SEG\]s but 1 masks"):
        show([broken], tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []

"""The page: what a browser would make of it, read by an HTML parser."""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terrascope.answer import Answer
from terrascope.scene import Pair, Scene
from tests.oracle import TREE, WATER, WIDTH, Oracle, ground, make_scene

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;{{ 7 * 7 }}'


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of style and script."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.script, self._inside = "", "", ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("style", "script") else self._inside

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside
        self.text += " " if tag in ("td", "th") else ""

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.text += data
        elif self._inside == "script":
            self.script += data

    def all(self, tag: str, cls: str = "") -> list[dict[str, str | None]]:
        return [a for name, a in self.tags if name == tag and cls in (a.get("class") or "").split() + [""]]


def pixels(source: str | None) -> np.ndarray:
    assert source is not None and source.startswith("data:image/")
    with Image.open(io.BytesIO(base64.b64decode(source.partition("base64,")[2]))) as image:
        return np.asarray(image.convert("RGBA"))


def two_dates() -> Answer:
    first, second = (
        replace(pair.observations[0], date=datetime.date(2024, 5, day))
        for day, pair in enumerate(make_scene(gsd_m=10, num_dates=2).pairs, 1)
    )
    second = replace(second, valid=second.valid & (np.arange(WIDTH) < WIDTH - 5))
    return Answer.from_reasoning(
        scene=Scene((Pair(optical=first), Pair(optical=second)), notes=("The grids differ.",)),
        question="Where is it?",
        reasoning="<think>The water: Image: 2 [SEG] It covers 50% of the image. The trees: Image: 1 [SEG]</think>"
        "<answer>there</answer>",
        groundings=[ground(WATER, image=2), ground(TREE, image=1)],
        model="test",
    )


def test_the_page_loads_nothing_and_runs_only_its_own_script(tmp_path: Path) -> None:
    page = Page(Oracle().ask(make_scene(), "How much water?").save(tmp_path)["report.html"])
    sources = [a.get(name) for _, a in page.tags for name in ("src", "href", "srcset", "action", "data") if name in a]
    assert all(s is not None and (s.startswith("data:image/") or re.fullmatch(r"\./[\w.]+", s)) for s in sources)
    assert not [name for _, a in page.tags for name in a if name.startswith("on")]
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    assert policy is not None and "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy
    assert (
        "url(" not in (tmp_path / "report.html").read_text() and "@import" not in (tmp_path / "report.html").read_text()
    )


def test_whatever_is_filled_in_stays_text(tmp_path: Path) -> None:
    scene = make_scene()
    image = replace(scene.observations[0], source=EVIL, evidence=(EVIL,), assumptions=(EVIL,))
    answer = Answer.from_reasoning(
        scene=Scene.of(optical=[image]),
        question=EVIL,
        options=(EVIL, "b"),
        reasoning=f"<think>{EVIL} [SEG] {EVIL}</think><answer>{EVIL}</answer>",
        groundings=[ground(WATER)],
        model=EVIL,
        notes=(EVIL,),
    )
    page = Page(answer.save(tmp_path)["report.html"])
    assert len(page.all("script")) == 1
    assert {a.get("src", "")[:11] for a in page.all("img")} == {"data:image/"}  # type: ignore[index]
    assert page.text.count(EVIL) >= 10
    assert "49" not in page.text


def test_layers_are_the_masks_in_their_colours(tmp_path: Path) -> None:
    page = Page(two_dates().save(tmp_path)["report.html"])
    water, tree = (pixels(a["src"]) for a in page.all("img", "layer"))
    np.testing.assert_array_equal(water[..., 3] == 255, WATER)
    np.testing.assert_array_equal(tree[..., 3] == 255, TREE)
    assert set(np.unique(water[..., 3])) == {0, 255}
    assert {tuple(c) for c in water[WATER][:, :3].tolist()} == {(0, 100, 200)}
    pictures = [pixels(a["src"]) for a in page.all("img", "picture")]
    assert pictures[0][0, 0].tolist() == [10, 20, 200, 255]
    assert (pictures[1][:, -5:] == [110, 110, 110, 255]).all()


def test_the_first_picture_is_that_of_the_first_step(tmp_path: Path) -> None:
    page = Page(two_dates().save(tmp_path)["report.html"])
    assert ["hidden" in a for a in page.all("img", "picture")] == [True, False]
    assert ["hidden" in a for a in page.all("img", "layer")] == [False, True]
    radios = [a for a in page.all("input") if a.get("type") == "radio"]
    assert [("checked" in a, a["data-image"]) for a in radios] == [(False, "1"), (True, "2")]
    boxes = [a for a in page.all("input") if a.get("type") == "checkbox"]
    assert [(a["value"], a["data-image"]) for a in boxes] == [("1", "2"), ("2", "1")]
    assert "Image 2 · 2024-05-02 · optical" in page.text


def test_numbers_and_warnings_are_told(tmp_path: Path) -> None:
    answer = two_dates()
    page = Page(answer.save(tmp_path)["report.html"])
    text = " ".join(page.text.split())
    assert "1 stated number disagrees with the masks." in text
    assert "The grids differ." in text
    assert "The text says 50 %, but the mask shows 11.1 %." in text
    assert "11.1 % · 2 ha · 1 object · northwestern part" in text
    assert "200 11.111 % 20,000 1 northwestern part" in text
    links = {a["href"] for a in page.all("a")}
    assert links == {"./answer.json", "./overlay.png", "./masks.tif", "./steps.tif", "./steps.tif.aux.xml",
                     "./masks.geojson", "./masks.parquet"}  # fmt: skip


def test_without_a_step_there_is_a_page_without_layers(tmp_path: Path) -> None:
    answer = Answer.from_reasoning(
        scene=make_scene(),
        question="Is there snow?",
        reasoning="<think>There is none.</think><answer>No</answer>",
        groundings=[],
        model="test",
    )
    page = Page(answer.save(tmp_path)["report.html"])
    assert page.all("img", "layer") == []
    assert len(page.all("img", "picture")) == 1
    assert "There is none." in page.text


@pytest.mark.parametrize("num_dates", [1, 6])
def test_large_scenes_make_no_large_page(tmp_path: Path, num_dates: int) -> None:
    rng = np.random.default_rng(0)
    image = make_scene().observations[0]
    noise = rng.integers(0, 256, (3, 1500, 1200)).astype(np.float32)
    image = replace(image, pixels=noise, valid=np.ones((1500, 1200), bool))
    mask = np.repeat(rng.random((1500, 12)) < 0.1, 100, axis=1)
    answer = Answer.from_reasoning(
        scene=Scene.of(optical=[image] * num_dates),
        question="Where?",
        reasoning="<think>Here: [SEG]</think><answer>here</answer>",
        groundings=[ground(mask)],
        model="test",
    )
    files = answer.save(tmp_path)
    page = Page(files["report.html"])
    assert max(pixels(page.all("img", "picture")[0]["src"]).shape) <= 896
    assert pixels(page.all("img", "layer")[0]["src"]).shape == (896, 717, 4)
    # Noise is what compresses worst.
    assert files["report.html"].stat().st_size < 1_200_000

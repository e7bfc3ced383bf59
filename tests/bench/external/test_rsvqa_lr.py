"""RSVQA-LR as a benchmark: the test split of a tree of the exact layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import rasterio

from terrascope.bench.external import open_external
from tests.bench.external.made_pictures import color_of

QUESTIONS = (
    (7, "presence", "Is there a road?", "yes"),
    (7, "comp", "Are there more roads than rivers?", "no"),
    (7, "count", "How many roads are there?", "134"),
    (9, "rural_urban", "Is it a rural or an urban area", "rural"),
    (9, "count", "How many rivers are there?", "0"),
    (9, "presence", "Is there a river?", "maybe"),
    (9, "color", "Which color?", "red"),
    (5, "presence", "Is there a wood?", "yes"),
)


def write(root: Path) -> Path:
    questions = [
        {"id": n, "img_id": image, "type": kind, "question": text, "answers_ids": [100 + n], "active": True}
        for n, (image, kind, text, _) in enumerate(QUESTIONS)
    ]
    answers = [
        {"id": 100 + n, "question_id": n, "answer": said, "active": True} for n, (*_, said) in enumerate(QUESTIONS)
    ]
    (root / "LR_split_test_questions.json").write_text(json.dumps({"questions": questions}))
    (root / "LR_split_test_answers.json").write_text(json.dumps({"answers": answers}))
    (root / "Images_LR").mkdir()
    for image in (7, 9):
        pixels = np.stack([np.full((8, 8), image * 10 + band, np.uint8) for band in range(3)])
        with rasterio.open(
            root / "Images_LR" / f"{image}.tif", "w", driver="GTiff", count=3, height=8, width=8, dtype="uint8"
        ) as target:
            target.write(pixels)
    return root


def test_every_kind_has_the_options_that_its_answers_can_be(tmp_path: Path, recwarn: object) -> None:
    benchmark = open_external("rsvqa-lr", write(tmp_path))
    assert [(sample.task, sample.options, sample.answer) for sample in benchmark.samples] == [
        ("presence", ("yes", "no"), "A"),
        ("comp", ("yes", "no"), "B"),
        ("count", ("0", "between 1 and 10", "between 11 and 100", "between 101 and 1000", "more than 1000"), "D"),
        ("rural_urban", ("rural", "urban"), "A"),
        ("count", ("0", "between 1 and 10", "between 11 and 100", "between 101 and 1000", "more than 1000"), "A"),
    ]
    assert benchmark.skipped == {
        "an answer outside the options": 1, "question of an unknown kind": 1, "picture with missing image": 1,
    }  # fmt: skip
    assert [color_of(benchmark.item(n).scene.pairs[0].optical)[0] for n in (0, 3)] == [70, 90]
    assert benchmark.samples[0].gsd_m == benchmark.item(0).scene.georeference.gsd_m == 10.0

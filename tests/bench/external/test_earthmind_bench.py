"""EarthMind-Bench: lists of the exact fields, with known optical and SAR pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from terrascope.bench.external import open_external
from tests.bench.external.made_pictures import color_of, save


def record(name: str, **values: Any) -> dict[str, Any]:
    return {
        "file_name": f"{name}.json",
        "question": "What is there?",
        "candidate": ["a road", "a river", "None of these"],
        "answer": "a river",
        "task_type": "object_existence",
    } | values


def write(root: Path, *names: str) -> None:
    for name in names:
        save(root / "rgb" / "img" / f"{name}.png", (1, 2, 3))
        save(root / "sar" / "img" / f"{name}.png", (60, 60, 60))


def test_a_pair_of_optical_and_sar(tmp_path: Path) -> None:
    write(tmp_path, "x")
    (tmp_path / "q.json").write_text(json.dumps([record("x")]))
    shown = open_external("earthmind-bench", tmp_path / "q.json").item(0)
    assert (shown.sample.answer, shown.sample.truth, shown.sample.task) == ("B", "a river", "object_existence")
    assert (shown.shown, shown.sample.num_dates) == ("both", 1)
    (pair,) = shown.scene.pairs
    assert color_of(pair.optical) == (1, 2, 3) and color_of(pair.sar) == (60,)


def test_lettered_candidates_and_answers(tmp_path: Path) -> None:
    lettered = ["A. a road", "B. a river"]
    records = [record("x", candidate=lettered, answer=said) for said in ("B. a river", "B", "a river", "C")]
    (tmp_path / "q.json").write_text(json.dumps(records))
    benchmark = open_external("earthmind-bench", tmp_path / "q.json")
    assert [sample.options for sample in benchmark.samples] == [("a road", "a river")] * 3
    assert [sample.answer for sample in benchmark.samples] == ["B", "B", "B"]
    assert benchmark.skipped == {"an answer outside the options": 1}


def test_a_folder_of_tasks_and_images_elsewhere(tmp_path: Path) -> None:
    questions, images = tmp_path / "json", tmp_path / "test"
    questions.mkdir()
    write(images, "x", "y")
    (images / "sar" / "img" / "y.png").unlink()
    (questions / "b.json").write_text(json.dumps([record("x", task_type="b")]))
    (questions / "a.json").write_text(json.dumps([record("x", task_type="a"), record("y"), record("x", candidate=[])]))
    benchmark = open_external("earthmind-bench", questions, images)
    assert [(sample.id, sample.task) for sample in benchmark.samples] == [
        ("earthmind-bench/0", "a"), ("earthmind-bench/3", "b"),
    ]  # fmt: skip
    assert benchmark.skipped == {"missing image": 1, "options missing": 1}

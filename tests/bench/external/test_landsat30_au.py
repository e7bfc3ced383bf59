"""Landsat30-AU: the CSV of the exact columns, and the real one where it is."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from terrascope.bench.external import open_external
from terrascope.errors import SampleError, SceneError
from tests.bench.external.made_pictures import color_of, save

COLUMNS = ("image_path", "question", "question_type", "options", "answer", "challenge_case", "human_friendly_url",
           "capture_time", "geohash", "qa_id")  # fmt: skip


def row(number: int, **values: object) -> dict[str, object]:
    return {
        "image_path": f"images/{number}.png",
        "question": "How many rivers are clearly visible?",
        "question_type": "Numerosity Estimation (NUM)",
        "options": "['None', 'Two', 'Three', 'One']",
        "answer": "None",
        "challenge_case": "normal",
        "capture_time": "2024-08-02",
        "geohash": "r38kffk",
        "qa_id": f"vqa_id_{number}",
    } | values


def write(path: Path, *rows: dict[str, object]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_none_is_an_answer_and_an_answer_is_a_text(tmp_path: Path) -> None:
    long = "Fully usable: cloud cover is low, so it's fine"
    path = write(
        tmp_path / "q.csv",
        row(1),
        row(2, options=repr(["no", long]), answer=long, question_type="Cloud-Occlusion Assessment (COA)"),
        row(3, question_type="Anything else"),
    )
    benchmark = open_external("landsat30-au", path)
    first, second, third = benchmark.samples
    assert (first.truth, first.answer, first.options) == ("None", "A", ("None", "Two", "Three", "One"))
    assert (second.truth, second.answer, second.task) == (long, "B", "COA")
    assert (first.task, third.task, first.id) == ("NUM", "Anything else", "landsat30-au/vqa_id_1")
    assert (first.gsd_m, first.source, first.country, benchmark.skipped) == (30.0, "landsat30-au", "Australia", {})


@pytest.mark.parametrize(
    ("written", "day"),
    [("2024-08-02", "2024-08-02"), ("25/08/2000", "2000-08-25"), ("1/10/2015", "2015-10-01"), ("", None),
     ("31/02/2000", None), ("soon", None)],
)  # fmt: skip
def test_days_are_written_in_two_ways(written: str, day: str | None, tmp_path: Path) -> None:
    (sample,) = open_external("landsat30-au", write(tmp_path / "q.csv", row(1, capture_time=written))).samples
    assert sample.images[0].day == day


def test_without_images_questions_stay_and_none_can_be_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "q.csv", row(1), row(2))
    benchmark = open_external("landsat30-au", path)
    assert len(benchmark.samples) == 2 and benchmark.skipped == {}
    with pytest.raises(SceneError, match=r"has no images; give the folder that holds images/2\.png"):
        benchmark.item(1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SceneError, match=r"holds no image of this benchmark, such as images/1\.png"):
        open_external("landsat30-au", path, tmp_path / "empty")


def test_with_images_those_that_lack_one_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "q.csv", row(1), row(2), row(3, image_path="../q.csv"), row(4, image_path=""))
    save(tmp_path / "pictures" / "images" / "2.png", (7, 8, 9))
    benchmark = open_external("landsat30-au", path, tmp_path / "pictures")
    assert benchmark.skipped == {"missing image": 3}
    shown = benchmark.item(0)
    assert shown.sample.id == "landsat30-au/vqa_id_2" and color_of(shown.scene.pairs[0].optical) == (7, 8, 9)
    assert shown.scene.dates[0].isoformat() == "2024-08-02" and shown.scene.georeference.gsd_m == 30.0


def test_what_cannot_be_asked_is_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path / "q.csv",
        row(1, options=""),
        row(2, options="'None'"),
        row(3, options="__import__('os').getcwd()"),
        row(4, options="['None']"),
        row(5, options="['None', 'None', 'Two']"),
        row(6, answer="Four"),
        row(7, answer=""),
        row(8, question=""),
        row(9),
        row(9),
    )
    benchmark = open_external("landsat30-au", path)
    assert benchmark.skipped == {
        "options of an unknown form": 3, "options missing": 1, "an option given twice": 1,
        "an answer outside the options": 1, "answer missing": 1, "question missing": 1, "an id given twice": 1,
    }  # fmt: skip
    assert [sample.id for sample in benchmark.samples] == ["landsat30-au/vqa_id_9"]


def test_a_short_row_is_counted_and_a_file_without_a_column_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "q.csv", row(1))
    path.write_text(path.read_text() + "images/2.png,How many?\n")
    assert open_external("landsat30-au", path).skipped == {"options of an unknown form": 1}
    path.write_text("image_path,question\n1.png,How many?\n")
    with pytest.raises(SampleError, match="has no column question_type"):
        open_external("landsat30-au", path)
    path.write_bytes(b"image_path,question\xff\xfe\n")
    with pytest.raises(SampleError, match="cannot be read as CSV"):
        open_external("landsat30-au", path)


def test_the_real_file(real_data: Path) -> None:
    path = real_data / "landsat30-au" / "Landsat30-AU-VQA-test.csv"
    if not path.is_file():
        pytest.skip("the questions of Landsat30-AU are not here")
    benchmark = open_external("landsat30-au", path)
    assert len(benchmark.samples) == 2659 and benchmark.skipped == {}
    assert Counter(sample.task for sample in benchmark.samples) == {
        "DLC": 372, "MOP": 363, "SRI": 363, "NUM": 337, "COA": 319, "APR": 315, "FOD": 300, "USR": 290,
    }  # fmt: skip
    assert sum(sample.truth == "None" for sample in benchmark.samples) == 96
    assert Counter(len(sample.options) for sample in benchmark.samples) == {2: 785, 3: 309, 4: 1469, 5: 96}
    assert all(sample.options["ABCDE".index(sample.answer)] == sample.truth for sample in benchmark.samples)
    assert all(sample.images[0].day for sample in benchmark.samples)

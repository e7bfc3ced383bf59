"""The released Parquet file in each form in which its columns come, with known pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from terrascope.bench.external import open_external
from terrascope.bench.items import digest_of, items
from terrascope.errors import SampleError, SceneError
from tests.bench.external.made_pictures import color_of, png, save

PROMPT = "A conversation between User and Assistant. The user asks. <answer> answer here </answer>. <image>\n"
FOUR = {"A": "10%", "B": "27%", "C": "40%", "D": "60%"}


def row(number: int, **values: Any) -> dict[str, Any]:
    return {
        "image": {"bytes": png((number, 20, 30)), "path": f"{number}.png"},
        "question": "What percentage is water?",
        "candidates": dict(FOUR),
        "answer": "B",
        "task_type": "coverage_percentage",
    } | values


def write(path: Path, rows: Sequence[dict[str, Any]], **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), path, **options)
    return path


def test_a_question_with_its_image(tmp_path: Path) -> None:
    two = {"A": "yes", "B": "no", "C": None, "D": None}
    rows = [row(1), row(2, candidates=two, answer="A", task_type="boundary_detection", question="Do they touch?")]
    benchmark = open_external("terrascope-bench", write(tmp_path / "b.parquet", rows))
    first, second = benchmark.samples
    assert (first.id, first.level, first.source, first.task) == (
        "terrascope-bench/0", "bench", "terrascope-bench", "coverage_percentage",
    )  # fmt: skip
    assert (first.options, first.answer, first.truth) == (("10%", "27%", "40%", "60%"), "B", "27%")
    assert (second.options, second.answer, second.task) == (("yes", "no"), "A", "boundary_detection")
    assert first.masks == () and first.classes == () and benchmark.skipped == {}
    shown = benchmark.item(1)
    assert shown.sample is second and shown.shown == "optical" and shown.scene.shape == (4, 6)
    assert [color_of(item.scene.pairs[0].optical) for item in items(benchmark)] == [(1, 20, 30), (2, 20, 30)]


def test_lengths_and_areas_have_a_scale_and_change_has_none_but_a_stated_one(tmp_path: Path) -> None:
    told = "At 0.5 m/pixel, how many square metres were destroyed?"
    rows = [row(1, task_type="area_quantification"), row(2, task_type="building_change"),
            row(3, task_type="building_change", question=told)]  # fmt: skip
    benchmark = open_external("terrascope-bench", write(tmp_path / "b.parquet", rows))
    assert [sample.gsd_m for sample in benchmark.samples] == [10.0, None, 0.5]
    assert [item.scene.georeference.gsd_m for item in items(benchmark)] == [10.0, None, 0.5]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_images_and_candidates_come_in_two_forms_each(as_json: bool, as_bytes: bool, tmp_path: Path) -> None:
    rows = [row(n) for n in range(3)]
    for each in rows:
        each["candidates"] = json.dumps(FOUR | {"D": None}) if as_json else FOUR | {"D": None}
        each["image"] = each["image"]["bytes"] if as_bytes else each["image"]
    benchmark = open_external("terrascope-bench", write(tmp_path / "b.parquet", rows, row_group_size=2))
    assert {sample.options for sample in benchmark.samples} == {("10%", "27%", "40%")}
    assert [color_of(benchmark.item(n).scene.pairs[0].optical)[0] for n in (2, 0, 1)] == [2, 0, 1]


def test_the_prompt_in_a_question_is_taken_off(tmp_path: Path) -> None:
    lettered = f"{PROMPT}Which is larger?\nA. water\nB. crop"
    none = {letter: None for letter in "ABCD"} | {"A": None}
    rows = [row(1, question=lettered, candidates=FOUR), row(2, question=lettered, candidates=none)]
    benchmark = open_external("terrascope-bench", write(tmp_path / "b.parquet", rows))
    assert [sample.question for sample in benchmark.samples] == ["Which is larger?"] * 2
    assert benchmark.samples[0].options == tuple(FOUR.values())
    assert (benchmark.samples[1].options, benchmark.samples[1].truth) == (("water", "crop"), "crop")


def test_a_letter_is_that_of_the_file_where_an_option_before_it_is_null(tmp_path: Path) -> None:
    rows = [row(1, candidates={"A": "x", "B": None, "C": "y"}, answer="C")]
    (sample,) = open_external("terrascope-bench", write(tmp_path / "b.parquet", rows)).samples
    assert (sample.options, sample.answer, sample.truth) == (("x", "y"), "B", "y")


def test_what_cannot_be_asked_is_counted_and_the_rest_keeps_its_images(tmp_path: Path) -> None:
    rows = [
        row(0, answer="E"),
        row(1, answer=None),
        row(2, candidates=FOUR | {"B": "10%"}),
        row(3, candidates=dict.fromkeys("ABCD")),
        row(4, question=None),
        row(5, image={"bytes": None, "path": None}),
        row(6, image=None),
        row(7),
    ]
    benchmark = open_external("terrascope-bench", write(tmp_path / "b.parquet", rows))
    assert benchmark.skipped == {
        "an answer outside the options": 1, "answer missing": 1, "an option given twice": 1, "options missing": 1,
        "question missing": 1, "missing image": 2,
    }  # fmt: skip
    (sample,) = benchmark.samples
    assert sample.id == "terrascope-bench/7" and color_of(benchmark.item(0).scene.pairs[0].optical) == (7, 20, 30)


def test_bytes_that_are_no_picture_are_an_error_of_their_item_alone(tmp_path: Path) -> None:
    rows = [row(1, image={"bytes": b"no picture", "path": "1.png"}), row(2, image={"bytes": png((9, 9, 9))[:40],
            "path": "2.png"}), row(3)]  # fmt: skip
    benchmark = open_external("terrascope-bench", write(tmp_path / "b.parquet", rows))
    for index in (0, 1):
        with pytest.raises(SceneError, match=f"the image of question {index}: not a readable picture"):
            benchmark.item(index)
    assert color_of(benchmark.item(2).scene.pairs[0].optical) == (3, 20, 30)


def test_images_of_which_only_the_path_is_there(tmp_path: Path) -> None:
    path = write(tmp_path / "b.parquet", [row(1, image={"bytes": None, "path": "1.png"})])
    with pytest.raises(SceneError, match="only its path is there; give the folder of the images"):
        open_external("terrascope-bench", path).item(0)
    save(tmp_path / "pictures" / "1.png", (4, 5, 6))
    shown = open_external("terrascope-bench", path, tmp_path / "pictures").item(0)
    assert color_of(shown.scene.pairs[0].optical) == (4, 5, 6)


def test_a_truncated_file_and_one_of_other_columns(tmp_path: Path) -> None:
    whole = write(tmp_path / "b.parquet", [row(n) for n in range(40)]).read_bytes()
    for size in (0, 4, len(whole) // 2, len(whole) - 5):
        (tmp_path / "cut.parquet").write_bytes(whole[:size])
        with pytest.raises(SampleError, match=r"cut\.parquet: cannot be read as Parquet .*fetch it again"):
            open_external("terrascope-bench", tmp_path / "cut.parquet")
    pq.write_table(pa.table({"question": ["?"]}), tmp_path / "other.parquet")
    with pytest.raises(SampleError, match="has no column image"):
        open_external("terrascope-bench", tmp_path / "other.parquet")


def test_the_digest_is_that_of_questions_and_truths(tmp_path: Path) -> None:
    def digest(*rows: dict[str, Any]) -> str:
        return open_external("terrascope-bench", write(tmp_path / "b.parquet", rows)).digest

    one = digest(row(1), row(2))
    assert one == digest(row(3), row(4)), "images are no part of it"
    assert one == digest_of(open_external("terrascope-bench", write(tmp_path / "b.parquet", [row(1), row(2)])).samples)
    assert len({one, digest(row(1), row(2, answer="A")), digest(row(1)), digest(row(1), row(2, question="x?"))}) == 4


def test_a_folder_of_several_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "0.parquet", [row(1), row(2)])
    write(tmp_path / "data" / "1.parquet", [row(3)])
    benchmark = open_external("terrascope-bench", tmp_path)
    assert [color_of(item.scene.pairs[0].optical)[0] for item in items(benchmark)] == [1, 2, 3]
    assert [sample.key for sample in benchmark.samples] == ["0", "1", "2"]

"""What experts see and give back: configuration, tasks, exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from bench.reviewed import annotate, brush, choice, questions
from terrascope.bench.brush import decode_brush
from terrascope.bench.label_studio import (
    BAD_BRUSH,
    STRAY_BRUSH,
    WRONG_SIZE,
    Annotation,
    layout_of,
    name_layout,
    read_export,
    write_config,
    write_task,
)
from terrascope.errors import SampleError

LAND, RUINS = questions()[0], questions()[-1]
LAYOUT = layout_of(RUINS)
NAME = "painted/land/coverage/1"


def test_layouts() -> None:
    assert layout_of(LAND) == ((1, "optical"), (1, "sar"))
    assert LAYOUT == ((1, "optical"), (1, "sar"), (2, "optical"), (2, "sar"))
    assert name_layout(LAYOUT) == "optical1_sar1_optical2_sar2"
    assert layout_of(LAND[1:2]) == ((1, "sar"),)


def test_every_date_has_its_brushes() -> None:
    view = ElementTree.fromstring(write_config(LAYOUT, ["building", "dwelling & yard"]))
    assert [(tag.get("name"), tag.get("value")) for tag in view.iter("Image")] == [
        ("optical1", "$optical1"), ("sar1", "$sar1"), ("optical2", "$optical2"), ("sar2", "$sar2"),
    ]  # fmt: skip
    brushes = list(view.iter("BrushLabels"))
    assert [(tag.get("name"), tag.get("toName")) for tag in brushes] == [("masks1", "optical1"), ("masks2", "optical2")]
    assert [(label.get("value"), label.get("background")) for label in brushes[0]] == [
        ("building", "#a03c14"), ("dwelling & yard", None),
    ]  # fmt: skip
    choices = {tag.get("name"): [one.get("value") for one in tag] for tag in view.iter("Choices")}
    assert choices.pop("quality") == ["low", "medium", "high"]
    assert choices == {name: ["yes", "no"] for name in ("masks", "answer", "distractors", "clarity")}
    assert [tag.get("name") for tag in view.iter("Choices") if tag.get("required")] == ["quality"]
    names = [tag.get("name") for tag in view.iter() if tag.get("name")]
    assert len(names) == len(set(names))


def test_sar_alone_carries_the_brushes() -> None:
    view = ElementTree.fromstring(write_config(((1, "sar"),), ["water"]))
    assert [tag.get("toName") for tag in view.iter("BrushLabels")] == ["sar1"]


def test_a_task_shows_question_options_answer_and_masks() -> None:
    sample = RUINS[0]
    task = write_task(sample, LAYOUT, name="q", digest="d", images=["a", "b", "c", "d"])
    data = task["data"]
    assert (data["question_id"], data["benchmark"], data["question"]) == ("q", "d", sample.question)
    assert [data[key] for key in ("optical1", "sar1", "optical2", "sar2")] == ["a", "b", "c", "d"]
    assert data["options"].split(" | ") == [f"{a}. {b}" for a, b in zip("ABCD", sample.options, strict=True)]
    assert data["answer"] == f"Right answer: {sample.answer}. {sample.truth}"
    [prediction] = task["predictions"]
    before, after = prediction["result"]
    assert [(one["from_name"], one["to_name"], one["value"]["brushlabels"]) for one in (before, after)] == [
        ("masks1", "optical1", ["building"]),
        ("masks2", "optical2", ["destroyed building"]),
    ]
    for place, result in enumerate((before, after)):
        assert (result["original_width"], result["original_height"], result["type"]) == (100, 100, "brushlabels")
        assert np.array_equal(decode_brush(result["value"]["rle"], (100, 100)), sample.mask(place))
    assert before["id"] != after["id"]


# ---------------------------------------------------------------------------------------------------------------------
# Exports.


def task(*annotations: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"question_id": NAME, "benchmark": "d", **data}, "annotations": list(annotations)}


def read(tmp_path: Path, *annotations: dict[str, Any]) -> list[Annotation]:
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task(*annotations)]))
    found = list(read_export(path, {NAME: LAND[0]}, "d"))
    assert {name for name, _ in found} <= {NAME}
    return [annotation for _, annotation in found]


def test_ratings_checks_and_remarks(tmp_path: Path) -> None:
    remark = {"type": "textarea", "from_name": "remarks", "value": {"text": ["too", "small"]}}
    checks = [choice("masks", "no"), choice("clarity", "yes"), choice("answer", "no")]
    [one] = read(tmp_path, annotate(*checks, remark, rating="medium"))
    assert (one.rating, one.failed, one.remarks, one.masks, one.fault) == (
        "medium", ("answer", "masks"), "too small", {}, None,
    )  # fmt: skip


def test_missing_ratings(tmp_path: Path) -> None:
    for given in (
        annotate(rating=None),
        annotate(was_cancelled=True) | {"was_cancelled": True},
        annotate(rating="splendid"),
        annotate() | {"result": None},
        annotate(rating=None) | {"result": [{"type": "choices", "from_name": "quality", "value": {}}]},
    ):
        [one] = read(tmp_path, given)
        assert (one.rating, one.fault) == (None, None)


@pytest.mark.parametrize("junk", [None, 5, "x", [], {}, [5], [None], [[]], [{}], {"a": 1}, True, 1e300])
@pytest.mark.parametrize("field", ["type", "from_name", "value", "choices", "text", "brushlabels", "rle"])
def test_a_damaged_result_takes_nothing_else_with_it(tmp_path: Path, field: str, junk: Any) -> None:
    remark = {"type": "textarea", "from_name": "remarks", "value": {"text": "small"}}
    drawn = brush(np.ones((100, 100), bool), "water")
    for damaged in (choice("masks", "no"), remark, drawn):
        inner = field in damaged["value"]
        changed = {**damaged, "value": {**damaged["value"], field: junk}} if inner else {**damaged, field: junk}
        [one] = read(tmp_path, annotate(changed, choice("clarity", "no")))
        assert one.rating == "high" and "clarity" in one.failed
        assert one.fault in (None, STRAY_BRUSH, BAD_BRUSH)


@pytest.mark.parametrize("results", [5, "x", {"a": 1}, [5], [None], True])
def test_results_of_another_kind_are_no_export(tmp_path: Path, results: Any) -> None:
    with pytest.raises(SampleError, match="not a JSON export of Label Studio"):
        read(tmp_path, annotate() | {"result": results})


def test_a_remark_may_be_one_text(tmp_path: Path) -> None:
    [one] = read(tmp_path, annotate({"type": "textarea", "from_name": "remarks", "value": {"text": "too small"}}))
    assert one.remarks == "too small"


def test_strokes_of_one_class_are_one_mask(tmp_path: Path) -> None:
    left, right = np.zeros((2, 100, 100), bool)
    left[:, :10], right[5, 90:] = True, True
    [one] = read(tmp_path, annotate(brush(left, "water"), brush(right, "water")))
    assert list(one.masks) == [(1, "water")] and np.array_equal(one.masks[1, "water"], left | right)
    [one] = read(tmp_path, annotate(brush(np.zeros((100, 100), bool), "water")))
    assert not one.masks[1, "water"].any()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"original_width": 50}, WRONG_SIZE),
        ({"original_height": None}, WRONG_SIZE),
        ({"from_name": "masks2"}, STRAY_BRUSH),
        ({"value": {"rle": [1], "brushlabels": ["tree"]}}, STRAY_BRUSH),
        ({"value": {"rle": [1], "brushlabels": ["water", "tree"]}}, STRAY_BRUSH),
        ({"value": {"rle": [1]}}, STRAY_BRUSH),
        ({"value": {"rle": [1], "brushlabels": ["water"]}}, BAD_BRUSH),
        (
            {"value": {"rle": brush(np.ones((9, 9), bool), "water")["value"]["rle"], "brushlabels": ["water"]}},
            BAD_BRUSH,
        ),
        ({"value": {"brushlabels": ["water"]}}, BAD_BRUSH),
    ],
)
def test_brushes_that_cannot_be_used(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    [one] = read(tmp_path, annotate(brush(np.ones((100, 100), bool), "water") | change))
    assert (one.fault, one.rating, one.masks) == (fault, "high", {})


def test_who_is_who(tmp_path: Path) -> None:
    known = [{"id": 1, "email": "a@x.org"}, {"id": 2}, 3]
    assert [one.expert for one in read(tmp_path, *(annotate(by=who) for who in known))] == [
        "a@x.org", "export (1): 2", "export (1): 3",
    ]  # fmt: skip


def test_the_last_word_of_an_expert_counts(tmp_path: Path) -> None:
    later = annotate(rating="low", updated_at="2026-03-02T08:00:00Z")
    earlier = annotate(rating="high", updated_at="2026-03-01T09:00:00Z")
    assert [one.rating for one in read(tmp_path, later, earlier)] == ["low"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not a JSON export"),
        ("{}", "not a JSON export"),
        ("[1]", "not a JSON export"),
        ('[{"data": {}}]', "not a JSON export"),
        ('[{"data": {}, "annotations": [1]}]', "not a JSON export"),
        # JSON-MIN, another format of Label Studio.
        ('[{"id": 1, "question_id": "q", "quality": "high"}]', "not a JSON export"),
        ('[{"data": {"image": "a.png"}, "annotations": []}]', "holds tasks of another project"),
        (json.dumps([task(benchmark="other")]), "reviews another benchmark"),
        (json.dumps([task(question_id="painted/sea/1")]), "the benchmark has no question 'painted/sea/1'"),
        (json.dumps([task(question_id=["a"])]), "holds tasks of another project"),
    ],
)
def test_files_that_are_no_review(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "export.json"
    path.write_text(content)
    with pytest.raises(SampleError, match=said) as caught:
        list(read_export(path, {NAME: LAND[0]}, "d"))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"none\.json: not found"):
        list(read_export(tmp_path / "none.json", {}, "d"))

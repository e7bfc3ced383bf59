"""Rows that are no questions of a benchmark are refused, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from terrascope.bench.sound import check_questions
from terrascope.errors import SampleError
from terrascope.sample import Sample
from tests.bench.made_benchmark import drawn_benchmark

GOOD = drawn_benchmark(6).samples


@dataclass(frozen=True)
class Noted:
    """A chip that a file notes."""

    source: str
    key: str


@dataclass(frozen=True)
class Files:
    """A store that notes chips."""

    noted: Sequence[Noted] = ()
    path: Path = Path("bench.parquet")

    def chips(self) -> Sequence[Noted]:
        return self.noted


def check(samples: Sequence[Sample], noted: Sequence[Noted] = ()) -> None:
    files: Any = Files(noted)
    check_questions(samples, files)


def test_questions_of_every_task_are_sound() -> None:
    assert {sample.task for sample in GOOD} == {
        "coverage",
        "area",
        "ranking",
        "boundary",
        "distance",
        "building_change",
    }
    check(GOOD)
    check(GOOD, [Noted(sample.source, sample.key) for sample in GOOD])


@pytest.mark.parametrize(
    ("task", "changes", "sentence"),
    [
        ("coverage", {"id": ""}, "a row has an empty field"),
        ("coverage", {"question": None}, "has an empty field"),
        ("coverage", {"task": "foo"}, "the task 'foo' is none of coverage, area"),
        ("coverage", {"images": ()}, "it shows no image"),
        ("coverage", {"masks": ()}, r"its reasoning has 1 \[SEG\], and it has 0 masks"),
        ("area", {"unit": "parsec"}, "the unit 'parsec' is none of %, m2, m, count"),
        ("coverage", {"value": 999.0}, "its truth cannot be 999 %"),
        ("distance", {"value": -1.0}, "its truth cannot be -1 m"),
        ("distance", {"value": float("nan")}, "its truth cannot be nan m"),
        ("ranking", {"truth": "moon"}, "is not the option 'moon'"),
        ("ranking", {"options": ("water",)}, "options"),
    ],
)
def test_a_damaged_row_is_named(task: str, changes: dict[str, Any], sentence: str) -> None:
    damaged = replace(next(sample for sample in GOOD if sample.task == task), **changes)
    with pytest.raises(SampleError, match=rf"bench\.parquet: damaged \(.*{sentence}.*\); copy it again"):
        check([damaged])


def test_the_letter_must_be_that_of_an_option() -> None:
    sample = next(sample for sample in GOOD if sample.task == "coverage")
    answer = f"<answer>{sample.answer}</answer>"
    damaged = replace(sample, reasoning=sample.reasoning.replace(answer, "<answer>Z</answer>"))
    with pytest.raises(SampleError, match="its answer 'Z' is the letter of none of its 4 options"):
        check([damaged])


def test_an_id_stands_once_and_its_scene_is_noted() -> None:
    with pytest.raises(SampleError, match=f"stands there twice: {GOOD[0].id}"):
        check([*GOOD, GOOD[0]])
    with pytest.raises(SampleError, match="it is about a scene that the file does not note"):
        check(GOOD, [Noted(GOOD[0].source, "elsewhere")])

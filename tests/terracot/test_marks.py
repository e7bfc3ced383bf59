"""Marks of regions, given to a model and read back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terracot.known_chip import CROP, IDS, LATER_IDS, WATER, make_chip
from terrascope import trace
from terrascope.terracot.marks import Marks, number_regions


def marks_of(*maps: np.ndarray, min_share: float = 0.01, max_per_date: int = 8, gsd_m: float | None = 10.0) -> Marks:
    return number_regions(make_chip(*maps, gsd_m=gsd_m).labelled, min_share=min_share, max_per_date=max_per_date)


def test_regions_are_numbered_by_date_and_size_and_described_by_their_masks() -> None:
    assert marks_of().describe().splitlines() == [
        "- [SEG:1 crop]: 50% of the image, 2 ha, 1 separate patch, centered in the southern part",
        "- [SEG:2 tree]: 30% of the image, 1.2 ha, 1 separate patch, centered in the northeastern part",
        "- [SEG:3 water]: 20% of the image, 8000 m2, 1 separate patch, centered in the northwestern part",
    ]
    assert marks_of(IDS, LATER_IDS).describe().splitlines()[3].startswith("- [SEG:4 water, image 2]: 40% of the image,")
    assert "ha" not in marks_of(gsd_m=None).describe()


def test_small_regions_and_too_many_are_left_out() -> None:
    assert [region.name for region in marks_of(min_share=0.25).regions] == ["crop", "tree"]
    assert [region.name for region in marks_of(max_per_date=1).regions] == ["crop"]
    two = IDS.copy()
    two[0, 8:10] = WATER
    two[0, 5] = CROP
    assert "2 separate patches" in marks_of(two).describe()


def test_marks_become_masks() -> None:
    marks = marks_of()
    reasoning = (
        "<think>First, the crops: [SEG:1 crop] They cover 50% of the image. Next, the water [SEG:3]. "
        "It lies in the north.\nSo it is\n farmland.</think>"
    )
    parsed, regions, faults = marks.read(reasoning, "<caption>Farmland [SEG:1 crop] and [SEG:3] water.</caption>")
    assert faults == ()
    assert trace.render(parsed) == (
        "<think>First, the crops: [SEG] They cover 50% of the image. Next, the water [SEG] It lies in the north. "
        "So it is farmland.</think><answer>Farmland and water.</answer>"
    )
    assert [region.name for region in regions] == ["crop", "water"]
    crop, water = parsed.grounded_steps
    assert (crop.mask == (IDS == CROP)).all() and (water.mask == (IDS == WATER)).all()
    assert trace.parse(trace.render(parsed)) == parsed


def test_marks_of_several_dates_name_their_image() -> None:
    marks = marks_of(IDS, LATER_IDS)
    parsed, _, faults = marks.read(
        "The water: [SEG:3 water, image 1] Later, the water: Image: 2 [SEG:4 water, image 2]", "It grew."
    )
    assert faults == ()
    first, second = parsed.grounded_steps
    assert (first.image, second.image) == (1, 2)
    assert (int(first.mask.sum()), int(second.mask.sum())) == (80, 160)


@pytest.mark.parametrize(
    ("reasoning", "fault"),
    [
        ("There are crops.", "The reasoning points at no region; write marks such as [SEG:1 crop]."),
        ("The crops: [SEG]", "[SEG] has no number; use the marks of the list, such as [SEG:1 crop]."),
        ("The snow: [SEG:9 snow]", "There is no region 9; the regions are numbered 1 to 3."),
        ("The crops: [SEG:2 crop]", "[SEG:2 crop] is wrong: region 2 is [SEG:2 tree]."),
        ("The crops: [SEG:1 crop] The trees: [SEG:2 tree", "A mark is not closed"),
        (f"The crops: [SEG:{'9' * 5000}]", "There is no region 999999"),
        ("Here: [SEG:1 crop]", "The words right before mark 1 of the reasoning do not name the crop"),
        (
            "The crops: [SEG:1] Next, [SEG:2 tree]",
            "The words right before mark 2 of the reasoning do not name the tree",
        ),
    ],
)
def test_marks_that_are_wrong(reasoning: str, fault: str) -> None:
    faults = marks_of().read(reasoning, "Farmland.")[2]
    assert len(faults) == 1 and faults[0].startswith(fault)


PIECES = (
    "The crops:", "the trees", "[SEG:1 crop]", "[SEG:2]", "[SEG]", "[SEG:3 tree]", "[SEG:", "]", "[", "Image: 2", ".",
    "They cover 50% of the image.", "So it is.", "\n", " ", "<think>", "</think>", "<answer>", "[seg 1]",
    "[SEG<think>]", "[SE[SEG:1]G]", "Overall,", "\u0661", "<thi<think>nk>",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.lists(st.sampled_from(PIECES), max_size=4))
def test_whatever_a_model_writes_is_read(reasoning: list[str], answer: list[str]) -> None:
    """One mask for every [SEG], and a trace that reads back."""
    parsed, regions, faults = marks_of().read("".join(reasoning), "".join(answer))
    assert len(parsed.grounded_steps) == len(regions)
    for step, region in zip(parsed.grounded_steps, regions, strict=True):
        assert step.mask is region.mask or (step.mask == region.mask).all()
    assert trace.parse(trace.render(parsed)) == parsed
    assert "[SEG" not in parsed.answer or faults

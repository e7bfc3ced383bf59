"""Counts of a data set, against counts by hand."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from terrascope.sample import Sample, SampleMask
from terrascope.terracot.stats import MASK_SIZES, print_summary, shown_rows, summarize
from tests.terracot.made_samples import HEIGHT, SAMPLE, WIDTH, code, images_of, of_dates

FREE = replace(
    SAMPLE,
    id="free",
    key="b",
    place="b",
    source="other",
    split="val",
    level="L2",
    task="spatial/adjacency",
    question="Do they touch?",
    options=(),
    truth="No",
    reasoning="<think>They do not.</think><answer>No</answer>",
    masks=(),
    lon=None,
    lat=None,
    country=None,
    writer="composer",
    labels="refined",
    images=images_of(2, ("optical", "sar")),
)


def test_every_count() -> None:
    summary = summarize([SAMPLE, replace(SAMPLE, id="again", level="caption"), FREE])
    told = summary.to_dict()
    assert (told["num_samples"], told["num_masks"], told["num_chips"], told["num_places"]) == (3, 4, 2, 2)
    assert told["sources"] == {"made": 2, "other": 1}
    assert told["levels"] == {"caption": 1, "L1": 1, "L2": 1}
    assert told["tasks"] == {"L1/ranking": 1, "caption/ranking": 1, "L2/spatial/adjacency": 1}
    assert told["sources_of_subsets"] == {"Cap-CoT": {"made": 1}, "VQA-CoT": {"made": 1, "other": 1}}
    assert told["splits"] == {"train": 2, "val": 1}
    assert told["classes"] == {"water": 2, "tree": 2}
    assert told["mask_sizes"] == {"20 to 50 %": 4}
    assert told["letters"] == {"B": 2} and told["yes_no"] == {"no": 1}
    assert told["writers"] == {"templates": 2, "composer": 1}
    assert told["labels"] == {"annotated": 2, "refined": 1}
    assert told["num_dates"] == {"1": 2, "2": 1}
    assert told["sensors"] == {"rgb": 3, "sentinel-1": 1}
    assert told["countries"] == {"Austria": 2}
    assert told["steps"] == {"0": 1, "2": 2} and told["options"] == {"0": 1, "2": 2}
    assert told["questions"] == {"mean": pytest.approx((6 + 6 + 3) / 3), "longest": 6}
    assert told["reasonings"]["longest"] == len(SAMPLE.reasoning.split())
    assert told["distinct_questions"] == pytest.approx(2 / 3)
    assert told["num_located"] == 1 and "located" not in told
    assert json.loads(json.dumps(told, allow_nan=False)) == told


@pytest.mark.parametrize(
    ("lon", "lat", "row", "column"),
    [
        (12.5, -7.25, 82, 192),
        (-180.0, -90.0, 0, 0),
        (180.0, 90.0, 179, 0),
        (179.99, 89.99, 179, 359),
        (-0.5, -0.5, 89, 179),
        (0.0, 0.0, 90, 180),
    ],
)
def test_chips_are_counted_by_degree_each_once(lon: float, lat: float, row: int, column: int) -> None:
    summary = summarize([replace(SAMPLE, lon=lon, lat=lat), replace(SAMPLE, id="again", lon=lon, lat=lat)])
    expected = np.zeros((180, 360), np.int64)
    expected[row, column] = 1
    np.testing.assert_array_equal(summary.located, expected)


@pytest.mark.parametrize(
    ("num_pixels", "size"), [(0, 0), (1, 1), (9, 1), (10, 2), (100, 3), (500, 4), (2000, 5), (5000, 6), (10000, 6)]
)
def test_masks_are_counted_by_their_share(num_pixels: int, size: int) -> None:
    mask = np.zeros(10_000, bool)
    mask[:num_pixels] = True
    pointed = (SampleMask(counts=code(mask.reshape(100, 100)), image=1, class_name="water"),)
    summary = summarize([replace(SAMPLE, height=100, width=100, masks=pointed)])
    assert summary.mask_sizes == {MASK_SIZES[size]: 1}


def test_letters_steps_and_dates_stand_in_their_order_and_the_rest_by_size() -> None:
    def answered(letter: str) -> Sample:
        return replace(SAMPLE, options=tuple("wxyz"), reasoning=SAMPLE.reasoning.replace(">B<", f">{letter}<"))

    summary = summarize([answered(letter) for letter in "CABBCC"] + [of_dates(n) for n in (10, 2, 9)])
    assert list(summary.letters.items()) == [("A", 1), ("B", 5), ("C", 3)]
    assert list(summary.num_dates) == ["1", "2", "9", "10"]
    many = summarize([replace(SAMPLE, writer=f"w{number}") for number in (1, 2, 2, 3, 3, 3)])
    assert list(many.writers) == ["w3", "w2", "w1"]


def test_nothing_is_counted_as_nothing() -> None:
    summary = summarize([])
    assert summary.num_samples == summary.num_masks == 0 and summary.levels == {}
    print_summary(summary, Console(file=io.StringIO()))


def test_tables_say_numbers_and_shares_and_gather_the_rest() -> None:
    counts = {f"n{number:02d}": 100 - number for number in range(20)}
    rows = shown_rows(counts, most=3)
    assert rows[0] == ("n00", "100", "5.5 %") and rows[3] == ("17 others", f"{sum(counts.values()) - 297:,}", "83.6 %")
    assert len(shown_rows(dict(list(counts.items())[:4]), most=3)) == 4
    file = io.StringIO()
    print_summary(summarize([SAMPLE, FREE]), Console(file=file, width=100))
    lines = [" ".join(line.split()) for line in file.getvalue().splitlines()]
    assert "samples 2" in lines and "L2/spatial/adjacency 1 50.0 %" in lines and "water 1 50.0 %" in lines


def test_progress_is_told() -> None:
    seen: list[int] = []
    summarize([SAMPLE] * 3, seen.append)
    assert seen == [1, 2, 3]
    assert HEIGHT * WIDTH == 120

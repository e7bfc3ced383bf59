"""Wrong options: what is drawn passes, and what could be mistaken for the truth does not."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.reviewed import samples
from terrascope.bench.distractors import (
    ALIKE,
    IMPLAUSIBLE,
    NUM_OPTIONS,
    OTHER_KIND,
    distractor_faults,
    draw_distractors,
    rank_among,
    rank_of,
    read_option,
    read_quantity,
    word_quantity,
)
from terrascope.choice import nearest_option
from terrascope.sample import Sample
from terrascope.tasks import TASKS


def asking(task: str, value: float | None = None, unit: str | None = None) -> Sample:
    sample = next(sample for sample in samples() if sample.task == task)
    if value is None:
        return sample
    unit = unit or sample.unit or ""
    return replace(sample, options=(), value=value, unit=unit, truth=word_quantity(value, unit))


def test_as_many_options_as_the_tasks_have() -> None:
    assert {task: TASKS[task].num_options for task in NUM_OPTIONS} == dict(NUM_OPTIONS)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
def test_no_option_is_larger_than_the_image(share: float) -> None:
    # 384 x 384 pixels of 10 m are 14.7456 km2; "15 km2" would be more than there is.
    whole_m2 = 3840.0**2
    sample = replace(asking("area", share * whole_m2, "m2"), height=384, width=384, gsd_m=10.0)
    drawn = [draw_distractors(sample, np.random.default_rng(seed)) for seed in range(60)]
    values = [read_quantity(text, "m2") or 0.0 for options in drawn for text in options or ()]
    assert len(values) == 180 and max(values) <= whole_m2
    assert max(values) > share * whole_m2 or share == 0.97
    (fault,) = distractor_faults(sample, ("15 km2", "1 km2", "0.5 km2"))[:1]
    assert fault.reason == IMPLAUSIBLE


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("34%", "%", 34.0),
        ("about 34.5 percent", "%", 34.5),
        ("less than 1%", "%", 0.5),
        ("3.4 ha", "m2", 34_000.0),
        ("1200 m2", "m2", 1200.0),
        ("2.5 km2", "m2", 2_500_000.0),
        ("1,250 m", "m", 1250.0),
        ("1.2 km", "m", 1200.0),
        ("12", "count", 12.0),
        ("12 buildings", "count", 12.0),
        ("between 10% and 20%", "%", None),
        ("34%", "count", None),
        ("34", "%", None),
        ("34 m", "m2", None),
        ("34 m2", "m", None),
        ("-4", "count", None),
        ("12.5", "count", None),
        ("many", "count", None),
        ("", "%", None),
    ],
)
def test_reading_a_quantity(text: str, unit: str, value: float | None) -> None:
    read = read_quantity(text, unit)
    assert read == (None if value is None else pytest.approx(value))


def test_an_option_is_put_in_the_words_of_the_others() -> None:
    assert read_option(asking("coverage"), "around 34.4 %") == "34%"
    assert read_option(asking("area"), "0.0342 km2") == "3.4 ha"
    assert read_option(asking("distance"), "0.43 km") == "430 m"
    assert read_option(asking("boundary"), "no, they do not") == "No"
    assert read_option(asking("ranking"), "The lake") == "water"
    assert read_option(asking("ranking"), "forest") == "tree"
    assert read_option(asking("ranking"), "forest and water") is None
    assert read_option(asking("ranking"), "grass") is None
    assert read_option(asking("boundary"), "perhaps") is None


@pytest.mark.parametrize(
    ("task", "wrong", "reason"),
    [
        ("coverage", ("10%", "30%", "45%"), None),
        ("coverage", ("10%", "30%", "30%"), ALIKE),
        ("coverage", ("10%", "30%", "33%"), ALIKE),
        ("coverage", ("10%", "20%", "45%"), ALIKE),
        ("coverage", ("10%", "22%", "45%"), ALIKE),
        ("coverage", ("10%", "30%", "145%"), IMPLAUSIBLE),
        ("coverage", ("0%", "30%", "45%"), IMPLAUSIBLE),
        ("coverage", ("less than 1%", "30%", "45%"), IMPLAUSIBLE),
        ("coverage", ("10 ha", "30%", "45%"), OTHER_KIND),
        ("area", ("10 ha", "50 ha", "80 ha"), None),
        ("area", ("10 ha", "50 ha", "0.8 km2"), None),
        ("area", ("0.3 km2", "50 ha", "80 ha"), ALIKE),
        ("area", ("32 ha", "50 ha", "80 ha"), ALIKE),
        ("area", ("10 ha", "50 ha", "120 ha"), IMPLAUSIBLE),
        ("area", ("1 ha", "50 ha", "80 ha"), IMPLAUSIBLE),
        ("area", ("10 m", "50 ha", "80 ha"), OTHER_KIND),
        ("distance", ("200 m", "800 m", "1.2 km"), None),
        ("distance", ("200 m", "800 m", "1.6 km"), IMPLAUSIBLE),
        ("distance", ("0 m", "200 m", "800 m"), IMPLAUSIBLE),
        ("ranking", ("water",), None),
        ("ranking", ("tree",), OTHER_KIND),
        ("ranking", ("grass",), OTHER_KIND),
        ("boundary", ("No",), None),
        ("boundary", ("Yes",), OTHER_KIND),
        ("boundary", ("Partly",), OTHER_KIND),
    ],
)  # fmt: skip
def test_wrong_options_that_will_not_do(task: str, wrong: tuple[str, ...], reason: str | None) -> None:
    # Water covers 20 %, crops 30 ha, water and bare land are 410 m apart, there are more trees than water.
    found = [fault.reason for fault in distractor_faults(asking(task), wrong)]
    assert found[:1] == ([] if reason is None else [reason])


def test_counts() -> None:
    sample = asking("building_change", 20, "count")
    assert distractor_faults(sample, ("18", "22", "24")) == []
    assert [fault.reason for fault in distractor_faults(sample, ("19", "22", "24"))] == [ALIKE]
    assert [fault.reason for fault in distractor_faults(sample, ("0", "22", "24"))] == [IMPLAUSIBLE]
    assert [fault.reason for fault in distractor_faults(sample, ("15%", "22", "24"))] == [OTHER_KIND]


@given(
    kind=st.one_of(
        st.tuples(st.just("coverage"), st.floats(0.05, 100), st.just("%")),
        st.tuples(st.just("area"), st.floats(100, 1e6), st.just("m2")),
        st.tuples(st.just("distance"), st.floats(10, 1400), st.just("m")),
        st.tuples(st.just("building_change"), st.integers(3, 500).map(float), st.just("count")),
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_drawn_can_be_told_apart(kind: tuple[str, float, str], seed: int) -> None:
    sample = asking(*kind)
    drawn = draw_distractors(sample, np.random.default_rng(seed))
    if drawn is None:
        # A scene has no room for a distance above its diagonal, nor for small ones below the last metre.
        assert kind[0] == "distance"
        return
    options = (sample.truth, *drawn)
    assert len(options) == NUM_OPTIONS[sample.task] == len(set(options))
    for a, b in combinations(options, 2):
        assert read_quantity(a, kind[2]) != read_quantity(b, kind[2])
    assert [nearest_option(text, options) for text in options] == [0, 1, 2, 3]
    assert draw_distractors(sample, np.random.default_rng(seed)) == drawn


@pytest.mark.parametrize(
    ("unit", "truth", "options", "rank"),
    [
        ("%", "9%", ("40%", "9%", "20%", "less than 1%"), 1),
        ("m2", "1.2 km2", ("90 ha", "0.5 km2", "1.2 km2", "4000 m2"), 3),
        ("m", "800 m", ("1.2 km", "800 m", "2 km", "5 km"), 0),
        ("count", "12", ("7", "12", "15", "20"), 1),
        (None, "Yes", ("No", "Yes"), 0),
    ],
)
def test_the_rank_is_how_many_numbers_lie_below(unit: str, truth: str, options: tuple[str, ...], rank: int) -> None:
    assert rank_among(truth, options, unit) == rank
    sample = replace(asking("coverage"), options=options, unit=unit, truth=truth)
    assert rank_of(sample) == (None if unit is None else rank)
    assert rank_of(replace(sample, options=())) is None


def test_other_options_leave_the_truth_its_rank() -> None:
    # Freely drawn, 9 % would be the smallest option or the second one: there is room for a single option below.
    for value, fitting in ((50.0, {0, 1, 2, 3}), (9.0, {0, 1}), (95.0, {3})):
        sample = asking("coverage", value)
        for rank in range(4):
            texts = [f"{value + n - rank:g}%" for n in range(4)]
            for seed in range(20):
                drawn = draw_distractors(replace(sample, options=tuple(texts)), np.random.default_rng(seed))
                assert (drawn is not None) == (rank in fitting)
                assert drawn is None or sum(int(text[:-1]) < value for text in drawn) == rank


def test_the_rank_of_the_truth_tells_little() -> None:
    sample = asking("coverage", 50.0)
    ranks = np.zeros(4, int)
    for seed in range(400):
        drawn = draw_distractors(sample, np.random.default_rng(seed))
        assert drawn is not None
        ranks[sum(int(text[:-1]) < 50 for text in drawn)] += 1
    assert ranks.min() > 70

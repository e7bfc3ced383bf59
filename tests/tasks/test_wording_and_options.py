"""Words for classes and images, and wrong options that keep their distance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrascope.landcover import NOMENCLATURES, Nomenclature
from terrascope.quantities import format_area
from terrascope.tasks.options import scaled_values, spaced_integers
from terrascope.tasks.wording import fill, is_plural, name_class, name_image


@pytest.mark.parametrize("nomenclature", NOMENCLATURES.values(), ids=NOMENCLATURES)
def test_a_question_calls_a_class_by_its_plural_or_by_what_is_true_of_all_of_it(nomenclature: Nomenclature) -> None:
    rng = np.random.default_rng(0)
    for land_class in nomenclature.classes:
        words = {name_class(land_class, rng) for _ in range(200)}
        assert words == {land_class.plural, *land_class.aliases}
        assert not words & set(land_class.narrower)


def test_words_for_an_image() -> None:
    rng = np.random.default_rng(0)
    assert name_image(0, 1, rng) == "the image"
    assert {name_image(1, 2, rng) for _ in range(40)} == {"image 2", "the second image"}
    assert name_image(7, 9, rng) == "image 8"


def test_verbs_agree_with_their_class() -> None:
    rng = np.random.default_rng(0)
    template = ("{does} {first} border {second}{in_image}?",)
    assert fill(template, rng, date=0, num_dates=1, first="crops", second="water") == "Do crops border water?"
    assert fill(template, rng, date=0, num_dates=1, first="grass", second="water") == "Does grass border water?"
    assert is_plural("water bodies") and not is_plural("grass")


@given(st.integers(0, 100), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_spaced_integers_keep_their_distance(value: int, gap: int, seed: int) -> None:
    others = spaced_integers(value, np.random.default_rng(seed), num=3, gap=gap, low=0, high=100)
    assert others is not None
    values = sorted([value, *others])
    assert values[0] >= 0 and values[-1] <= 100
    assert min(np.diff(values)) >= gap


def test_integers_that_do_not_fit_are_refused() -> None:
    assert spaced_integers(5, np.random.default_rng(0), num=3, gap=4, low=0, high=10) is None


@given(st.floats(0.01, 1e9), st.floats(1.0, 20.0), st.integers(0, 2**32 - 1))
def test_scaled_values_keep_their_ratio(value: float, room: float, seed: int) -> None:
    high = value * room
    others = scaled_values(value, np.random.default_rng(seed), num=3, ratios=(1.4, 2.2), high=high)
    values = np.sort([value, *others])
    assert len(values) == 4 and values[-1] <= high * (1 + 1e-12)
    assert (values[1:] / values[:-1]).min() >= 1.4 - 1e-9
    assert len({format_area(option) for option in values}) == 4


def test_the_truth_has_every_rank() -> None:
    rng = np.random.default_rng(0)
    ranks = {
        sorted([50, *(spaced_integers(50, rng, num=3, gap=8, low=0, high=100) or [])]).index(50) for _ in range(60)
    }
    assert ranks == {0, 1, 2, 3}
    ranks = {sum(other < 50 for other in scaled_values(50, rng, num=3, ratios=(1.4, 2.2))) for _ in range(60)}
    assert ranks == {0, 1, 2, 3}

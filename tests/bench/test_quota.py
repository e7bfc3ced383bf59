"""Which drafts are taken: at most so many, classes and places in turn, yes as often as no, whatever the order."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.bench.quota import Draft, even_places, take


def draft(
    key: str, *classes: str, truth: str = "5%", place: str | None = None, attempt: int = 0, rank: int = 0
) -> Draft:
    return Draft("made", key, place or key, "coverage", attempt, classes, truth, rank)


@st.composite
def drafts(draw: st.DrawFn) -> list[Draft]:
    """Of up to 20 chips of five places; about one of three classes, answered with a number, or with Yes or No."""
    answers = draw(st.sampled_from([("5%",), ("Yes", "No"), ("Yes",)]))
    made = draw(st.lists(st.tuples(st.integers(0, 19), st.sampled_from("abc"), st.sampled_from(answers)), max_size=60))
    return [
        draft(str(chip), name, truth=truth, place=str(chip % 5), attempt=number)
        for number, (chip, name, truth) in enumerate(made)
    ]


@given(drafts(), st.integers(0, 25), st.integers(1, 3), st.none() | st.integers(1, 4), st.randoms())
@settings(max_examples=200, deadline=None)
def test_what_is_taken_keeps_to_all_bounds_and_does_not_depend_on_the_order(
    made: list[Draft],
    num: int,
    per_chip: int,
    per_place: int | None,
    random: object,
) -> None:
    taken = take(made, num, seed=3, per_chip=per_chip, per_place=per_place)
    shuffled = list(made)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert take(shuffled, num, seed=3, per_chip=per_chip, per_place=per_place) == taken
    assert len(set(taken)) == len(taken) <= num and set(taken) <= set(made)
    assert all(count <= per_chip for count in Counter(one.chip for one in taken).values())
    if per_place is not None:
        assert all(count <= per_place for count in Counter(one.place for one in taken).values())
    answers = Counter(one.truth for one in taken)
    if not answers["5%"]:
        assert abs(answers["Yes"] - answers["No"]) <= 1
    elif per_place is None:
        distinct = {(one.chip, one.classes) for one in made}
        possible = sum(min(per_chip, count) for count in Counter(chip for chip, _ in distinct).values())
        assert len(taken) == min(num, possible)


def test_classes_take_turns_however_common_they_are() -> None:
    made = [draft(str(number), "water") for number in range(90)] + [draft(f"r{number}", "snow") for number in range(10)]
    taken = take(made, 20, seed=0)
    assert Counter(one.classes for one in taken) == {("water",): 10, ("snow",): 10}
    # The rest of the common one is taken once the rare one is used up.
    assert Counter(one.classes for one in take(made, 40, seed=0)) == {("water",): 30, ("snow",): 10}


def test_places_take_turns_however_many_chips_they_have() -> None:
    made = [draft(str(number), "water", place="large" if number < 40 else f"p{number}") for number in range(50)]
    taken = take(made, 15, seed=0)
    assert Counter(one.place for one in taken)["large"] == 5
    assert len({one.place for one in taken}) == 11


def test_the_right_option_is_the_smallest_no_more_often_than_any_other() -> None:
    small = [draft(f"s{number}", "flood") for number in range(10)]
    large = [draft(f"l{number}", "water", attempt=rank, rank=rank) for number in range(30) for rank in range(4)]
    assert Counter(one.rank for one in take(small + large, 40, seed=0)) == dict.fromkeys(range(4), 10)
    # Where it must be the smallest more often, the others stay even.
    few = [one for one in large if int(one.key[1:]) < 6]
    assert Counter(one.rank for one in take(small + few, 16, seed=0)) == {0: 10, 1: 2, 2: 2, 3: 2}


def test_one_answer_is_not_used_up_by_chips_that_could_give_the_other() -> None:
    only_yes = [draft(f"y{number}", "a", truth="Yes") for number in range(5)]
    either = [
        draft(f"e{number}", "a", truth=truth, attempt=attempt)
        for number in range(5)
        for attempt, truth in enumerate(("Yes", "No"))
    ]
    taken = take(only_yes + either, 100, seed=1)
    assert Counter(one.truth for one in taken) == {"Yes": 5, "No": 5}


def test_without_a_single_no_there_is_no_yes() -> None:
    assert take([draft(str(number), "a", truth="Yes") for number in range(9)], 9, seed=0) == []


def test_another_seed_takes_others() -> None:
    made = [draft(str(number), "water") for number in range(50)]
    assert {one.key for one in take(made, 10, seed=0)} != {one.key for one in take(made, 10, seed=1)}


def test_right_options_stand_everywhere_equally_often() -> None:
    places = even_places(["5%"] * 102, 4, seed=0, task="coverage")
    assert sorted(Counter(places).values()) == [25, 25, 26, 26]
    assert places != sorted(places)
    assert (
        places
        == even_places(["5%"] * 102, 4, seed=0, task="coverage")
        != even_places(["5%"] * 102, 4, seed=1, task="coverage")
    )
    assert even_places([], 4, seed=0, task="coverage") == []


def test_neither_answer_has_a_letter_of_its_own() -> None:
    truths = ["Yes", "No"] * 11
    places = np.array(even_places(truths, 2, seed=0, task="boundary"))
    yes = np.array(truths) == "Yes"
    assert {int(places[yes].sum()), int(places[~yes].sum())} == {5, 6}
    assert places.sum() == 11

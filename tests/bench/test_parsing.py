"""The three rules of reading, on what models write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrascope.bench.parsing import (
    RULES,
    Rule,
    edit_distance,
    is_free_right,
    read_choice,
    read_free,
    read_value,
)

OPTIONS = ("10%", "20%", "30%", "40%")
TREES = ("Coniferous", "Mixed", "Shrub", "Deciduous")


@pytest.mark.parametrize(
    ("text", "paper", "release", "strict"),
    [
        ("B", "B", "B", "B"),
        ("B.", "B", "B", "B"),
        ("(B)", "B", "B", "B"),
        ("[ B ].", "B", "B", "B"),
        ("  B\n", "B", "B", "B"),
        ("<answer>B</answer>", "B", "B", "B"),
        ("<think>A is small.</think><answer> C </answer>", "C", "C", "C"),
        ("<think>A is small.</think> C", "C", "C", "C"),
        ("<answer>D", "D", "D", "D"),
        # A thought that was cut off is no answer; what stands before it is one.
        ("<think>A is small, so", None, None, None),
        ("<think>A or B hmm", None, None, None),
        ("C <think>A is small, so", "C", "C", "C"),
        ("<think>A?</think> B <think>or C", "B", "B", "B"),
        # Some prompts open the thoughts themselves, so that only their end is written.
        ("A or B, hmm.</think> C", "C", "C", "C"),
        ("A or B, hmm.</think>", None, None, None),
        ("<think>A?</think> no, A</think> B", "A", None, None),
        ("B) 20%", "B", "B", None),
        ("B 20%", "B", "B", None),
        ("**B**", "B", "B", None),
        ("The answer is C.", "C", None, None),
        ("Option B, not C", "B", None, None),
        # Two letters: the first.
        ("A or B", "A", "A", None),
        ("C, D", "C", "C", None),
        # "A" as an article: a known fault of both published rules, which the strict one does not share.
        ("A large lake covers it, so C", "A", "A", None),
        ("It is a large lake", None, None, None),
        # Lower case: alone it can be nothing else, except by the letter of the paper's pattern.
        ("b", None, "B", "B"),
        ("b) 20%", None, "B", None),
        ("a large lake", None, None, None),
        # The text of an option.
        ("20%", None, None, "B"),
        ("20%.", None, None, "B"),
        ("about 20%", None, None, None),
        # An option outside, and what is no letter at all.
        ("E", None, None, None),
        ("F, or rather B", "B", None, None),
        ("", None, None, None),
        ("   ", None, None, None),
        ("<answer></answer>", None, None, None),
        # What stands outside of an answer tag is no answer.
        ("B <answer></answer>", None, None, None),
        # Other languages: letters that only look alike are none, and a letter within a word stays within it.
        ("Ich weiß es nicht", None, None, None),
        ("Die Antwort ist B.", "B", None, None),
        ("答案是B", None, None, None),
        ("В", None, None, None),
        ("Bär", None, None, None),
        ("DB", None, None, None),
        ("\ud800", None, None, None),
    ],
)
def test_every_rule_reads_what_was_written(
    text: str, paper: str | None, release: str | None, strict: str | None
) -> None:
    assert {rule: read_choice(text, OPTIONS, rule) for rule in RULES} == {
        "paper": paper,
        "release": release,
        "strict": strict,
    }


def test_a_word_that_begins_like_an_option_is_not_that_option() -> None:
    # The published script takes the first letter of "Deciduous" and "Coniferous" for options D and C.
    options = ("Deciduous", "Coniferous", "Shrub", "Crops")
    assert read_choice("Deciduous", options, "release") is None
    assert read_choice("Coniferous forest", options, "release") is None
    assert read_choice("Deciduous", options, "release", by_text=True) == "A"
    assert read_choice("Coniferous forest", options, "release", by_text=True) == "B"
    assert read_choice("Deciduous", options, "strict") == "A"
    assert read_choice("Deciduous", options, "paper") is None
    assert read_choice("Deciduous", options, "paper", by_text=True) == "A"


def test_by_text_a_letter_goes_before_the_nearest_option() -> None:
    assert read_choice("D", TREES, "release", by_text=True) == "D"
    assert read_choice("deciduos", TREES, "release", by_text=True) == "D"
    assert read_choice("Mixture", TREES, "release", by_text=True) == "B"
    assert read_choice("", TREES, "release", by_text=True) is None
    # The published script would take the nearest option of this too.
    assert (
        read_choice("The picture shows many things of which none is clear to me", TREES, "release", by_text=True)
        is None
    )


@pytest.mark.parametrize("rule", RULES)
def test_as_many_letters_count_as_there_are_options(rule: Rule) -> None:
    assert read_choice("C", ("yes", "no"), rule) is None
    assert read_choice("E", ("1", "2", "3", "4", "5"), rule) == "E"
    assert read_choice("A", (), rule) is None


def test_options_of_one_text_cannot_be_told_apart_by_it() -> None:
    assert read_choice("tree", ("tree", "Tree."), "strict") is None
    # An option that is a letter: the letter goes before the text.
    assert read_choice("A", ("B", "A"), "strict") == "A"


@given(st.text(), st.sampled_from(RULES), st.booleans(), st.integers(0, 30))
def test_any_text_is_read_as_an_option_or_as_none(text: str, rule: Rule, by_text: bool, num: int) -> None:
    options = tuple(f"option {place}" for place in range(num))
    choice = read_choice(text, options, rule, by_text=by_text)
    assert choice is None or choice in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:num]


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_the_edit_distance_by_its_definition(first: str, second: str) -> None:
    def distance(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        if a[0] == b[0]:
            return distance(a[1:], b[1:])
        return 1 + min(distance(a[1:], b), distance(a, b[1:]), distance(a[1:], b[1:]))

    assert edit_distance(first, second) == distance(first, second)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("34%", "%", 34.0), ("less than 1%", "%", 1.0), ("12 ha", "m2", 120_000.0), ("1.5 km2", "m2", 1_500_000.0),
        ("900 m2", "m2", 900.0), ("1.2 km", "m", 1200.0), ("7", "count", 7.0), ("7 buildings", "count", 7.0),
        ("12 ha", "%", None), ("34%", "m", None), ("water", "count", None), ("", "%", None),
    ],
)  # fmt: skip
def test_a_free_number_is_read_in_its_unit(text: str, unit: str, value: float | None) -> None:
    assert read_value(text, unit) == (None if value is None else pytest.approx(value))


def test_a_free_answer_is_what_stands_in_its_tag() -> None:
    assert read_free("<think>so</think><answer>34%</answer>", "%") == "34%"
    assert read_free("<answer>many</answer>", "%") is None
    assert read_free("yes", None) == "yes"
    assert read_free(" ", None) is None


@pytest.mark.parametrize(
    ("said", "truth", "value", "unit", "right"),
    [
        ("yes.", "Yes", None, None, True),
        ("no", "Yes", None, None, False),
        ("37%", "34%", 34.2, "%", True),
        ("38%", "34%", 34.2, "%", False),
        ("11 ha", "10 ha", 100_000.0, "m2", True),
        ("11.1 ha", "10 ha", 100_000.0, "m2", False),
        ("many", "20", 20.0, "count", False),
    ],
)
def test_a_free_answer_is_right_within_the_stated_bounds(
    said: str, truth: str, value: float | None, unit: str | None, right: bool
) -> None:
    assert is_free_right(said, truth, value=value, unit=unit) is right

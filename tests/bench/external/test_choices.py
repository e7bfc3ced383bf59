"""Options and answers in the forms in which benchmarks write them."""

from __future__ import annotations

import pytest

from terrascope.bench.external.benchmark import Unusable
from terrascope.bench.external.choices import (
    check_options,
    find_letter,
    find_text,
    list_options,
    split_options,
    stated_gsd_m,
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"A": "1%", "B": "2%", "C": None, "D": ""}, {"A": "1%", "B": "2%"}),
        ('{"A": "1%", "B": null, "C": "2%"}', {"A": "1%", "C": "2%"}),
        ('["x", "y"]', {"A": "x", "B": "y"}),
        (["x", "y", "z"], {"A": "x", "B": "y", "C": "z"}),
        ([("A", "x"), ("B", None)], {"A": "x"}),
        ({"a": 3, "b": 4.5}, {"A": "3", "B": "4.5"}),
        (None, {}),
        ("null", {}),
        (["x"] * 6, {}),
    ],
)
def test_options_in_any_form(given: object, expected: dict[str, str]) -> None:
    assert list_options(given) == expected


@pytest.mark.parametrize("given", ["{A: 1}", "7", 7, '"A"'])
def test_what_holds_no_options(given: object) -> None:
    with pytest.raises(Unusable, match="options of an unknown form"):
        list_options(given)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A. None B. One to three C. More", ("None", "One to three", "More")),
        ("A. 0\nB. 3\nC. 12", ("0", "3", "12")),
        ("(A) 10, (B) 20, (C) 30", ("10", "20", "30")),
        ("A: Plan B. is better; B: no", ("Plan", "is better; B: no")),
        ("A) a road, B) a river", ("a road", "a river")),
        ("A. 1 B. 2 C. 3 D. 4 E. 5", ("1", "2", "3", "4", "5")),
        ("A. USA. B. UK.", ("USA.", "UK.")),
    ],
)
def test_options_of_one_text(text: str, expected: tuple[str, ...]) -> None:
    assert split_options(text) == expected


@pytest.mark.parametrize("text", ["", "B. x", "none", "It is A. no B. yes"])
def test_a_text_without_options(text: str) -> None:
    with pytest.raises(Unusable, match="options missing"):
        split_options(text)


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ([], "options missing"),
        (["x"], "options missing"),
        (["x", " "], "options missing"),
        (["x", "y", "x "], "an option given twice"),
        (list("uvwxyz"), "more than 5 options"),
        (["B. x", "A. y"], "options that cannot be told apart"),
        (["A. x", "B. x"], "options that cannot be told apart"),
    ],
)
def test_options_that_cannot_be_offered(texts: list[str], why: str) -> None:
    with pytest.raises(Unusable, match=f"^{why}$"):
        check_options(texts)


def test_options_lose_their_letters() -> None:
    assert check_options(["A. yes", "B. no"]) == ("yes", "no")
    assert check_options(["None", "Two"]) == ("None", "Two")


def test_an_answer_by_letter() -> None:
    options = ("0", "A", "12")  # the letters of the file are A, C and D, as its B is null
    for said, expected in {"A": "0", "c": "A", "(D)": "12", "D.": "12", "D. 12": "12", "12": "12", " C ": "A"}.items():
        assert find_letter(said, "ACD", options) == expected, said
    for said in ("B", "E", "13", "D. 13", "AC"):
        with pytest.raises(Unusable, match="an answer outside the options"):
            find_letter(said, "ACD", options)
    for said in (None, "", "  "):
        with pytest.raises(Unusable, match="answer missing"):
            find_letter(said, "ACD", options)


def test_an_answer_by_text() -> None:
    options = ("None", "two", "B", "Fully usable: clear")
    for said, expected in {
        "None": "None", "Two": "two", "B": "B", "A": "None", "D. Fully usable: clear": "Fully usable: clear", "C": "B",
    }.items():  # fmt: skip
        assert find_text(said, options) == expected, said
    for said in ("Three", "E", "A. two"):
        with pytest.raises(Unusable, match="an answer outside the options"):
            find_text(said, options)
    with pytest.raises(Unusable, match="an answer outside the options"):
        find_text("YES", ("yes", "Yes"))


@pytest.mark.parametrize(
    ("question", "size"),
    [
        ("Each pixel is 10m per pixel.", 10.0),
        ("At 0.5 m/pixel, how large is the road?", 0.5),
        ("The GSD is 0.3 m. How long?", 0.3),
        ("With a ground sampling distance (GSD) of 10 meters, what area?", 10.0),
        ("Spatial resolution: 30 m", 30.0),
        ("How many houses are within 10 m of the river?", None),
        ("Is a resolution of 10 % enough?", None),
        ("GSD of 0 m", None),
    ],
)
def test_a_pixel_size_that_a_question_states(question: str, size: float | None) -> None:
    assert stated_gsd_m(question) == size

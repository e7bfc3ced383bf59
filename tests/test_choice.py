"""Free answers and the options nearest to them."""

from __future__ import annotations

import pytest

from terrascope.choice import nearest_option


@pytest.mark.parametrize(
    ("answer", "options", "place"),
    [
        ("27%", ("5%", "30%", "60%"), 1),
        ("less than 1%", ("12%", "0%", "4%"), 1),
        ("less than 1%", ("less than 1%", "0%"), 0),
        ("9 ha", ("11 km2", "0.1 km2", "70 ha"), 1),
        ("95 m", ("1 km", "300 m", "90 m"), 2),
        ("12", ("3", "6", "17", "11"), 3),
        ("Yes", ("No", "Yes"), 1),
        ("No", ("Yes", "No"), 1),
        ("tree", ("water", "forest"), 1),
        ("the water", ("trees", "lake"), 1),
        ("northern part", ("southern part", "northwestern part", "central part"), 1),
        ("central part", ("southern part", "northwestern part", "central part"), 2),
        ("15%", ("10%", "20%"), 0),
    ],
)
def test_the_nearest_option(answer: str, options: tuple[str, ...], place: int) -> None:
    assert nearest_option(answer, options) == place


@pytest.mark.parametrize(
    ("answer", "options"),
    [("27%", ("3 ha", "5 ha")), ("Yes", ("10%", "20%")), ("", ("A lake", "A forest")), ("water", ("crop", "tree"))],
)
def test_what_cannot_be_compared_has_no_nearest(answer: str, options: tuple[str, ...]) -> None:
    assert nearest_option(answer, options) is None

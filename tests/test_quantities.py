"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrascope.quantities import format_area, format_coverage, format_distance, format_objects, format_share
from terrascope.trace import METRES, SQUARE_METRES, stated_numbers


@pytest.mark.parametrize(
    ("coverage", "text"),
    [(0.0, "0%"), (0.0099, "less than 1%"), (0.01, "1%"), (0.344, "34%"), (0.999, "100%"), (1.0, "100%")],
)
def test_shares(coverage: float, text: str) -> None:
    assert format_share(coverage) == text


@pytest.mark.parametrize(
    ("area_m2", "text"),
    [
        (0.0, "0 m2"),
        (0.25, "0.25 m2"),
        (4321, "4300 m2"),
        (9940, "9900 m2"),
        (9960, "1 ha"),
        (66_000, "6.6 ha"),
        (2_204_000, "220 ha"),
        (9_960_000, "10 km2"),
        (15_513_600, "16 km2"),
        (123e9, "120000 km2"),
    ],
)
def test_areas(area_m2: float, text: str) -> None:
    assert format_area(area_m2) == text


@pytest.mark.parametrize(
    ("distance_m", "text"),
    [(0.0, "0 m"), (6.08, "6.1 m"), (44.3, "44 m"), (124, "120 m"), (994, "990 m"), (996, "1 km"), (15_260, "15 km")],
)
def test_distances(distance_m: float, text: str) -> None:
    assert format_distance(distance_m) == text


@given(st.floats(0.01, 5.1e14), st.floats(0.01, 4e7))
def test_formatted_numbers_are_read_back_within_five_percent(area_m2: float, distance_m: float) -> None:
    """Up to the surface of the Earth and the length of its equator."""
    (area,) = stated_numbers(f"The area is {format_area(area_m2)}.")
    assert area.value * SQUARE_METRES[area.unit] == pytest.approx(area_m2, rel=0.0501)
    (distance,) = stated_numbers(f"They are {format_distance(distance_m)} apart.")
    assert distance.value * METRES[distance.unit] == pytest.approx(distance_m, rel=0.0501)


@pytest.mark.parametrize(
    ("coverage", "text"),
    [(0.0, "0.0 %"), (0.0004, "< 0.1 %"), (0.0005, "0.1 %"), (0.125, "12.5 %"), (1.0, "100.0 %")],
)
def test_a_measured_share_is_zero_only_where_there_is_nothing(coverage: float, text: str) -> None:
    assert format_coverage(coverage) == text


def test_objects_are_counted_in_words() -> None:
    assert [format_objects(n) for n in (0, 1, 2)] == ["0 objects", "1 object", "2 objects"]

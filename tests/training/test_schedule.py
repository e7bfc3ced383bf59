"""The learning rate's course: where it begins, what it reaches, and where it ends."""

from __future__ import annotations

import pytest

from terrascope.training.schedule import Course, rate_share


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        ("cosine", [0.5, 1, 1, 0.853553, 0.5, 0.146447]),
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("constant", [0.5, 1, 1, 1, 1, 1]),
    ],
)
def test_the_rate_begins_above_zero_and_falls_by_its_course(course: Course, expected: list[float]) -> None:
    shares = [rate_share(step, num_steps=6, num_warmup=2, course=course) for step in range(6)]
    assert shares == pytest.approx(expected, abs=1e-6)
    # The library asks once more, after the last step.
    assert rate_share(6, num_steps=6, num_warmup=2, course=course) == (1 if course == "constant" else 0)


def test_steps_that_are_all_warm_up_reach_the_peak() -> None:
    assert [rate_share(step, num_steps=1, num_warmup=1, course="cosine") for step in (0, 1)] == [1, 1]

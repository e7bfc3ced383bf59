"""Views cover an axis, overlap, and their weights are shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrascope.model.views import Axis


@given(st.integers(1, 700), st.integers(2, 200), st.data())
def test_views_cover_the_axis_and_weights_are_shares(length: int, view: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, view - 1))
    axis = Axis(length, view, overlap)
    assert axis.starts[0] == 0 and axis.slice(len(axis.starts) - 1).stop == length
    steps = np.diff(axis.starts)
    assert (steps > 0).all() and (steps <= view - overlap).all()
    total = np.zeros(length)
    for number, weights in enumerate(axis.weights):
        assert (weights > 0).all()
        total[axis.slice(number)] += weights
    assert total == pytest.approx(np.ones(length), abs=1e-5)


def test_no_more_views_than_needed() -> None:
    assert Axis(256, 256, 64).starts == (0,)
    assert Axis(257, 256, 64).starts == (0, 1)
    assert Axis(448, 256, 64).starts == (0, 192)
    assert Axis(449, 256, 64).starts == (0, 96, 193)
    assert Axis(100, 256, 64).starts == (0,) and Axis(100, 256, 64).size == 100


def test_weights_fall_linearly_over_the_overlap() -> None:
    first, second = Axis(6, 4, 2).weights
    assert first.tolist() == pytest.approx([1, 1, 0.75, 0.25])
    assert second.tolist() == pytest.approx([0.25, 0.75, 1, 1])


def test_views_that_only_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="views of 8 pixels cannot overlap by 8"):
        Axis(100, 8, 8)

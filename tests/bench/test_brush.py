"""The code of a brush: known bytes, round trips, and what Label Studio's page itself writes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from terrascope.bench.brush import decode_brush, encode_brush
from terrascope.errors import SampleError

HEAD_OF_6 = "00000000000000000000000000011000" + "00111" + "0010" + "0011" + "0111" + "1111"
"""24 values of 8 bits, run sizes 3, 4, 8 and 16: the head of the code of six pixels."""


def to_bytes(bits: str) -> list[int]:
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def test_known_bytes() -> None:
    mask = np.array([[False, True, True], [True, True, False]])
    runs = "1" + "00" + "011" + "00000000" + "1" + "01" + "1111" + "11111111" + "1" + "00" + "011" + "00000000"
    assert encode_brush(mask) == to_bytes(HEAD_OF_6 + runs)
    # What label_studio_sdk 2.1.2 makes of the same mask; where its last byte is full, it adds an empty one.
    assert [*encode_brush(mask), 0] == [0, 0, 0, 24, 57, 27, 252, 96, 23, 255, 227, 0, 0]


def test_the_alpha_of_a_colour_decides() -> None:
    # Single values: a pixel in a colour, half transparent, and one that nothing is left of but its colour.
    painted = "0" + "00" + "011" + "".join(f"{value:08b}" for value in (250, 100, 3, 128))
    transparent = "0" + "00" + "011" + "".join(f"{value:08b}" for value in (250, 100, 3, 0))
    # As Label Studio's page writes the soft edge of a stroke: all channels alike.
    edge = "1" + "00" + "011" + f"{32:08b}"
    rest = "1" + "01" + f"{11:04b}" + "00000000"
    code = to_bytes(HEAD_OF_6 + painted + transparent + edge + rest)
    assert decode_brush(code, (2, 3)).tolist() == [[True, False, True], [False, False, False]]


@given(arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 40))))
def test_round_trip(mask: np.ndarray) -> None:
    code = encode_brush(mask)
    assert set(map(type, code)) == {int} and min(code) >= 0 and max(code) <= 255
    assert np.array_equal(decode_brush(code, mask.shape), mask)


@pytest.mark.parametrize("num", [1, 2, 3, 4, 5, 64, 65, 16384, 16385, 32768, 50000])
def test_runs_of_every_size(num: int) -> None:
    mask = np.zeros((2, num + 1), bool)
    mask[0, :num] = True
    assert np.array_equal(decode_brush(encode_brush(mask), mask.shape), mask)


@pytest.mark.parametrize("size", [(1, 1), (400, 700)])
@pytest.mark.parametrize("value", [False, True])
def test_masks_of_one_value(size: tuple[int, int], value: bool) -> None:
    assert decode_brush(encode_brush(np.full(size, value)), size).mean() == value


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (encode_brush(np.ones((2, 2), bool)), "a brush of 4 pixels does not fit an image of 2 x 3"),
        (encode_brush(np.eye(2, 3, dtype=bool))[:-2], "cut short: its code does not fill 2 x 3"),
        (to_bytes(HEAD_OF_6), "cut short"),
        (to_bytes(HEAD_OF_6 + "1" + "10" + f"{24:08b}" + "00000000"), "does not fill"),
        ([0, 0], "does not even hold its size"),
        ([], "does not even hold its size"),
        ([300] * 20, "whole numbers from 0 to 255"),
        ("abc", "whole numbers from 0 to 255"),
        (None, "whole numbers from 0 to 255"),
        ([[1, 2], [3, 4]], "does not even hold its size"),
        (to_bytes(HEAD_OF_6.replace("00111", "01111", 1)), "values of 16 bits"),
    ],
)
def test_bad_codes(code: object, said: str) -> None:
    with pytest.raises(SampleError, match=said):
        decode_brush(code, (2, 3))  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 255), max_size=40))
def test_any_bytes_give_a_mask_or_one_sentence(tail: list[int]) -> None:
    try:
        assert decode_brush(to_bytes(HEAD_OF_6) + tail, (2, 3)).shape == (2, 3)
    except SampleError as error:
        assert str(error).startswith("a brush")

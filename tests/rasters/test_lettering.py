"""Words on pictures: lines that fit, letters of many scripts, and no text that breaks the drawing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrascope.rasters.lettering import draw_line, wrap_lines


def drawn(text: str) -> np.ndarray:
    """bool `[H, W]`: True where the text left ink."""
    paper = np.full((40, 400, 3), 255, np.uint8)
    draw_line(paper, text, 10, 10, size=16, color=(0, 0, 0))
    return paper.min(axis=2) < 128


@pytest.mark.parametrize("letter", ["ß", "Ł", "é", "²", "×", "–", "Ж", "λ", "水", "한"])
def test_letters_beyond_ascii_are_drawn_and_not_replaced(letter: str) -> None:
    ink = drawn(letter)
    assert ink.any()
    assert not np.array_equal(ink, drawn("?"))


def test_a_line_begins_where_it_should() -> None:
    rows, columns = np.nonzero(drawn("HHH"))
    assert abs(columns.min() - 10) <= 3
    assert rows.min() >= 10 and rows.max() <= 28


@given(st.text(max_size=60), st.integers(20, 300))
def test_any_text_is_wrapped_into_lines_that_fit_and_loses_nothing(text: str, width: int) -> None:
    lines = wrap_lines(text, size=14, width=width)
    face = cv2.FontFace("sans")
    for line in lines:
        assert line.isprintable()
        assert len(line) == 1 or cv2.getTextSize((0, 0), line, (0, 0), face, 14, 400)[2] <= width
        drawn(line)
    plain = "".join(c if c.isprintable() else " " for c in text)
    assert "".join(lines).replace(" ", "") == "".join(plain.split())


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "\n", ""])
def test_what_is_no_text_is_drawn_as_nothing_or_a_gap(text: str) -> None:
    assert np.array_equal(drawn(text), drawn(text.replace("\ud800", " ").replace("\x00", " ").replace("\n", " ")))


def test_thousands_of_letters_without_a_space_take_no_time() -> None:
    lines = wrap_lines("x" * 5000, size=14, width=300)
    assert "".join(lines) == "x" * 5000
    # Letters of one width fill every line alike; broken one by one from the end, this took half a minute.
    assert len({len(line) for line in lines[:-1]}) == 1

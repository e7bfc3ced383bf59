"""Where in the image something lies, as a person would put it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from terrascope.terracot.layout import Cover
from terrascope.terracot.nouns import Noun, Wording, capital

EVEN_CELLS = (0.04, 0.22)
"""Least and largest share of a class in any ninth of the image for it to be all over the image."""

IN_ONE_CELL, IN_ONE_HALF, AT_EDGE, IN_BAND = 0.6, 0.75, 0.8, 0.6
"""Shares of a class that must lie in a ninth, a half, the outer fifth or the middle third to be said to lie there."""

BULK = 0.75
"""A class lies north of another if this share of it lies north of the same share of the other."""

SIDES = (("north", "south"), ("west", "east"))


@dataclass(frozen=True)
class Place:
    """Where a class lies: the kind of statement, and the direction that it names (`northwest`, `north`, or none)."""

    kind: Literal["part", "center", "edge", "half", "corner", "band", "everywhere", "several"]
    direction: str = ""


@lru_cache(maxsize=32)
def place_of(cover: Cover) -> Place:
    """The narrowest statement that holds of where a class lies."""
    cells = cover.cells(3)
    row, column = (int(index) for index in np.unravel_index(int(cells.argmax()), (3, 3)))
    if cells[row, column] >= IN_ONE_CELL:
        direction = ("north", "", "south")[row] + ("west", "", "east")[column]
        return Place("part", direction) if direction else Place("center")
    for axis, counts in enumerate((cover.row_counts, cover.column_counts)):
        low, high = _outer_shares(cover, counts, axis, 0.2)
        if max(low, high) >= AT_EDGE and min(cells.sum(axis=axis)) >= 0.15:
            return Place("edge", SIDES[axis][int(high > low)])
    halves = []
    for axis, counts in enumerate((cover.row_counts, cover.column_counts)):
        low, high = _outer_shares(cover, counts, axis, 0.5)
        if max(low, high) >= IN_ONE_HALF:
            halves.append(SIDES[axis][int(high > low)])
    if halves:
        return Place("corner" if len(halves) == 2 else "half", "".join(halves))
    if EVEN_CELLS[0] <= cells.min() and cells.max() <= EVEN_CELLS[1]:
        return Place("everywhere")
    for axis, words in enumerate(("from west to east", "from north to south")):
        along = cells.sum(axis=axis)
        if cells.sum(axis=1 - axis)[1] >= IN_BAND and along.min() >= 0.15:
            return Place("band", words)
    return Place("several")


def say_place(place: Place, noun: Noun, wording: Wording) -> str:
    """What follows the class or its pronoun: `lies in the northern half of the image`."""
    pick, verb, d = wording.pick, noun.verb, place.direction
    if place.kind == "part":
        return pick(
            f"{verb('lie')} in the {d}ern part of the image",
            f"{verb('lie')} mainly in the {d}",
            f"{noun.is_} found in the {d}ern part",
            f"{verb('lie')} mostly in the {d}ern part",
            f"{noun.is_} concentrated in the {d}",
        )
    if place.kind == "center":
        return pick(
            f"{verb('lie')} in the center of the image",
            f"{noun.is_} concentrated around the center",
            f"{verb('lie')} mostly in the central part",
        )
    if place.kind == "edge":
        return pick(
            f"{verb('run')} along the {d}ern edge of the image",
            f"{verb('stretch')} along the {d}ern edge",
            f"{verb('line')} the {d}ern edge of the image",
        )
    if place.kind in ("half", "corner"):
        return pick(
            f"{verb('lie')} mainly in the {d}",
            f"{verb('lie')} mostly in the {d}{'ern half' if place.kind == 'half' else ''}",
            f"{noun.is_} mainly found in the {d}",
            f"{noun.is_} concentrated in the {d}{'ern half of the image' if place.kind == 'half' else ''}",
        )
    if place.kind == "band":
        return pick(
            f"{verb('cross')} the middle of the image {d}",
            f"{verb('stretch')} through the middle of the image {d}",
        )
    if place.kind == "everywhere":
        return pick(
            f"{noun.is_} spread over the whole image",
            f"{verb('occur')} all over the image",
            f"{noun.is_} found throughout the image",
            f"{noun.is_} distributed across the whole scene",
        )
    return pick(
        f"{verb('occur')} in several places of the image",
        f"{noun.is_} spread over much of the image",
        f"{noun.is_} found in various places",
    )


def adverb(place: Place, wording: Wording) -> str:
    """Where something is, as an addition to a sentence: `in the north`, `along the southern edge`; may be empty."""
    d = place.direction
    if place.kind == "part":
        return wording.pick(f"in the {d}", f"in the {d}ern part")
    if place.kind == "center":
        return wording.pick("in the center", "around the center")
    if place.kind == "edge":
        return f"along the {d}ern edge"
    if place.kind in ("half", "corner"):
        return wording.pick(f"mainly in the {d}", f"mostly in the {d}")
    if place.kind == "band":
        return f"across the middle {d}"
    return wording.pick("throughout the scene", "all over the image") if place.kind == "everywhere" else ""


def direction_between(a: Cover, b: Cover) -> str:
    """The direction in which the bulk of `a` lies from the bulk of `b` (`north`, `southeast`); empty if they mix."""
    direction = ""
    for (near, far), (first, last), (other_first, other_last) in zip(SIDES, _bulk(a), _bulk(b), strict=True):
        if last < other_first:
            direction += near
        elif first > other_last:
            direction += far
    return direction


def opening(place: Place) -> str:
    """The place at the beginning of a sentence: `In the north, `; empty where it names no direction."""
    if place.kind in ("part", "half", "corner"):
        return capital(f"in the {place.direction}, ")
    return f"Along the {place.direction}ern edge, " if place.kind == "edge" else ""


@lru_cache(maxsize=32)
def _bulk(cover: Cover) -> tuple[tuple[int, int], tuple[int, int]]:
    """The rows, and the columns, before which 1 - BULK and BULK of a class lie."""
    reaches = (np.array([1 - BULK, BULK]) * cover.num_pixels).astype(np.int64)
    rows, columns = (np.searchsorted(np.cumsum(counts), reaches) for counts in (cover.row_counts, cover.column_counts))
    return (int(rows[0]), int(rows[1])), (int(columns[0]), int(columns[1]))


def _outer_shares(cover: Cover, counts: NDArray[np.int64], axis: int, depth: float) -> tuple[float, float]:
    """The shares of a class in the outer `depth` (0-1) of the frame at either end of an axis (0: rows)."""
    frame = cover.frame
    start, stop = (frame.top, frame.bottom) if axis == 0 else (frame.left, frame.right)
    reach = round(depth * (stop - start))
    low, high = counts[start : start + reach].sum(), counts[stop - reach : stop].sum()
    return float(low) / cover.num_pixels, float(high) / cover.num_pixels

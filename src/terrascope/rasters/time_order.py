"""The days of images, and the order of pairs in time."""

from __future__ import annotations

import datetime
import os
import re
from collections import Counter
from collections.abc import Sequence

from terrascope.errors import SceneError
from terrascope.scene import Observation


def check_days(dates: object, num_dates: int) -> list[datetime.date | None]:
    """The days that a caller states, one per pair; None for each if he states none.

    Raises:
        SceneError: no list of days, or not one per pair.
    """
    if dates is None:
        return [None] * num_dates
    if isinstance(dates, str | bytes) or not isinstance(dates, Sequence):
        raise SceneError(f"dates {dates!r} is no list; give one day per image, as in dates=['2024-05-01']")
    if len(dates) != num_dates:
        given = "1 date was" if len(dates) == 1 else f"{len(dates)} dates were"
        images = "1 image" if num_dates == 1 else f"{num_dates} images"
        raise SceneError(f"{given} given for {images}; give one date per image")
    return [_day(date) for date in dates]


def in_time_order(
    opticals: Sequence[Observation], sars: Sequence[Observation], *, are_stated: bool
) -> tuple[list[Observation], list[Observation], list[str]]:
    """Both kinds of image in the order of their pairs' dates, and what the reader should know of it.

    Dates that a caller states are those of pairs. Where instead every image knows its own, each kind is sorted for
    itself. Where some dates are not known, the order given stays.
    """
    images = [*opticals, *sars]
    given = list(opticals), list(sars)
    if max(len(opticals), len(sars)) < 2:
        return *given, []
    if are_stated or all(image.date is not None for image in images):
        ordered = [sorted(kind, key=lambda image: image.date or datetime.date.min) for kind in given]
    else:
        leading = given[0] or given[1]
        dates = [_pair_date(t, *given) for t in range(len(leading))]
        if any(date is None for date in dates):
            unknown = [os.path.basename(image.source) for t, image in enumerate(leading) if dates[t] is None]
            some_known = len(unknown) < len(leading)
            names = " and ".join(unknown)
            dates_are = f"The date of {names} is" if len(unknown) == 1 else f"The dates of {names} are"
            note = f"{dates_are} not known, so the images stay in the order given."
            return *given, [note] if some_known else []
        order = sorted(range(len(leading)), key=lambda t: dates[t] or datetime.date.min)
        ordered = [[kind[t] for t in order if t < len(kind)] for kind in given]
    return ordered[0], ordered[1], _order_notes(given, ordered)


def _order_notes(given: Sequence[Sequence[Observation]], ordered: Sequence[Sequence[Observation]]) -> list[str]:
    notes = []
    leading = ordered[0] or ordered[1]
    dates = [_pair_date(t, *ordered) for t in range(len(leading))]
    if any(
        before is not after for kind in zip(given, ordered, strict=True) for before, after in zip(*kind, strict=True)
    ):
        notes.append(f"The images were put in the order of their dates: {', '.join(str(date) for date in dates)}.")
    for date, times in Counter(dates).items():
        if times > 1:
            notes.append(f"{times} dates are the same day, {date}; they stay in the order given.")
    return notes


def gap_notes(opticals: Sequence[Observation], sars: Sequence[Observation]) -> list[str]:
    """Say it where the two images of a pair are of different days."""
    return [
        f"Image {t} pairs an optical image of {optical.date} with a SAR image of {sar.date}."
        for t, (optical, sar) in enumerate(zip(opticals, sars, strict=False), 1)
        if None not in (optical.date, sar.date) and optical.date != sar.date
    ]


def _pair_date(t: int, opticals: Sequence[Observation], sars: Sequence[Observation]) -> datetime.date | None:
    pair = [kind[t] for kind in (opticals, sars) if t < len(kind)]
    return next((image.date for image in pair if image.date is not None), None)


def _day(date: object) -> datetime.date:
    if isinstance(date, datetime.datetime):
        return date.date()
    if isinstance(date, datetime.date):
        return date
    # fromisoformat takes more than one way of writing a day.
    if isinstance(date, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", date):
        try:
            return datetime.date.fromisoformat(date)
        except ValueError:
            pass
    raise SceneError(f"date {date!r} is not a day; write it as YYYY-MM-DD")

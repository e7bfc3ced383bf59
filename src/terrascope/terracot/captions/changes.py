"""What has changed between two dates, and how a caption says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from terrascope.landcover import LandClass
from terrascope.quantities import format_share
from terrascope.terracot.layout import Layout
from terrascope.terracot.nouns import Wording, capital

MIN_CHANGE = 0.02
"""Least change of a class's share of the image that a caption speaks of."""

MIN_SEEN = 0.002
"""Least share of a class that only the later date's label map tells."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A class whose share of the image (0-1) differs between two dates; `before` is None where it is unknown."""

    land_class: LandClass
    before: float | None
    after: float

    @property
    def size(self) -> float:
        """By how much the share differs; all of it where nothing is known of the first date."""
        return abs(self.after - (self.before or 0.0))

    @property
    def kind(self) -> Literal["seen", "new", "gone", "grew", "shrank"]:
        if self.before is None:
            return "seen"
        if not self.before:
            return "new"
        if not self.after:
            return "gone"
        return "grew" if self.after > self.before else "shrank"


def find_changes(layout: Layout, first: int, last: int) -> list[Change]:
    """The classes that have clearly changed, the greatest change first.

    Only what both label maps vouch for can be said to have changed. Where the first map names nearly every pixel, a
    class that it does not tell is known to be absent too; otherwise nothing is known of it before.
    """
    changes = []
    for region in layout.regions[last]:
        cover = layout.cover(region.name, first)
        known = layout.knows(region.name, first) or layout.known_share(first) > 0.98
        before = (cover.share if cover else 0.0) if known else None
        change = Change(land_class=region.land_class, before=before, after=region.coverage)
        is_seen = format_share(before or 0.0) != format_share(change.after)
        if is_seen and change.size >= (MIN_CHANGE if known else MIN_SEEN):
            changes.append(change)
    return sorted(changes, key=lambda change: -change.size)


def say_changes(changes: Sequence[Change], wording: Wording) -> str:
    """A sentence without its stop on one to three changes."""
    return wording.pick(", while ", "; ", " and ").join(_say_change(change, wording) for change in changes[:2])


def _say_change(change: Change, wording: Wording) -> str:
    noun, pick = wording.noun(change.land_class), wording.pick
    before, after = format_share(change.before or 0.0), format_share(change.after)
    if change.kind == "seen":
        return f"{noun.text} {noun.verb(pick('cover', 'take up', 'make up'))} {after} of the image"
    if change.kind == "new":
        return pick(
            f"{noun.text} newly {noun.verb('cover')} {after} of the image",
            f"{noun.text} {noun.verb('appear')} on {after} of the image",
            f"{noun.text} {noun.has} spread over {after} of the image",
        )
    if change.kind == "gone":
        return pick(f"{noun.text} {noun.verb('disappear')}", f"{noun.text} {noun.has} gone")
    grows = change.kind == "grew"
    return pick(
        f"{noun.text} {noun.verb('grow' if grows else 'shrink')} from {before} to {after}",
        f"{noun.text} {noun.verb('increase' if grows else 'decrease')} from {before} to {after}",
        f"the share of {noun.text} {'rises' if grows else 'falls'} from {before} to {after}",
    )


def tell_change(changes: Sequence[Change], num_dates: int, wording: Wording) -> str:
    """A full sentence of a caption on what has changed, or that nothing has."""
    later = "second" if num_dates == 2 else "last"
    if not changes:
        return wording.pick(
            f"The {later} image shows no clear change.",
            f"Little has changed by the {later} image.",
            f"The land cover is the same in the {later} image.",
        )
    said = say_changes(changes, wording)
    start = wording.pick(f"In the {later} image, ", f"In the {later} image, ", f"By the {later} image, ", "Later, ", "")
    if any(change.kind == "seen" for change in changes):
        start = f"In the {later} image, "
    return f"{capital(start + said)}."

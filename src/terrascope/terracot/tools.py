"""What a worker needs to ask of chips: the data sets, a writer, and a model where chips are to be labelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from terrascope.sample import Labels
from terrascope.sources.chips import Chip, Source
from terrascope.terracot.writer import Writer


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """A chip with the labels that a model has given it, and what of them was dropped, by reason."""

    chip: Chip
    labels: Labels
    rejected: Sequence[str] = ()


Annotate = Callable[[Chip], Labelled]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tools:
    """What a worker needs for every chip; opened once.

    Attributes:
        sources: the data sets of the recipe, by name; roots: their folders, from which files are named.
        writer: words captions and composed questions.
        annotate: labels a chip; None to ask of the labels that it brings.
    """

    sources: Mapping[str, Source]
    roots: Mapping[str, Path]
    writer: Writer
    annotate: Annotate | None = None

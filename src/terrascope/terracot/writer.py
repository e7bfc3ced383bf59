"""Who words captions and composed questions: a language model, or the offline composer. Both have this face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from terrascope.sources.chips import Chip
from terrascope.tasks import Question


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a writer gives for one chip.

    Attributes:
        questions: those that passed every check; each grounded step carries its mask.
        rejected: for every draft that did not, in a few words that are the same for every such draft, why.
    """

    questions: tuple[Question, ...] = ()
    rejected: tuple[str, ...] = ()


class Writer(Protocol):
    """Words what is known of a labelled chip. The same chip and `rng` give the same words, or the cached ones."""

    @property
    def name(self) -> str:
        """`composer`, or the name of the language model."""
        ...

    def caption(self, chip: Chip, rng: np.random.Generator) -> Written:
        """At most one caption with reasoning that points at the masks (paper, Appendix E.2, Cap-CoT).

        The question asks for a description, `truth` is the caption.
        """
        ...

    def compose(self, chip: Chip, caption: str, pairs: Sequence[Question], rng: np.random.Generator) -> Written:
        """Two or three questions of several steps (L2), from a caption and simple questions with their answers."""
        ...

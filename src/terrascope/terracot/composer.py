"""The offline composer: captions and composed questions without a language model, true of the masks by construction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from terrascope.sources.chips import Chip
from terrascope.tasks.question import Question
from terrascope.terracot import captions, level2
from terrascope.terracot.captions import CaptionSettings
from terrascope.terracot.verify import TOLERANCE, check
from terrascope.terracot.writer import Written
from terrascope.trace import Tolerance


@dataclass(frozen=True, kw_only=True)
class Composer:
    """A `Writer` that needs no model: the same chip and generator give the same words.

    Attributes:
        settings: what captions speak of.
        tolerance: how far a stated number may lie from the measured one.
    """

    settings: CaptionSettings = field(default_factory=CaptionSettings)
    tolerance: Tolerance = TOLERANCE
    name: str = "composer"

    def caption(self, chip: Chip, rng: np.random.Generator) -> Written:
        """A caption of the chip, or none where its label maps show no class large enough to speak of."""
        question = captions.describe(chip, rng, self.settings)
        return self._keep_true(chip, [] if question is None else [question])

    def compose(self, chip: Chip, caption: str, pairs: Sequence[Question], rng: np.random.Generator) -> Written:
        """Two or three composed questions. The caption adds nothing to what the label maps say, and is not used."""
        return self._keep_true(chip, level2.compose(chip, pairs, rng))

    def _keep_true(self, chip: Chip, drafts: Sequence[Question]) -> Written:
        kept, rejected = [], []
        for draft in drafts:
            faults = check(draft, chip.labelled, tolerance=self.tolerance)
            if faults:
                rejected.append(faults[0])
            else:
                kept.append(draft)
        return Written(questions=tuple(kept), rejected=tuple(rejected))

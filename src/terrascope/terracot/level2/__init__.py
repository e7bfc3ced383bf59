"""Composed questions (L2) without a language model: rules that put simple facts together (paper, Appendix E.2).

A rule is a class beside these, and a line in `SPATIAL`, `SEMANTIC` or `CHANGE`. It asks only about classes for which
the label map vouches, and never where the truth is too close to call.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from terrascope.sources.chips import Chip
from terrascope.tasks.question import Question, pose
from terrascope.terracot.layout import lay_out
from terrascope.terracot.level2.changes import ShareChange, Trend
from terrascope.terracot.level2.drafting import Desk, Rule
from terrascope.terracot.level2.hazards import Damage, FloodEffect, FloodExposure, FloodSeverity
from terrascope.terracot.level2.landscape import Footprint, Habitat, LandscapeType
from terrascope.terracot.level2.neighbours import AdjacencyChain, Between, ByDistance
from terrascope.terracot.level2.patches import DensestQuarter, LargestPatch
from terrascope.terracot.level2.sizes import Combined, Extreme, Ranking, Ratio
from terrascope.terracot.level2.suitability import Expansion, Farming, Irrigation

__all__ = ["CHANGE", "SEMANTIC", "SPATIAL", "compose"]

SPATIAL: tuple[Rule, ...] = (
    AdjacencyChain(),
    Between(),
    Ratio(),
    ByDistance(nearest=True),
    ByDistance(nearest=False),
    Extreme(largest=True),
    Extreme(largest=False),
    Combined(areas=False),
    Combined(areas=True),
    Ranking(),
    LargestPatch(),
    DensestQuarter(),
)
SEMANTIC: tuple[Rule, ...] = (
    Farming(),
    Irrigation(),
    Expansion(),
    FloodExposure(),
    LandscapeType(),
    Footprint(),
    Habitat(),
    FloodSeverity(),
)
CHANGE: tuple[Rule, ...] = (FloodEffect(), Damage(), ShareChange(), Trend())
"""Semantic rules that compare two dates."""

CHANGE_SHARE = 0.6
"""How often, where there are several dates, what has changed between them is asked about first."""

OPTIONS_SHARE = 0.6
"""How often a question that has wrong answers at hand is asked with options."""

THIRD_SHARE = 0.6
"""How often a third question is asked, of either kind; the first two are one of each."""


def compose(chip: Chip, pairs: Sequence[Question], rng: np.random.Generator) -> list[Question]:
    """Two or three composed questions about a chip, at least one spatial and one semantic where both can be asked.

    Args:
        pairs: simple questions about the chip; the classes that they are about are asked about first.
    """
    if not chip.labels:
        return []
    preferred = frozenset(name for pair in pairs for name in pair.classes)
    desk = Desk(lay_out(chip.labelled), rng, preferred)
    wanted = [1, 1]
    if desk.wording.chance(THIRD_SHARE):
        wanted[int(rng.integers(2))] += 1
    spatial = _ask(desk, SPATIAL, wanted[0])
    semantic: list[Question] = []
    if desk.layout.num_dates > 1 and desk.wording.chance(CHANGE_SHARE):
        semantic = _ask(desk, CHANGE, 1)
    semantic += _ask(desk, SEMANTIC, wanted[1] - len(semantic))
    # A rule that drew a threshold which the scene does not have may draw another.
    semantic = semantic or _ask(desk, SEMANTIC, 1)
    if not semantic and len(spatial) == 1:
        spatial += _ask(desk, [rule for rule in SPATIAL if rule.task != spatial[0].task], 1)
    if not spatial and len(semantic) == 1:
        semantic += _ask(desk, [rule for rule in SEMANTIC if rule.task != semantic[0].task], 1)
    return spatial + semantic


def _ask(desk: Desk, rules: Sequence[Rule], num: int) -> list[Question]:
    """The first `num` questions that the rules, in random order, can ask."""
    questions: list[Question] = []
    for index in desk.rng.permutation(len(rules)):
        if len(questions) == num:
            break
        draft = rules[int(index)].draft(desk)
        if draft is None:
            continue
        with_options = bool(draft.wrong) and desk.wording.chance(OPTIONS_SHARE)
        questions.append(pose(draft.question, draft.wrong, desk.rng) if with_options else draft.question)
    return questions

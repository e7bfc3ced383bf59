"""Level 1: two to four simple questions about an image, each answered from its masks (paper, Appendix E.2).

The paper's six kinds of question are asked, and of scenes with two dates also how many buildings were destroyed and how
much is flooded. Answers are spread such that they cannot be guessed without the image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from terrascope.sources.chips import Chip
from terrascope.tasks import TASKS, Question, Task
from terrascope.tasks.area import Area
from terrascope.tasks.boundary import Boundary
from terrascope.tasks.building_change import BuildingChange
from terrascope.tasks.counting import Counting
from terrascope.tasks.coverage import FLOOD_TEMPLATES, Coverage
from terrascope.tasks.existence import Existence
from terrascope.tasks.localization import Localization
from terrascope.tasks.question import LabelledScene
from terrascope.terracot.bounds import check_least, check_shares, check_weights
from terrascope.terracot.wording import WordingSettings, paraphrase

KINDS: Mapping[str, tuple[str, ...]] = {
    "existence": ("existence",),
    "counting": ("counting",),
    "localization": ("localization",),
    "quantification": ("area", "coverage"),
    "boundary": ("boundary",),
    "distance": ("distance",),
}
"""The paper's six kinds of question, and the tasks that ask them."""

NEEDS_PIXELS = frozenset({"area", "coverage", "boundary", "distance", "ranking", "flood"})
"""Tasks whose answer is measured on pixels. What is there, where and how often can be seen at a glance."""

Presence = Mapping[str, Sequence[Mapping[str, float]]]
"""Source -> for each of its dates, class -> share (0-1) of the images that show it."""


@dataclass(frozen=True, kw_only=True)
class Level1Settings:
    """What is asked of a chip.

    Attributes:
        min_labelled: least share of a chip's valid pixels with a known label, on every date, for it to be asked what
            rests on the whole image: questions of level 1 and 2, captions. Where it is met, shares "of the image" are
            shares of the labelled pixels.
        num_kinds: fewest and most kinds of question; a chip of which fewer can be asked, the extensions among them, is
            asked nothing.
        kind_weights: how much likelier a kind is tried first. Few scenes allow the rarer ones.
        extensions: tasks asked besides, wherever they can be.
        asks_ranking: ask which of two classes is larger as a seventh kind; the paper leaves it to level 2.
        options_share: questions with options, as far as the rank of the truth among them can be any.
        absent_share: questions of existence whose answer is "No".
        min_coverage: least share of a class whose share or boundary is asked for. Where an option says 0 % or less than
            1 %, it is the right one; from 1 % on, none says so.
        max_boundary_objects: classes in more pieces are not asked for a boundary. The paper's benchmark takes 5, which
            leaves next to nothing of land cover at 10 m.
        single_share: how often a class in one piece is counted when it comes up.
        weights: how much likelier each class is asked for its place, share or area, as `referring.class_weights` gives
            it; 1 where a class has none.
        presence: how often each class is there on each date of each source, as `measure_presence` gives it, so that
            class and date alone do not tell whether it is. Of a source without it, existence is asked only where both
            answers are possible.
        wording: how often what is worded anew.
    """

    min_labelled: float = 0.9
    num_kinds: tuple[int, int] = (2, 4)
    kind_weights: Mapping[str, float] = field(default_factory=lambda: {"distance": 2.0, "boundary": 2.0})
    extensions: tuple[str, ...] = ("building_change", "flood")
    asks_ranking: bool = False
    options_share: float = 0.5
    absent_share: float = 0.5
    min_coverage: float = 0.01
    max_boundary_objects: int = 40
    single_share: float = 0.25
    weights: Mapping[str, float] = field(default_factory=dict)
    presence: Presence = field(default_factory=dict)
    wording: WordingSettings = field(default_factory=WordingSettings)

    def __post_init__(self) -> None:
        check_shares(self, "min_labelled", "options_share", "absent_share", "min_coverage", "single_share")
        check_least(self, 0, "max_boundary_objects")
        low, high = self.num_kinds
        if not 1 <= low <= high:
            raise ValueError(f"num_kinds is {low} to {high}; give the fewest, at least 1, and then the most")
        check_weights("kind_weights", self.kind_weights)
        check_weights("weights", self.weights)
        unknown = next((name for name in self.kind_weights if name not in (*KINDS, "ranking")), None)
        if unknown is not None:
            raise ValueError(f"kind_weights: no kind {unknown}; choose among {', '.join(KINDS)}, ranking")
        unknown = next((name for name in self.extensions if name not in TASKS), None)
        if unknown is not None:
            raise ValueError(f"extensions: no task {unknown}; choose among {', '.join(TASKS)}")

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """The tasks by name, balanced as the settings say; existence without `presence`."""
        weights = self.weights
        return {
            **TASKS,
            "existence": Existence(absent_share=self.absent_share, balanced=True),
            "counting": Counting(single_share=self.single_share, balanced=True),
            "building_change": BuildingChange(balanced=True),
            "localization": Localization(weights=weights, center_has_options=False),
            "area": Area(balanced=True, weights=weights),
            "coverage": Coverage(absent_share=0.0, min_coverage=self.min_coverage, balanced=True, weights=weights),
            "boundary": Boundary(balanced=True, min_coverage=self.min_coverage, max_objects=self.max_boundary_objects),
            "flood": Coverage(
                name="flood",
                only_class="flood",
                templates=FLOOD_TEMPLATES,
                absent_share=0.0,
                min_coverage=self.min_coverage,
                balanced=True,
            ),
        }

    def tasks_of(self, source: str) -> dict[str, Task]:
        """The tasks by name for chips of a source."""
        if source not in self.presence:
            return self.tasks
        return {**self.tasks, "existence": Existence(absent_share=self.absent_share, presence=self.presence[source])}

    @cached_property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        return {**KINDS, "ranking": ("ranking",)} if self.asks_ranking else dict(KINDS)


DEFAULT = Level1Settings()


class PresenceCount:
    """Counts, for every source and date, the images that show each class among those whose label map knows it.

    As in questions of existence, images with too little of a class to be seen do not count.
    """

    def __init__(self) -> None:
        self._shown: Counter[tuple[str, int, str]] = Counter()
        self._missing: Counter[tuple[str, int, str]] = Counter()

    def add(self, chip: Chip) -> None:
        least = Existence().min_coverage
        for survey in chip.labelled.surveys:
            for region in survey.regions:
                key = chip.source, region.date, region.name
                self._shown[key] += region.coverage >= least
                self._missing[key] += not region.num_pixels

    @property
    def shares(self) -> Presence:
        """The shares counted so far; a class of which every image had too little is left out."""
        presence: dict[str, tuple[dict[str, float], ...]] = {}
        for source, date, name in sorted(self._shown):
            dates = presence.get(source, ())
            presence[source] = dates = (*dates, *({} for _ in range(date + 1 - len(dates))))
            shown, missing = self._shown[source, date, name], self._missing[source, date, name]
            if shown + missing:
                dates[date][name] = shown / (shown + missing)
        return presence


def measure_presence(chips: Iterable[Chip]) -> Presence:
    """For every source and date, the share of the images that show each class among those whose label map knows it."""
    count = PresenceCount()
    for chip in chips:
        count.add(chip)
    return count.shares


def ask(chip: Chip, rng: np.random.Generator, settings: Level1Settings = DEFAULT) -> list[Question]:
    """The questions about a chip, at least one of them of `NEEDS_PIXELS`; none where too little can be asked."""
    labelled = chip.labelled
    if labelled.labelled_share < settings.min_labelled:
        return []
    tasks = settings.tasks_of(chip.source)
    num_kinds = int(rng.integers(settings.num_kinds[0], settings.num_kinds[1] + 1))
    keys = {kind: float(rng.exponential()) / settings.kind_weights.get(kind, 1.0) for kind in settings.kinds}
    order = sorted(keys, key=keys.__getitem__)
    questions: list[Question] = []
    for kind in order:
        if len(questions) == num_kinds:
            break
        # The last place is kept for a question that needs pixels until there is one.
        is_last = len(questions) == num_kinds - 1
        if is_last and not _needs_pixels(questions) and NEEDS_PIXELS.isdisjoint(settings.kinds[kind]):
            continue
        question = _ask_kind(labelled, tasks, kind, rng, settings)
        if question is not None:
            questions.append(question)
    for name in settings.extensions:
        question = _ask_task(labelled, tasks[name], rng, settings)
        if question is not None:
            questions.append(question)
    if len(questions) < settings.num_kinds[0] or not _needs_pixels(questions):
        return []
    return [paraphrase(question, rng, settings.wording) for question in questions]


def _ask_kind(
    labelled: LabelledScene, tasks: Mapping[str, Task], kind: str, rng: np.random.Generator, settings: Level1Settings
) -> Question | None:
    names = settings.kinds[kind]
    first = int(rng.random() * len(names))
    for name in (*names[first:], *names[:first]):
        question = _ask_task(labelled, tasks[name], rng, settings)
        if question is not None:
            return question
    return None


def _ask_task(
    labelled: LabelledScene, task: Task, rng: np.random.Generator, settings: Level1Settings
) -> Question | None:
    with_options = bool(rng.random() < settings.options_share)
    return task.ask(labelled, rng, with_options=with_options)


def _needs_pixels(questions: list[Question]) -> bool:
    return any(question.task in NEEDS_PIXELS for question in questions)

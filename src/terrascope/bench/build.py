"""From a recipe to a benchmark on disk: the six tasks of TerraScope-Bench asked of labelled scenes (paper, Appendix D).

Every chip is read once to find out what could be asked of it, and those that are taken are read again to ask it. What
is asked depends on the recipe alone, not on the order in which chips are read.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from terrascope import __version__, spatial
from terrascope.bench.derived import check_vacant
from terrascope.bench.distractors import rank_among
from terrascope.bench.items import Shown, show_only
from terrascope.bench.quota import Draft, even_places, take
from terrascope.bench.recipe import BenchRecipe
from terrascope.errors import SampleError, ScaleError, SceneError
from terrascope.output import check_folder, written_together
from terrascope.quantities import format_share
from terrascope.sample import Sample
from terrascope.sources.chips import Chip, ChipError, Index, Source
from terrascope.sources.places import SPLITS
from terrascope.tasks import Question
from terrascope.terracot.asking import TOO_LITTLE_LABELLED, UNUSABLE, rng_of
from terrascope.terracot.build import write_manifest
from terrascope.terracot.plan import spread
from terrascope.terracot.record import ChipRecord, record_chip, to_sample
from terrascope.terracot.shard import ShardReport, write_shard
from terrascope.terracot.store import MANIFEST
from terrascope.terracot.verify import check
from terrascope.trace import LETTERS, Trace

LOOKING, ASKING = "looking at scenes", "asking"
"""The stages of a build."""

NOT_SHOWN = "no version shows the whole scene"
"""Reason of a chip without the images that are to be shown, or whose images leave out what the truth counts."""

UNTOLD = "the masks tell another answer"
"""Reason of a question about buildings that touch, so that their mask has fewer components than there are buildings."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """What a build made.

    Attributes:
        total: counts of the samples, each version of a question by itself.
        questions, wanted: questions of each task, and how many the recipe asks for.
        num_places: places of the chips that are asked about.
        skipped: for each source, chips that it left out of its index or that cannot be shown as wanted, by reason.
        max_failed_share: share of the chips that may fail.
    """

    total: ShardReport
    questions: Mapping[str, int]
    wanted: Mapping[str, int]
    num_places: int
    skipped: Mapping[str, Mapping[str, int]]
    max_failed_share: float

    @property
    def too_many_failed(self) -> bool:
        return self.total.num_failed > self.max_failed_share * self.total.num_chips


def build(recipe: BenchRecipe, out: Path, progress: Progress | None = None) -> BenchReport:
    """Build the benchmark of a recipe as a folder that `terracot.store.open_store` reads, whole or not at all.

    Args:
        progress: is called with the stage, what is done, and all of the stage.

    Raises:
        SampleError: there is no chip, nothing can be asked, or the folder holds another data set.
        SceneError: a folder of a source is missing, or not laid out as its data set is.
        OutputError: the folder cannot be written.
    """
    out = check_folder(out)
    name = f"{recipe.split}-00000-of-00001.parquet"
    check_vacant(out, name, recipe.public())
    built = _Build(recipe, progress or (lambda stage, done, total: None))
    drafts = list(built.look())
    taken = [
        draft
        for task, num in recipe.wanted.items()
        for draft in take(
            [draft for draft in drafts if draft.task == task],
            num,
            seed=recipe.seed,
            per_chip=recipe.per_chip,
            per_place=recipe.per_place,
        )
    ]
    if not taken:
        names = ", ".join(source.name for source in recipe.sources)
        raise SampleError(f"{names}: nothing can be asked of these scenes; give more of them, or milder thresholds")
    samples, records = built.ask(taken)
    report = ShardReport.of(
        number=0,
        num_chips=sum(built.num_chips.values()),
        num_empty=built.num_empty,
        samples=samples,
        failed=built.failed,
        rejected=built.rejected,
    )
    public = recipe.public()
    digest = hashlib.sha256(json.dumps([__version__, public], sort_keys=True).encode()).hexdigest()
    with written_together(out, [name, MANIFEST]) as folder:
        write_shard(folder / name, samples, records, report, plan=digest)
        write_manifest(
            folder,
            recipe=public,
            plan=digest,
            num_chips=built.num_chips,
            skipped=built.skipped,
            total=report,
            shards={name: len(samples)},
        )
    return BenchReport(
        total=report,
        questions=Counter(draft.task for draft in taken),
        wanted=recipe.wanted,
        num_places=len({(draft.source, draft.place) for draft in taken}),
        skipped=built.skipped,
        max_failed_share=recipe.max_failed_share,
    )


class _Build:
    """The sources of a recipe, and what is counted as their chips are read."""

    def __init__(self, recipe: BenchRecipe, tell: Progress) -> None:
        self.recipe, self.tell = recipe, tell
        self.sources: dict[str, Source] = {source.name: source.opened() for source in recipe.sources}
        self.indexes: dict[str, Index] = {name: source.index(recipe.split) for name, source in self.sources.items()}
        self.roots = {source.name: source.root for source in recipe.sources}
        self.skipped = {name: Counter(index.skipped) for name, index in self.indexes.items()}
        self.num_chips: dict[str, int] = {}
        self.num_empty = 0
        self.failed: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()

    def look(self) -> Iterator[Draft]:
        """What could be asked of every chip. A chip that cannot be used is counted by its reason.

        Raises:
            SampleError: there is no chip at all.
        """
        recipe = self.recipe
        chips = []
        for source in recipe.sources:
            entries = spread(self.indexes[source.name].entries, source.limit or recipe.limit)
            self.num_chips[source.name] = len(entries)
            names = [name for name in recipe.asked if source.tasks is None or name in source.tasks]
            chips += [(source.name, entry.key, names) for entry in entries]
        if not chips:
            raise SampleError(f"{', '.join(self.sources)}: no chip in the split {recipe.split}; {self._where_else()}")
        for done, (source_name, key, names) in enumerate(chips):
            self.tell(LOOKING, done, len(chips))
            try:
                yield from self._look_at(self.sources[source_name].read(key), names)
            except (SceneError, ScaleError) as error:
                self.failed[error.reason if isinstance(error, ChipError) else UNUSABLE] += 1
        self.tell(LOOKING, len(chips), len(chips))

    def _where_else(self) -> str:
        """What to do where a split has no chip."""
        others = [
            split
            for split in SPLITS
            if split != self.recipe.split and any(source.index(split).entries for source in self.sources.values())
        ]
        if others:
            return f"choose another one with --split, such as {others[0]}"
        return f"no split has one, so see that {', '.join(map(str, self.roots.values()))} holds that data set"

    def _look_at(self, chip: Chip, names: Sequence[str]) -> list[Draft]:
        if not versions_of(chip, self.recipe):
            self.skipped[chip.source][NOT_SHOWN] += 1
            return []
        if chip.labelled.labelled_share < self.recipe.min_labelled:
            self.skipped[chip.source][TOO_LITTLE_LABELLED] += 1
            return []
        drafts: dict[tuple[str, tuple[str, ...], str, int], Draft | None] = {}
        for name, attempt in product(names, range(self.recipe.tries)):
            question = pose(chip, name, attempt, self.recipe)
            if question is None:
                continue
            classes = tuple(sorted(question.classes))
            same = name, classes, question.truth, rank_among(question.truth, question.options, question.unit)
            if same in drafts:
                continue
            faults = check(question, chip.labelled) or (() if is_told_by_masks(question) else (UNTOLD,))
            self.rejected.update(faults)
            draft = Draft(chip.source, chip.key, chip.place, name, attempt, *same[1:])
            drafts[same] = None if faults else draft
        found = [draft for draft in drafts.values() if draft is not None]
        self.num_empty += not found
        return found

    def ask(self, taken: Sequence[Draft]) -> tuple[list[Sample], list[ChipRecord]]:
        """The questions of the drafts, chip by chip in the order of the sources, and the notes of these chips.

        Raises:
            SceneError: a chip that could be read before cannot be read any more.
        """
        order = {
            (name, entry.key): place
            for name, index in self.indexes.items()
            for place, entry in enumerate(index.entries)
        }
        ranks = {name: rank for rank, name in enumerate(self.sources)}
        of_chip: dict[tuple[str, str], list[tuple[Draft, int]]] = {}
        places = _place_truths(taken, self.recipe)
        for draft in sorted(taken, key=lambda draft: (ranks[draft.source], order[draft.chip])):
            of_chip.setdefault(draft.chip, []).append((draft, places[draft]))
        samples: list[Sample] = []
        records: list[ChipRecord] = []
        for done, ((source, key), drafts) in enumerate(of_chip.items()):
            self.tell(ASKING, done, len(of_chip))
            chip = self.sources[source].read(key)
            records.append(record_chip(chip))
            numbers = Counter[str]()
            for draft, place in drafts:
                numbers[draft.task] += 1
                samples += self._versions(chip, draft, place, numbers[draft.task])
        self.tell(ASKING, len(of_chip), len(of_chip))
        return samples, records

    def _versions(self, chip: Chip, draft: Draft, place: int, number: int) -> Iterator[Sample]:
        """A question in all versions of its scene, which share everything but the images."""
        question = pose(chip, draft.task, draft.attempt, self.recipe)
        if question is None:
            raise SceneError(f"{chip.source}/{chip.key}: it changed while the benchmark was built; build it again")
        whole = to_sample(chip, move_truth(question, place), level="bench", number=number, root=self.roots[chip.source])
        for shown in versions_of(chip, self.recipe):
            images = tuple(image for image in whole.images if shown in ("both", image.modality))
            name = f"{chip.source}/{chip.key}/{draft.task}/{number}/{shown}"
            yield replace(whole, id=name, images=images)


def pose(chip: Chip, task: str, attempt: int, recipe: BenchRecipe) -> Question | None:
    """The question that a task asks of a chip at a try (from 0); None where it has nothing to ask."""
    rng = rng_of(recipe.seed, chip.source, chip.key, f"bench/{task}", str(attempt))
    return recipe.asked[task].ask(chip.labelled, rng, with_options=True)


def versions_of(chip: Chip, recipe: BenchRecipe) -> tuple[Shown, ...]:
    """The versions of a question that a chip has the images for.

    A version shows the pixels that the truth counts, up to the part that the recipe allows to be missing.
    """
    valid = np.logical_and.reduce([pair.valid for pair in chip.scene.pairs])
    num_allowed = recipe.max_unseen_share * np.count_nonzero(valid)
    first, found = chip.scene.pairs[0], list[Shown]()
    for shown in recipe.shown:
        if (shown != "sar" and first.optical is None) or (shown != "optical" and first.sar is None):
            continue
        seen = np.logical_and.reduce([pair.valid for pair in show_only(chip.scene, shown).pairs])
        if np.count_nonzero(valid & ~seen) <= num_allowed:
            found.append(shown)
    return tuple(found)


def is_told_by_masks(question: Question) -> bool:
    """True if the masks alone tell the right answer. Numbered buildings are not always as many as their components."""
    if question.task != "building_change":
        return True
    buildings, ruins = (
        spatial.count_objects(step.mask) for step in question.trace.grounded_steps if step.mask is not None
    )
    told = str(ruins) if question.unit == "count" else format_share(ruins / buildings)
    return told == question.truth


def move_truth(question: Question, place: int) -> Question:
    """The question with its right option at a place (from 0); the others keep their order."""
    wrong = [option for option in question.options if option != question.truth]
    before, letter = question.trace.answer, LETTERS[place]
    conclusion = question.trace.conclusion.removesuffix(f"{before}.") + f"{letter}."
    return replace(
        question,
        options=(*wrong[:place], question.truth, *wrong[place:]),
        trace=Trace(steps=question.trace.steps, conclusion=conclusion, answer=letter),
    )


def _place_truths(taken: Sequence[Draft], recipe: BenchRecipe) -> dict[Draft, int]:
    """Where the right option of each question stands, even for each task."""
    places: dict[Draft, int] = {}
    for name, task in recipe.asked.items():
        drafts = [draft for draft in taken if draft.task == name]
        truths = [draft.truth for draft in drafts]
        even = even_places(truths, task.num_options, seed=recipe.seed, task=name)
        places.update(zip(drafts, even, strict=True))
    return places

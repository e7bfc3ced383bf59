"""One chip: everything that a recipe wants asked of it, level by level."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from terrascope.errors import QuestionError, ScaleError, SceneError
from terrascope.llm import NoReply
from terrascope.sample import Labels, Level, Sample
from terrascope.sources.chips import Chip, ChipError
from terrascope.tasks import Question
from terrascope.terracot import given, level1, referring
from terrascope.terracot.plan import Plan
from terrascope.terracot.record import ChipRecord, record_chip, to_sample
from terrascope.terracot.separation import Benchmark
from terrascope.terracot.tools import Tools

TEMPLATES = "templates"

SHOWN_SHARES: dict[tuple[str, ...], float] = {("optical",): 0.4, ("sar",): 0.25, ("optical", "sar"): 0.35}
"""How often which images of a pair are shown, where that is drawn."""

TOO_LITTLE_LABELLED = "too little of it is labelled"
"""Reason of a chip that is asked nothing that rests on the whole image."""

UNUSABLE = "unusable scene"
"""Reason of a chip that its source could read and a later step could not use."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What came of a chip.

    Attributes:
        record: the note of the chip; None if it could not be read.
        samples: what was asked of it.
        failed: why it could not be used, or not wholly; None if nothing failed. `sentence` says it in full.
        rejected: why drafts of the writer, and labels of the model, were dropped, or that too little of the chip is
            labelled for questions on the whole image.
    """

    record: ChipRecord | None = None
    samples: tuple[Sample, ...] = ()
    failed: str | None = None
    sentence: str = ""
    rejected: tuple[str, ...] = ()


def ask_chip(plan: Plan, tools: Tools, benchmark: Benchmark | None, source: str, key: str) -> Asked:
    """Ask of a chip what the plan's recipe wants. It depends on the recipe, the source and the key alone.

    Args:
        benchmark: what no chip may show.

    Raises:
        SeparationError: the chip shows what a scene of the benchmark shows.
        EndpointError: no language model can be reached any more.
    """
    try:
        chip, labels, rejected = tools.sources[source].read(key), _annotated(), list[str]()
        if tools.annotate is not None:
            labelled = tools.annotate(chip)
            chip, labels, rejected = labelled.chip, labelled.labels, list(labelled.rejected)
        record = record_chip(chip)
    except (SceneError, ScaleError, NoReply) as error:
        return Asked(failed=_reason(error), sentence=_sentence(error))
    if benchmark is not None:
        benchmark.check(record)
    asker = _Asker(chip=chip, plan=plan, tools=tools, labels=labels, rejected=rejected)
    failed, sentence = None, ""
    try:
        asker.ask_all()
    except (SceneError, ScaleError, QuestionError, NoReply) as error:
        failed, sentence = _reason(error), _sentence(error)
    return Asked(
        record=record, samples=tuple(asker.samples), failed=failed, sentence=sentence, rejected=tuple(rejected)
    )


@dataclass(kw_only=True, eq=False)
class _Asker:
    chip: Chip
    plan: Plan
    tools: Tools
    labels: Labels
    rejected: list[str]
    samples: list[Sample] = field(default_factory=list)

    def ask_all(self) -> None:
        """Ask level by level; what was asked before an error stays."""
        recipe, writer = self.plan.recipe, self.tools.writer
        wanted = set(recipe.levels)
        if "referring" in wanted:
            self._keep("referring", referring.ask(self.chip, self._rng("referring"), self.plan.referring), TEMPLATES)
        is_labelled = self.chip.labelled.labelled_share >= self.plan.level1.min_labelled
        if not is_labelled and wanted & {"L1", "L2", "caption"}:
            self.rejected.append(TOO_LITTLE_LABELLED)
        pairs: Sequence[Question] = (
            level1.ask(self.chip, self._rng("L1"), self.plan.level1) if wanted & {"L1", "L2"} else ()
        )
        if "L1" in wanted:
            self._keep("L1", pairs, TEMPLATES)
            self._keep("L1", given.ask(self.chip), given.WRITER, first=len(pairs) + 1)
        source = self.tools.sources[self.chip.source]
        if isinstance(source, given.SampleSource):
            self.samples += [sample for sample in given.take_samples(source, self.chip) if sample.level in wanted]
        if not is_labelled or not wanted & {"caption", "L2"}:
            return
        written = writer.caption(self.chip, self._rng("caption"))
        self.rejected += written.rejected
        if "caption" in wanted:
            self._keep("caption", written.questions, writer.name)
        if "L2" in wanted:
            caption = written.questions[0].truth if written.questions else ""
            deep = writer.compose(self.chip, caption, pairs, self._rng("L2"))
            self.rejected += deep.rejected
            self._keep("L2", deep.questions, writer.name)

    def _keep(self, level: Level, questions: Sequence[Question], writer: str, *, first: int = 1) -> None:
        root = self.tools.roots.get(self.chip.source)
        shown = self._shown(level)
        for number, question in enumerate(questions, first):
            whole = to_sample(
                self.chip, question, level=level, number=number, writer=writer, labels=self.labels, root=root
            )
            images = tuple(image for image in whole.images if image.modality in shown)
            self.samples.append(replace(whole, images=images))

    def _shown(self, level: Level) -> tuple[str, ...]:
        """The kinds of image that the samples of a level show."""
        is_pair = all(pair.optical is not None and pair.sar is not None for pair in self.chip.scene.pairs)
        if self.plan.recipe.shown == "all" or not is_pair:
            return ("optical", "sar")
        kinds, shares = zip(*SHOWN_SHARES.items(), strict=True)
        rng = rng_of(self.plan.recipe.seed, self.chip.source, self.chip.key, level, "shown")
        return kinds[int(rng.choice(len(kinds), p=shares))]

    def _rng(self, level: Level) -> np.random.Generator:
        """Chance of its own for each level, so that a level is the same whichever others are asked for."""
        return rng_of(self.plan.recipe.seed, self.chip.source, self.chip.key, level)


def rng_of(seed: int, *names: str) -> np.random.Generator:
    """Chance that depends on a seed and names, on every machine alike."""
    digest = hashlib.sha256("\n".join((str(seed), *names)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, "<u4"))


def _annotated() -> Labels:
    return "annotated"


def _sentence(error: Exception) -> str:
    """What an error says in full; nothing of a missing reply, whose words differ from run to run."""
    return "" if isinstance(error, NoReply) else " ".join(str(error).split())


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, ChipError | NoReply) else UNUSABLE

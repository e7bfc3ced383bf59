"""From replies to a score: accuracy by task, grounding, and how sure both are (paper, Section 4, Appendix F.2, Fig. 6).

The average of a model is the mean over the tasks that it can do: those of which it was asked at least one question and
did not fail at all. Within them, what failed or cannot be read is wrong. Intervals come from drawing places anew, not
questions: questions of one place, and the same question with optical, SAR or both images, stand or fall together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, get_args

import numpy as np

from terrascope.bench.external.labels import SEPARATOR, LabelScores, f1_of, read_labels, score_labels
from terrascope.bench.external.protocols import OWN, Metric, Protocol
from terrascope.bench.grounding import Grounded, GroundedQuestion, Grounding, ground, summarize_grounding
from terrascope.bench.items import Shown, shown_of
from terrascope.bench.parsing import RULES, Rule, is_free_right, read_choice, read_free
from terrascope.bench.replies import Reply
from terrascope.bench.statistics import Interval, mean_of_cells, resample_means, spread
from terrascope.errors import SampleError
from terrascope.sample import Sample
from terrascope.trace import LETTERS


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was made of a reply by one rule.

    Attributes:
        choice: a letter, or a free answer; None where nothing can be read.
        credit: what it earns: 1 if it is right, else 0; where labels are named, their F1.
    """

    choice: str | None
    credit: float

    @property
    def right(self) -> bool:
        return self.credit == 1


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One question with what was made of its reply.

    Attributes:
        place: with its source; questions of one place are drawn together.
        num_options: 0 for a free question.
        readings: by rule; nothing is read where the reply failed.
        failed, cut_off: as in the reply.
        grounded: None where the question has no true mask.
    """

    id: str
    task: str
    shown: Shown
    place: str
    num_options: int
    readings: Mapping[Rule, Reading]
    failed: str | None
    cut_off: bool
    grounded: Grounded | None


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """One task, or several together.

    Attributes:
        accuracy: share of right answers; where labels are named, their mean F1 over images.
        chance: what guessing among the options gives; None where a question has none.
        unparsable, failed: shares of questions whose reply cannot be read, and that have none.
    """

    accuracy: Interval
    chance: float | None
    unparsable: float
    failed: float

    @property
    def can_do(self) -> bool:
        return self.failed < 1


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A set of questions.

    Attributes:
        tasks: by name, those that were asked.
        together: over all questions, of tasks that cannot be done too.
        macro, micro: mean over the tasks that can be done, and over their questions.
    """

    tasks: Mapping[str, TaskScore]
    together: TaskScore
    macro: Interval
    micro: Interval

    @property
    def num_tasks(self) -> int:
        """How many tasks can be done."""
        return sum(task.can_do for task in self.tasks.values())

    @property
    def chance(self) -> float | None:
        """What guessing gives on the average of the tasks that can be done; None where a question has no options."""
        chances = [task.chance for task in self.tasks.values() if task.can_do]
        known = [chance for chance in chances if chance is not None]
        return sum(known) / len(known) if known and len(known) == len(chances) else None


@dataclass(frozen=True, kw_only=True)
class Score:
    """The score of a run.

    Attributes:
        run: what answered.
        rule: by which `overall`, `by_shown` and `grounding` are.
        num_questions: of the benchmark; `questions` are those that were asked.
        overall: all questions that were asked; by_shown: by the images that were shown, where there are several kinds.
        by_rule: all questions again, by each rule.
        grounding: None where no question has a true mask, or the run gave no mask at all.
        metric: of its benchmark's protocol.
        labels: where that is `labels`, how well these were named; None where nothing was answered.
        reasons: why questions failed -> how many.
    """

    run: str
    rule: Rule
    num_questions: int
    questions: tuple[Scored, ...] = field(repr=False)
    overall: Summary
    by_shown: Mapping[Shown, Summary]
    by_rule: Mapping[Rule, Summary]
    grounding: Grounding | None
    metric: Metric
    labels: LabelScores | None
    reasons: Mapping[str, int]

    @property
    def num_asked(self) -> int:
        return len(self.questions)

    @property
    def is_partial(self) -> bool:
        """Whether some questions have not been asked."""
        return self.num_asked < self.num_questions

    @property
    def num_cut_off(self) -> int:
        """Replies that the limit of their length has ended; they are read as far as they go."""
        return sum(question.cut_off for question in self.questions)

    @cached_property
    def disagreeing(self) -> tuple[Scored, ...]:
        """The questions whose reply is not read alike by all rules."""
        return tuple(q for q in self.questions if len({reading.choice for reading in q.readings.values()}) > 1)

    @property
    def earns(self) -> str:
        """What `accuracy` is called for people."""
        return "F1" if self.metric == "labels" else "accuracy"

    def credit(self, question: Scored) -> float:
        return question.readings[self.rule].credit

    def is_right(self, question: Scored) -> bool:
        return question.readings[self.rule].right

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values, without the single questions; None where there is no number."""
        return {
            "run": self.run,
            "rule": self.rule,
            "metric": self.metric,
            "num_questions": self.num_questions,
            "num_asked": self.num_asked,
            "num_read_differently": len(self.disagreeing),
            "num_cut_off": self.num_cut_off,
            "reasons": dict(self.reasons),
            "overall": json_values(asdict(self.overall)),
            "by_shown": {shown: json_values(asdict(summary)) for shown, summary in self.by_shown.items()},
            "by_rule": {rule: json_values(asdict(summary)) for rule, summary in self.by_rule.items()},
            "grounding": json_values(asdict(self.grounding)) if self.grounding else None,
            "labels": asdict(self.labels) if self.labels else None,
        }


def score(
    samples: Sequence[Sample],
    replies: Iterable[Reply],
    *,
    run: str = "run",
    rule: Rule = "paper",
    protocol: Protocol = OWN,
    seed: int = 0,
) -> Score:
    """Score the replies of a run.

    Args:
        samples: all questions of the benchmark.
        replies: to any of them; of several to one question the last counts.
        protocol: of the benchmark: whether its answers are letters, texts of options, or names of labels.
        seed: of the resampling.

    Raises:
        SampleError: there is no reply, one is to no question of the benchmark, or the benchmark is damaged.
    """
    given = {reply.id: reply for reply in replies}
    known = {sample.id for sample in samples}
    stranger = next((name for name in given if name not in known), None)
    if stranger is not None:
        raise SampleError(
            f"run {run}: it answers {stranger}, which the benchmark does not ask; run the benchmark again"
        )
    if not given:
        raise SampleError(f"run {run}: holds no reply; run the benchmark first")
    questions = tuple(score_reply(s, given[s.id], protocol) for s in samples if s.id in given)
    shown = [kind for kind in get_args(Shown) if any(question.shown == kind for question in questions)]
    has_masks = any(reply.masks for reply in given.values())
    overall = summarize(questions, rule, seed=seed)
    return Score(
        run=run,
        rule=rule,
        num_questions=len(samples),
        questions=questions,
        overall=overall,
        by_shown={k: summarize([q for q in questions if q.shown == k], rule, seed=seed) for k in shown},
        by_rule={each: summarize(questions, each, seed=seed) for each in RULES},
        grounding=_score_grounding(questions, overall, rule, seed) if has_masks else None,
        metric=protocol.metric,
        labels=_score_labels(samples, given) if protocol.metric == "labels" and overall.num_tasks else None,
        reasons=dict(Counter(q.failed for q in questions if q.failed is not None).most_common()),
    )


def score_reply(sample: Sample, reply: Reply, protocol: Protocol = OWN) -> Scored:
    """What was made of one reply.

    Raises:
        SampleError: the right answer is none of the options, or a true mask is damaged.
    """
    truth = sample.answer
    if sample.options and (len(truth) != 1 or truth not in LETTERS[: len(sample.options)]):
        raise SampleError(
            f"sample {sample.id}: its answer {truth!r} is the letter of none of its {len(sample.options)} options"
        )
    readings: dict[Rule, Reading] = {}
    for rule in RULES:
        if reply.failed is not None:
            readings[rule] = Reading(choice=None, credit=0.0)
        elif sample.options:
            choice = read_choice(reply.text, sample.options, rule, by_text=protocol.by_text)
            readings[rule] = Reading(choice=choice, credit=float(choice == truth))
        elif protocol.metric == "labels":
            named = _labels_in(reply)
            credit = f1_of(read_labels(truth), named)
            readings[rule] = Reading(choice=SEPARATOR.join(sorted(named)) or None, credit=credit)
        else:
            said = read_free(reply.text, sample.unit)
            right = said is not None and is_free_right(said, truth, value=sample.value, unit=sample.unit)
            readings[rule] = Reading(choice=said, credit=float(right))
    return Scored(
        id=sample.id,
        task=sample.task,
        shown=shown_of(sample),
        place=f"{sample.source}/{sample.place}",
        num_options=len(sample.options),
        readings=readings,
        failed=reply.failed,
        cut_off=reply.cut_off,
        grounded=ground(sample, reply.masks) if sample.masks else None,
    )


def summarize(questions: Sequence[Scored], rule: Rule, *, seed: int = 0) -> Summary:
    """Accuracy by task and over tasks, of at least one question."""
    names = list(dict.fromkeys(question.task for question in questions))
    of_task = np.array([[question.task == name for name in names] for question in questions])
    can_do = np.array([any(q.failed is None for q in questions if q.task == name) for name in names])
    # Cells: each task, the tasks that can be done, all.
    cells = np.concatenate([of_task, of_task @ can_do[:, None], np.ones((len(questions), 1), bool)], axis=1)
    earned = [question.readings[rule].credit for question in questions]
    means, drawn = resample_means(earned, cells, [question.place for question in questions], seed=seed)
    parts = []
    for place in range(cells.shape[1]):
        chosen = [question for question, inside in zip(questions, cells[:, place], strict=True) if inside]
        parts.append(_describe(chosen, rule, spread(means[place], drawn[:, place], len(chosen))))
    *tasks, done, together = parts
    done_cells = np.flatnonzero(can_do)
    return Summary(
        tasks=dict(zip(names, tasks, strict=True)),
        together=together,
        macro=spread(*mean_of_cells(means[done_cells], drawn[:, done_cells]), done.accuracy.num),
        micro=done.accuracy,
    )


def _describe(questions: Sequence[Scored], rule: Rule, accuracy: Interval) -> TaskScore:
    num, has_options = max(len(questions), 1), all(question.num_options for question in questions)
    unread = sum(q.failed is None and q.readings[rule].choice is None for q in questions)
    return TaskScore(
        accuracy=accuracy,
        chance=sum(1 / question.num_options for question in questions) / num if has_options else None,
        unparsable=unread / num,
        failed=sum(question.failed is not None for question in questions) / num,
    )


def _score_grounding(questions: Sequence[Scored], overall: Summary, rule: Rule, seed: int) -> Grounding | None:
    grounded = [
        GroundedQuestion(grounded=q.grounded, right=q.readings[rule].right, task=q.task, place=q.place)
        for q in questions
        if q.grounded is not None and overall.tasks[q.task].can_do
    ]
    return summarize_grounding(grounded, seed=seed) if grounded else None


def _score_labels(samples: Sequence[Sample], given: Mapping[str, Reply]) -> LabelScores:
    asked = [sample for sample in samples if sample.id in given]
    try:
        return score_labels(
            [read_labels(sample.answer) for sample in asked], [_labels_in(given[sample.id]) for sample in asked]
        )
    except ValueError as error:
        raise SampleError(f"a question of this benchmark has no true label: {error}") from None


def _labels_in(reply: Reply) -> frozenset[str]:
    """The labels that the answer of a reply names; what was only thought of does not count."""
    return read_labels(read_free(reply.text, None) or "")


def json_values(value: Any) -> Any:
    """The same with None for what is not a number, which JSON does not know."""
    if isinstance(value, dict):
        return {key: json_values(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value

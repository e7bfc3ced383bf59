"""Several runs on one benchmark side by side: who is better, and whether that could be chance."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from terrascope.bench.external.protocols import OWN, PROTOCOLS
from terrascope.bench.items import Benchmark
from terrascope.bench.parsing import Rule
from terrascope.bench.replies import Reply
from terrascope.bench.run_folder import read_run
from terrascope.bench.score import Score, json_values, score
from terrascope.bench.statistics import (
    NOTHING,
    Interval,
    bootstrap_p,
    mcnemar_p,
    mean_of_cells,
    resample_means,
    spread,
)
from terrascope.errors import SampleError

LEVELS = ((0.01, "**"), (0.05, "*"))
"""A difference with a p value below the first is marked with the second."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs on the questions that both were asked, of the tasks that both can do.

    Attributes:
        macro, micro: what the first has more than the second; their intervals, and `p`, come from drawing places anew.
        p: of no difference in `macro`, two-sided; 1 where there is no such question.
        only_first, only_second: questions that only one got right.
        mcnemar_p: exact, of these questions; those of one place, and all versions of one question, go together.
    """

    num_questions: int
    num_tasks: int
    macro: Interval
    micro: Interval
    p: float
    only_first: int
    only_second: int
    mcnemar_p: float

    @property
    def mark(self) -> str:
        return next((mark for level, mark in LEVELS if self.p < level), "")


NOT_COMPARED = Comparison(
    num_questions=0, num_tasks=0, macro=NOTHING, micro=NOTHING, p=1.0, only_first=0, only_second=0, mcnemar_p=1.0
)
"""Two runs without a common question."""


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """Runs on one benchmark, the best average first; those that were not asked everything are not ranked.

    Attributes:
        benchmark, digest: of all of them.
        scores: of the runs; their names differ. Those that are not ranked come last.
        comparisons: of each run with the next, over the questions that both were asked.
    """

    benchmark: str
    digest: str
    scores: tuple[Score, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def num_ranked(self) -> int:
        """How many of the scores are ranked: an average over some of the questions is none to compare."""
        return sum(not entry.is_partial for entry in self.scores)

    @property
    def rule(self) -> Rule:
        return self.scores[0].rule

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks that any run was asked, in the order of the benchmark."""
        return tuple(dict.fromkeys(name for entry in self.scores for name in entry.overall.tasks))

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        return {
            "benchmark": self.benchmark,
            "digest": self.digest,
            "rule": self.rule,
            "num_ranked": self.num_ranked,
            "runs": [entry.to_dict() for entry in self.scores],
            "comparisons": [
                {"first": first.run, "second": second.run, **json_values(asdict(comparison))}
                for (first, second), comparison in zip(pairwise(self.scores), self.comparisons, strict=True)
            ],
        }

    def mark(self, place: int) -> str:
        """`*` or `**` where a run is better than the next one that is ranked, and chance is a poor excuse."""
        return self.comparisons[place].mark if place + 1 < self.num_ranked else ""

    def rank(self, place: int) -> str:
        """The rank of the run at a place (from 0), from 1; a dash where it is not ranked."""
        return str(place + 1) if place < self.num_ranked else "-"


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run as it lies in its folder: its name on the leaderboard, what `run.json` says, and its replies."""

    name: str
    about: Mapping[str, Any]
    replies: tuple[Reply, ...] = field(repr=False)


def open_runs(benchmark: Benchmark, folders: Sequence[str | os.PathLike[str]]) -> tuple[OpenRun, ...]:
    """Runs on a benchmark, in the order of their folders. Two of one predictor are told apart by the folder's name.

    Raises:
        SampleError: no folder is given, or one twice; or a run is damaged, holds no reply, or is one of another
            benchmark.
    """
    if not folders:
        raise SampleError("no run is given; name the folder of at least one")
    read: list[tuple[Path, dict[str, Any], tuple[Reply, ...]]] = []
    for folder in map(Path, folders):
        if any(folder.resolve() == before for before, _, _ in read):
            raise SampleError(f"{folder}: this run is given twice; give each once")
        about, replies = read_run(folder)
        other = about["benchmark"]
        if other["digest"] != benchmark.digest:
            raise SampleError(
                f"{folder}: a run on {other['name']} with the digest {other['digest'][:12]}, and {benchmark.name} has "
                f"{benchmark.digest[:12]}; give the benchmark that was run, or run this one"
            )
        if not replies:
            raise SampleError(f"{folder}: holds no reply yet; run the benchmark first")
        read.append((folder.resolve(), about, replies))
    names = [about["predictor"] for _, about, _ in read]
    for parts in (1, 2, 3):
        times = Counter(names)
        names = [
            name if times[name] == 1 else f"{about['predictor']} ({'/'.join(folder.parts[-parts:])})"
            for name, (folder, about, _) in zip(names, read, strict=True)
        ]
    return tuple(
        OpenRun(name=name, about=about, replies=replies) for name, (_, about, replies) in zip(names, read, strict=True)
    )


def score_run(benchmark: Benchmark, run: OpenRun, *, rule: Rule = "paper", seed: int = 0) -> Score:
    """Score a run over what it was asked; the benchmarks of others by their own protocols, known by their names.

    Raises:
        SampleError: the benchmark is damaged.
    """
    protocol = PROTOCOLS.get(benchmark.name, OWN)
    return score(benchmark.samples, run.replies, run=run.name, rule=rule, protocol=protocol, seed=seed)


def rank(benchmark: Benchmark, scores: Sequence[Score], *, seed: int = 0) -> Leaderboard:
    """Runs on a benchmark, at least one, in the order of their averages, each compared with the next.

    Those that were asked only some of the questions come last.
    """
    ordered = sorted(
        scores,
        key=lambda entry: (entry.is_partial, -np.nan_to_num(entry.overall.macro.mean, nan=-1.0), entry.run),
    )
    return Leaderboard(
        benchmark=benchmark.name,
        digest=benchmark.digest,
        scores=tuple(ordered),
        comparisons=tuple(compare(one, other, seed=seed) for one, other in pairwise(ordered)),
    )


def compare(first: Score, second: Score, *, seed: int = 0) -> Comparison:
    """Which of two runs on one benchmark is better, question by question; each is read by its own rule."""
    others = {question.id: question for question in second.questions}
    done = [{name for name, task in each.overall.tasks.items() if task.can_do} for each in (first, second)]
    both = [q for q in first.questions if q.id in others and q.task in done[0] & done[1]]
    if not both:
        return NOT_COMPARED
    gains = np.array([first.credit(one) - second.credit(others[one.id]) for one in both])
    names = list(dict.fromkeys(one.task for one in both))
    cells = np.array([[*(one.task == name for name in names), True] for one in both])
    means, drawn = resample_means(gains, cells, [one.place for one in both], seed=seed)
    macro, drawn_macro = mean_of_cells(means[:-1], drawn[:, :-1])
    right = [(first.is_right(one), second.is_right(others[one.id])) for one in both]
    only_first, only_second = right.count((True, False)), right.count((False, True))
    changes = [int(one) - int(other) for one, other in right]
    return Comparison(
        num_questions=len(both),
        num_tasks=len(names),
        macro=spread(macro, drawn_macro, len(both)),
        micro=spread(float(means[-1]), drawn[:, -1], len(both)),
        p=bootstrap_p(drawn_macro),
        only_first=only_first,
        only_second=only_second,
        mcnemar_p=mcnemar_p(changes, [one.place for one in both]),
    )

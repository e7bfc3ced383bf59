"""How each benchmark of others is scored by its own protocol: what is counted, and which averages its tables show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

Metric = Literal["accuracy", "labels"]
Kind = Literal["macro", "micro", "f1", "micro_f1", "macro_f1", "recall", "exact"]


@dataclass(frozen=True, kw_only=True)
class Average:
    """One average: over columns, or over named labels.

    Attributes:
        name: what tables call it.
        kind: `macro`, the mean of the columns' accuracies, or `micro`, the accuracy over all of their questions; where
            labels are named, the field of `terrascope.bench.external.labels.LabelScores`.
        columns: those that it is over; none for all that were asked.
        where: which paper or table takes it so.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...] = ()
    where: str


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a benchmark is scored.

    Attributes:
        metric: `accuracy` of chosen options; or `labels`: `terrascope.bench.external.labels.score_labels`, and what a
            question earns is its F1.
        columns: name of a column -> its tasks, as patterns for their names in any case; empty where each task is a
            column.
        averages: those that its tables show, the paper's Table 1 first.
        by_text: whether an answer may be the text of an option instead of its letter.
    """

    metric: Metric = "accuracy"
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    averages: tuple[Average, ...]
    by_text: bool = False

    def column_of(self, task: str) -> str:
        """The column that a task belongs to: its own name where none names it."""
        name = task.casefold()
        return next((c for c, tasks in self.columns.items() if any(fnmatchcase(name, t) for t in tasks)), task)

    def average(self, average: Average, counts: Mapping[str, tuple[int, int]]) -> float | None:
        """A macro or micro average (0-1) of how many answers were right and how many were asked, task by task.

        None where a column that it is over was not asked at all.
        """
        columns: dict[str, tuple[int, int]] = {}
        for task, (right, asked) in counts.items():
            column = self.column_of(task)
            before = columns.get(column, (0, 0))
            columns[column] = (before[0] + right, before[1] + asked)
        taken = [columns.get(name, (0, 0)) for name in average.columns or columns]
        if not taken or any(asked == 0 for _, asked in taken):
            return None
        if average.kind == "macro":
            return sum(right / asked for right, asked in taken) / len(taken)
        return sum(right for right, _ in taken) / sum(asked for _, asked in taken)


OWN = Protocol(averages=(Average(name="Avg.", kind="macro", where="the paper's Tables 1 and A"),))
"""The paper's own protocol: accuracy by task, and the mean over the tasks that were asked."""

PROTOCOLS: Mapping[str, Protocol] = {
    "terrascope-bench": Protocol(
        averages=(
            *OWN.averages,
            Average(name="Overall", kind="micro", where="the authors' published script"),
        ),
    ),
    "landsat30-au": Protocol(
        averages=(
            Average(name="Avg.", kind="macro", columns=("APR", "NUM", "SRI"), where="the paper's Table 1"),
            Average(name="Overall", kind="micro", where="the paper's Table F, and Landsat30-AU's own"),
        ),
        by_text=True,
    ),
    "disasterm3": Protocol(
        # Tasks are written with underscores or spaces, and the paper writes both DBC and BDC.
        columns={
            "BDC": ("*building*damage*count*", "*damage*building*count*"),
            "DRE": ("*road*damage*", "*damage*road*"),
        },
        averages=(Average(name="Avg.", kind="macro", columns=("BDC", "DRE"), where="the paper's Tables 1 and H"),),
    ),
    "rsvqa-lr": Protocol(
        averages=(
            # GeoChat's 90.7 there is this average of its own table; the mean of the three columns would be 91.8.
            Average(
                name="RSVQA-LR", kind="micro", columns=("presence", "comp", "rural_urban"), where="the paper's Table G"
            ),
            Average(name="AA", kind="macro", where="RSVQA's own paper"),
            Average(name="OA", kind="micro", where="RSVQA's own paper"),
        ),
        by_text=True,
    ),
    "bigearthnet": Protocol(
        metric="labels",
        # The paper's Table G gives one number and does not say which.
        averages=(
            Average(name="Recall", kind="recall", where="EarthDial's script, beside the paper in Table G"),
            Average(name="F1", kind="f1", where="mean over images"),
            Average(name="Micro F1", kind="micro_f1", where="over all labels of all images"),
            Average(name="Macro F1", kind="macro_f1", where="mean over classes"),
            Average(name="Exact", kind="exact", where="just the right classes"),
        ),
    ),
    "earthmind-bench": Protocol(
        averages=(Average(name="Overall", kind="micro", where="EarthMind's published script"),),
        by_text=True,
    ),
}
"""Protocol by the name of its benchmark; one that is not here is scored by `OWN`."""

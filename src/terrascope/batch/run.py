"""A batch: every question about every scene, each result on disk before the next, and the tables of all at the end.

A process may be killed at any time; the same call goes on where it stopped. What fails for one question is listed and
kept as a failure; nothing but the folder itself ends a batch.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from terrascope.batch.folder import BatchFolder, open_batch
from terrascope.batch.plan import AskedScene, Plan
from terrascope.batch.result import Result
from terrascope.batch.tables import ANSWERS, FAILURES, write_tables

Engine = Callable[[Sequence[AskedScene]], Iterator[Result]]
"""Asks all questions of some scenes and yields the results, in any order."""

Progress = Callable[[int, int], None]
"""Called with the questions done, and all."""


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """What a batch came to.

    Attributes:
        folder: where it lies.
        num_scenes, num_questions: of the plan.
        num_asked: questions asked in this call; the others were done.
        num_answered: questions that have an answer by now.
        failed: questions without an answer, by reason.
        seconds: that this call took.
    """

    folder: Path
    num_scenes: int
    num_questions: int
    num_asked: int
    num_answered: int
    failed: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.failed.items())
        failed = f"{sum(self.failed.values())} failed ({reasons}; see {FAILURES})" if reasons else "none failed"
        return (
            f"{_counted(self.num_questions, 'question')} about {_counted(self.num_scenes, 'scene')}: "
            f"{self.num_answered:,} answered, {failed}; {self.num_asked:,} asked now in {self.seconds:,.1f} s; "
            f"{self.folder / ANSWERS}"
        )


def run(
    plan: Plan,
    engine: Engine,
    folder: str | os.PathLike[str],
    *,
    model: str,
    settings: Mapping[str, Any] | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> BatchReport:
    """Ask every question of a plan that is not done yet, and write the tables of all results.

    Args:
        engine: that asks; it is not called where nothing is left to ask.
        folder: of the results; made where there is none.
        model: the name of the one that is asked, as it is typed.
        settings: with which it was opened, as JSON values; a batch has one set of them.
        again: also ask again what failed before.
        progress: is called after every question.

    Raises:
        OutputError: the folder cannot be written, holds another batch, or another process is writing there.
    """
    started = perf_counter()
    with open_batch(folder, plan, model=model, settings=settings or {}, again=again) as batch:
        batch.finish_all()
        num_done = len(batch.rows)
        pending = batch.pending()
        for result in engine(pending) if pending else ():
            batch.add(result)
            if progress is not None:
                progress(len(batch.rows), plan.num_questions)
        write_tables(batch)
        batch.tidy()
        return _report(batch, num_asked=len(batch.rows) - num_done, seconds=perf_counter() - started)


def _report(batch: BatchFolder, *, num_asked: int, seconds: float) -> BatchReport:
    reasons = Counter(row["reason"] for row in batch.rows.values() if row.get("reason") is not None)
    return BatchReport(
        folder=batch.folder,
        num_scenes=len(batch.plan.scenes),
        num_questions=batch.plan.num_questions,
        num_asked=num_asked,
        num_answered=len(batch.rows) - reasons.total(),
        failed=dict(reasons.most_common()),
        seconds=seconds,
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

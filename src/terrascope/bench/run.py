"""A run: every item of a benchmark asked of one predictor, each reply on disk before the next item is asked.

The folder holds `run.json` (what is asked of whom, with which program on which machine) and `replies.jsonl` (a line a
reply, in the order of the items). A run may be killed at any time; the same call goes on where it stopped. What fails
for one item is counted and kept as a reply without an answer; what would fail for all of them ends the run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from terrascope import masks, trace
from terrascope.answer import Answer, GroundedStep
from terrascope.bench.external.protocols import OWN, PROTOCOLS
from terrascope.bench.foreign import CUT_OFF
from terrascope.bench.item_predictor import Outcome, ask_items
from terrascope.bench.items import Benchmark, Item
from terrascope.bench.parsing import read_choice
from terrascope.bench.replies import Reply
from terrascope.bench.run_folder import REPLIES, append, appending, begin, describe_run, held, take_up
from terrascope.errors import (
    EndpointError,
    ModelError,
    QuestionError,
    SampleError,
    ScaleError,
    SceneError,
    TerraScopeError,
)
from terrascope.llm import NoReply
from terrascope.output import check_folder
from terrascope.predictor import Predictor
from terrascope.sample import Sample, SampleMask
from terrascope.tasks.measured import class_of

FAILURES_THAT_END_A_RUN = 20
"""Items in a row that fail before the run is given up."""

OUT_OF_MEMORY = "out of memory"
NO_COMPLETION = "no chat completion"
"""Reason where a server replied with something else, such as a page or a completion without choices."""

_MEMORY_WORDS = "memory ran out"

_REASONS: tuple[tuple[type[TerraScopeError], str], ...] = (
    (ScaleError, "no ground scale"),
    (QuestionError, "question refused"),
    (SceneError, "image cannot be read"),
    (SampleError, "record cannot be used"),
    (ModelError, "model failed"),
)

Progress = Callable[[int, int], None]
"""Called with the items that have a reply, and all."""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a run came to.

    Attributes:
        folder: where it lies.
        benchmark, predictor: the names of the two.
        num_items: of the benchmark, up to the limit.
        num_asked: in this call; the others had their reply.
        num_chosen: replies in which the paper's rule reads an option.
        num_cut_off: replies that the limit of their length has ended.
        failed: items without an answer, by reason.
        fault: what went wrong at the last item that failed in this call; None where none did.
        seconds: that the predictor took for all replies.
    """

    folder: Path
    benchmark: str
    predictor: str
    num_items: int
    num_asked: int
    num_chosen: int
    num_cut_off: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    fault: str | None = None
    seconds: float = 0.0

    @property
    def num_failed(self) -> int:
        return sum(self.failed.values())

    @property
    def all_failed(self) -> bool:
        return self.num_items > 0 and self.num_failed >= self.num_items

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.failed.items())
        cut_off = f"{self.num_cut_off} cut off, " if self.num_cut_off else ""
        failed = f"{self.num_failed} failed ({reasons})" if reasons else "none failed"
        last = f"; the last that failed: {self.fault}" if self.fault else ""
        return (
            f"{self.predictor} on {self.benchmark}: {self.num_items} questions, {self.num_asked} asked now, "
            f"{self.num_chosen} chose an option, {cut_off}{failed}, {self.seconds:,.1f} s{last}"
        )


def run(
    benchmark: Benchmark,
    predictor: Predictor,
    folder: str | os.PathLike[str],
    *,
    name: str,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    limit: int | None = None,
    again: bool = False,
) -> RunReport:
    """Ask every item that has no reply yet.

    Args:
        folder: of the run; made where there is none.
        name: of the predictor, as it is typed.
        settings: with which it was opened, as JSON values; a run has one set of them.
        progress: is called after every item.
        limit: only so many items, the first ones; a later call with more goes on.
        again: also ask those items again that failed before. Those that failed at the end of a run that was given up
            are asked again in any case.

    Raises:
        OutputError: the folder cannot be written, or holds a run of another benchmark, predictor or settings, or
            another process is writing to it.
        SampleError: `replies.jsonl` is damaged other than at its end.
        ModelError: too many items in a row failed.
        EndpointError: what every further request would meet: a wrong key, a server that is gone.
    """
    target = check_folder(folder)
    target.mkdir(parents=True, exist_ok=True)
    samples = benchmark.samples[:limit]
    with held(target):
        begin(target, describe_run(benchmark, name, settings or {}))
        replies = take_up(target / REPLIES, [sample.id for sample in benchmark.samples], again, name)
        count = _Count({sample.id: sample for sample in samples}, PROTOCOLS.get(benchmark.name, OWN).by_text)
        for reply in replies.values():
            count.add(reply)
        num_asked, in_a_row, num_done, fault = 0, 0, count.num, None
        with appending(target / REPLIES) as file:
            places = [index for index, sample in enumerate(samples) if sample.id not in replies]
            for reply, error in _replies(benchmark, places, predictor):
                append(file, target / REPLIES, reply)
                count.add(reply)
                num_asked, num_done = num_asked + 1, num_done + 1
                fault = fault if error is None else _one_line(error)
                if progress is not None:
                    progress(num_done, len(samples))
                in_a_row = _count_failures(in_a_row, error, name)
        return RunReport(
            folder=target,
            benchmark=benchmark.name,
            predictor=name,
            num_items=len(samples),
            num_asked=num_asked,
            num_chosen=count.num_chosen,
            num_cut_off=count.num_cut_off,
            failed=dict(count.failed.most_common()),
            fault=fault,
            seconds=count.seconds,
        )


def to_reply(sample_id: str, answer: Answer, seconds: float) -> Reply:
    """An answer as it is kept: all that was written, and every mask."""
    return Reply(
        id=sample_id,
        text=_scored_text(answer),
        raw=answer.reasoning,
        masks=tuple(_to_mask(step) for step in answer.steps),
        seconds=round(seconds, 6),
        cut_off=CUT_OFF in answer.notes,
    )


def _scored_text(answer: Answer) -> str:
    """What is scored of an answer: its words, unless an option was chosen that they do not name."""
    is_named = trace.answer_letter(answer.trace.answer, len(answer.options)) == answer.text
    return answer.reasoning if answer.option is None or is_named else answer.text


def reason_of(error: TerraScopeError | MemoryError) -> str:
    """Why an item failed, in a few words that are the same for every such item."""
    own = getattr(error, "reason", None)
    if isinstance(own, str):
        return NO_COMPLETION if own == "nonsense" and isinstance(error, NoReply) else own
    if isinstance(error, MemoryError) or _MEMORY_WORDS in str(error):
        return OUT_OF_MEMORY
    return next((words for kind, words in _REASONS if isinstance(error, kind)), "predictor failed")


# ---------------------------------------------------------------------------------------------------------------------
# One item.


_Reached = tuple[Reply, TerraScopeError | MemoryError | None]
"""The reply to an item; where it failed, one without an answer, and why."""


def _replies(benchmark: Benchmark, places: Sequence[int], predictor: Predictor) -> Iterator[_Reached]:
    """The replies to the items at some places, in order.

    Raises:
        EndpointError: what every further request would meet.
    """
    reading_s = 0.0

    def items() -> Iterator[Item | TerraScopeError]:
        nonlocal reading_s
        for index in places:
            started = perf_counter()
            try:
                item: Item | TerraScopeError = benchmark.item(index)
            except TerraScopeError as error:
                item = error
            except MemoryError:
                item = ModelError(f"{benchmark.samples[index].id}: {_MEMORY_WORDS} while its scene was read")
            reading_s += perf_counter() - started
            yield item

    outcomes = ask_items(predictor, items())
    for index in places:
        # Of items that are answered together, each counts the time since the last reply.
        started, read_before = perf_counter(), reading_s
        came = next(outcomes)
        seconds = perf_counter() - started - (reading_s - read_before)
        yield _outcome(benchmark.samples[index].id, came, seconds)


def _outcome(sample_id: str, came: Outcome, seconds: float) -> _Reached:
    if isinstance(came, Answer):
        return to_reply(sample_id, came, seconds), None
    if isinstance(came, EndpointError) and not isinstance(came, NoReply):
        raise came
    return Reply(id=sample_id, text="", raw="", seconds=round(seconds, 6), failed=reason_of(came)), came


def _count_failures(in_a_row: int, error: TerraScopeError | MemoryError | None, name: str) -> int:
    """How many items in a row have failed by now.

    Raises:
        ModelError: so many that the run is given up.
    """
    if error is None:
        return 0
    if in_a_row + 1 >= FAILURES_THAT_END_A_RUN:
        raise ModelError(
            f"{name}: {in_a_row + 1} questions in a row failed, at last: {_one_line(error)}; "
            "mend it and start the same run again to go on"
        )
    return in_a_row + 1


def _to_mask(step: GroundedStep) -> SampleMask:
    return SampleMask(
        counts=masks.encode_rle(step.mask)["counts"],
        image=step.image,
        class_name=class_of(step.text) or step.text,
    )


@dataclass
class _Count:
    """Replies so far to some samples, added up.

    Args:
        samples: by id; replies to others do not count.
        by_text: as `parsing.read_choice` takes it.
    """

    samples: Mapping[str, Sample]
    by_text: bool
    num: int = 0
    num_chosen: int = 0
    num_cut_off: int = 0
    seconds: float = 0.0
    failed: Counter[str] = field(default_factory=Counter)

    def add(self, reply: Reply) -> None:
        sample = self.samples.get(reply.id)
        if sample is None:
            return
        self.num += 1
        self.seconds += reply.seconds
        self.num_cut_off += reply.cut_off
        if reply.failed is not None:
            self.failed[reply.failed] += 1
        else:
            self.num_chosen += read_choice(reply.text, sample.options, "paper", by_text=self.by_text) is not None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

"""Whether the rows of a benchmark are questions that can be asked and scored: files come from elsewhere, too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from terrascope.bench.recipe import TASKS
from terrascope.errors import SampleError
from terrascope.sample import Sample
from terrascope.terracot.store import Store
from terrascope.trace import LETTERS, SEG

UNITS = ("%", "m2", "m", "count")
MODALITIES = ("optical", "sar")


def check_questions(samples: Sequence[Sample], store: Store) -> None:
    """Refuse a benchmark with a row that is no question of one.

    Args:
        store: that the samples are of; where it notes its chips, every question is about one of them.

    Raises:
        SampleError: the first fault that is found.
    """
    chips = {(record.source, record.key) for record in store.chips()}
    known: set[str] = set()
    for sample in samples:
        fault = f"stands there twice: {sample.id}" if sample.id in known else next(_faults(sample, chips), None)
        if fault is not None:
            raise SampleError(f"{store.path}: damaged ({fault}); copy it again, or build the benchmark again")
        known.add(sample.id)


def _faults(sample: Sample, chips: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What is wrong with a row, one after another."""

    def told(what: str) -> str:
        return f"{sample.id or 'a row'}: {what}"

    texts = sample.id, sample.source, sample.key, sample.place, sample.question, sample.reasoning, sample.truth
    if not all(isinstance(text, str) and text for text in texts):
        yield f"{sample.id or 'a row'} has an empty field"
        return
    if sample.task not in TASKS:
        yield told(f"the task {sample.task!r} is none of {', '.join(TASKS)}")
    if not sample.images or any(i.number < 1 or i.modality not in MODALITIES for i in sample.images):
        yield told("it shows no image, or one that is neither optical nor SAR")
    if chips and (sample.source, sample.key) not in chips:
        yield told("it is about a scene that the file does not note")
    if sample.options and sample.answer not in LETTERS[: len(sample.options)]:
        yield told(f"its answer {sample.answer!r} is the letter of none of its {len(sample.options)} options")
    elif sample.options and sample.options[LETTERS.index(sample.answer)] != sample.truth:
        yield told(f"its answer {sample.answer} is not the option {sample.truth!r}")
    if sample.reasoning.count(SEG) != len(sample.masks):
        yield told(f"its reasoning has {sample.reasoning.count(SEG)} {SEG}, and it has {len(sample.masks)} masks")
    if sample.unit is not None and sample.unit not in UNITS:
        yield told(f"the unit {sample.unit!r} is none of {', '.join(UNITS)}")
    if sample.value is not None and not 0 <= sample.value <= (100 if sample.unit == "%" else float("inf")):
        yield told(f"its truth cannot be {sample.value:g} {sample.unit or ''}".rstrip())

"""Stage 3 of the benchmark, back from the experts: what all of them find good is kept (paper, Appendix D)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from terrascope.bench.agreement import Agreement, measure_agreement
from terrascope.bench.amend import amend
from terrascope.bench.derived import open_folder, question_id, questions_of, write_derived
from terrascope.bench.items import digest_of
from terrascope.bench.label_studio import NO_RATING, RATINGS, Annotation, read_export
from terrascope.bench.recipe import TASKS
from terrascope.errors import SampleError
from terrascope.masks import Mask
from terrascope.sample import Sample
from terrascope.tasks import Task
from terrascope.terracot.pictures import Read
from terrascope.terracot.recipe import settle
from terrascope.terracot.shard import hash_file

NOT_REVIEWED = "not reviewed"
TOO_FEW = "too few experts"
NOT_HIGH = "not high for all experts"
CHECK_FAILED = "a check failed"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class ReviewReport:
    """What became of the questions; one that is shown in several versions counts once.

    Attributes:
        num_questions: of the benchmark.
        num_kept, num_corrected: those that stay, and those among them with a corrected mask.
        num_samples: that stay, each version by itself.
        dropped: the others, by reason.
        ratings: how often each rating was given.
        failed_checks: how often each check was answered with no.
        experts: questions that each expert has rated.
        agreement: of the experts.
        remarks: question, expert, and what the expert says of it.
    """

    num_questions: int
    num_kept: int
    num_corrected: int
    num_samples: int
    dropped: Mapping[str, int]
    ratings: Mapping[str, int]
    failed_checks: Mapping[str, int]
    experts: Mapping[str, int]
    agreement: Agreement
    remarks: tuple[tuple[str, str, str], ...] = field(default=())


def import_review(
    folder: Path,
    exports: Sequence[Path],
    out: Path,
    read: Read,
    *,
    min_experts: int = 2,
    progress: Progress | None = None,
) -> ReviewReport:
    """Write what experts have left of a benchmark as another benchmark.

    A question stays where at least `min_experts` have rated it, all of them "high", and no check was answered with no.
    Where masks were corrected, a pixel is of the mask if more than half of its experts say so, and as it was before if
    they are split evenly; an expert who has not touched a mask says that it is as it was. The answer is computed anew
    from corrected masks by the rule of the task; a question that has none, or to which no option fits, is dropped.

    Args:
        folder: of the benchmark that was reviewed.
        exports: JSON exports of Label Studio, of one expert each or of several.
        read: gives the chip of a source's name and a key, as `BenchStore.read_chip` does; asked for questions with
            corrected masks alone.

    Raises:
        SampleError: an export is none, is given twice, or reviews another benchmark; or no question is left.
        SceneError: a scene of which a mask was corrected cannot be read.
        OutputError: the folder cannot be written.
    """
    tell = progress or (lambda done, total: None)
    store = open_folder(folder)
    assert store.manifest is not None
    samples = tuple(store)
    questions = questions_of(samples)
    reviews = _read_reviews(exports, questions, digest_of(samples))
    thresholds = _thresholds(store.manifest["recipe"].get("tasks", {}))
    kept: list[Sample] = []
    dropped: Counter[str] = Counter()
    drawn: list[list[Mask]] = []
    num_corrected = 0
    for done, versions in enumerate(questions, 1):
        annotations = reviews[question_id(versions[0])]
        if not any(one.fault for one in annotations):
            drawn += _drawn(versions[0], annotations)
        reason = _reason(annotations, min_experts)
        left = _amend(versions, annotations, read, thresholds) if reason is None else reason
        if isinstance(left, str):
            dropped[left] += 1
        else:
            num_corrected += left != versions
            kept += left
        tell(done, len(questions))
    report = ReviewReport(
        num_questions=len(questions),
        num_kept=len(questions) - dropped.total(),
        num_corrected=num_corrected,
        num_samples=len(kept),
        dropped=dict(sorted(dropped.items())),
        **_told(reviews, drawn),
    )
    public = {name: value for name, value in asdict(report).items() if name not in ("remarks", "experts")}
    made = {
        "stage": "review",
        "exports": sorted(map(hash_file, exports)),
        "min_experts": min_experts,
        "num_experts": len(report.experts),
        "found": public,
    }
    write_derived(store, kept, out, made=made)
    return report


def _read_reviews(
    exports: Sequence[Path], questions: Sequence[Sequence[Sample]], digest: str
) -> dict[str, list[Annotation]]:
    """What the experts say of each question, each expert once."""
    if not exports:
        raise SampleError("no review was given; name the JSON exports of Label Studio")
    samples = {question_id(versions[0]): versions[0] for versions in questions}
    reviews: dict[str, dict[str, Annotation]] = {name: {} for name in samples}
    known: dict[str, Path] = {}
    for number, path in enumerate(exports, 1):
        content = hash_file(path) if path.is_file() else str(path)
        if content in known:
            raise SampleError(f"{path}: the same export as {known[content]}; give each once")
        known[content] = path
        for name, annotation in read_export(path, samples, digest, number=number):
            reviews[name][annotation.expert] = annotation
    return {name: list(given.values()) for name, given in reviews.items()}


def _amend(
    versions: tuple[Sample, ...], annotations: Sequence[Annotation], read: Read, tasks: Mapping[str, Task]
) -> tuple[Sample, ...] | str:
    """The versions of a question with the masks that the experts have left; or why there is no such question."""
    sample = versions[0]
    corrected = _correct(sample, annotations)
    if not corrected:
        return versions
    chip = read(sample.source, sample.key)
    amended = []
    for version in versions:
        result = amend(version, corrected, chip, tasks=tasks)
        if isinstance(result, str):
            return result
        amended.append(result)
    return tuple(amended)


def _told(reviews: Mapping[str, Sequence[Annotation]], drawn: Sequence[Sequence[Mask]]) -> dict[str, Any]:
    """The fields of a report that tell what the experts said, whatever became of the questions."""
    everything = [(name, one) for name, annotations in reviews.items() for one in annotations]
    return {
        "ratings": _count(one.rating for _, one in everything if one.rating),
        "failed_checks": _count(check for _, one in everything for check in one.failed),
        "experts": _count(one.expert for _, one in everything if one.rating),
        "agreement": measure_agreement(
            [[one.rating for one in annotations if one.rating] for annotations in reviews.values()], drawn
        ),
        "remarks": tuple((name, one.expert, one.remarks) for name, one in everything if one.remarks),
    }


def _reason(annotations: Sequence[Annotation], min_experts: int) -> str | None:
    """Why a question is dropped, whatever its masks; None if it stays."""
    if len(annotations) < min_experts:
        return TOO_FEW if annotations else NOT_REVIEWED
    if any(one.rating is None for one in annotations):
        return NO_RATING
    fault = next((one.fault for one in annotations if one.fault), None)
    if fault is not None:
        return fault
    if any(one.rating != RATINGS[-1] for one in annotations):
        return NOT_HIGH
    return CHECK_FAILED if any(one.failed for one in annotations) else None


def _drawn(sample: Sample, annotations: Sequence[Annotation]) -> list[list[Mask]]:
    """For each mask that some expert has corrected, that of every expert."""
    found = []
    for place in range(len(sample.masks)):
        before = sample.mask(place)
        given = _masks_of(sample, place, before, annotations)
        if any((mask != before).any() for mask in given):
            found.append(given)
    return found


def _correct(sample: Sample, annotations: Sequence[Annotation]) -> dict[int, Mask]:
    """The masks (by the number of their [SEG], from 0) that the experts together have changed."""
    corrected = {}
    for place in range(len(sample.masks)):
        before = sample.mask(place)
        after = vote(_masks_of(sample, place, before, annotations), before)
        if (after != before).any():
            corrected[place] = after
    return corrected


def vote(given: Sequence[Mask], before: Mask) -> Mask:
    """The pixels that more than half of some masks show; where they are split evenly, as in the mask before."""
    twice: NDArray[np.int64] = 2 * np.stack(given).sum(axis=0, dtype=np.int64)
    result: Mask = np.where(twice == len(given), before, twice > len(given))
    return result


def _masks_of(sample: Sample, place: int, before: Mask, annotations: Sequence[Annotation]) -> list[Mask]:
    mask = sample.masks[place]
    return [one.masks.get((mask.image, mask.class_name), before) for one in annotations]


def _thresholds(recipe: Mapping[str, Any]) -> dict[str, Task]:
    """The tasks with the thresholds of the recipe that a benchmark was built by."""
    asked = dict(TASKS)
    for name, values in recipe.items():
        if name in asked:
            task: Any = asked[name]
            try:
                asked[name] = settle(type(task), {**asdict(task), **values})
            except ValidationError:
                raise SampleError(f"the manifest's thresholds of {name} are none of this program") from None
    return asked


def _count(things: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(things).items()))

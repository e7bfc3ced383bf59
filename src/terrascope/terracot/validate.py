"""Is a data set what it says it is: its files by their checksums, every sample by its own masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terrascope import masks, spatial, trace
from terrascope.errors import SampleError, SceneError
from terrascope.georeference import Georeference
from terrascope.sample import Sample
from terrascope.terracot.shard import hash_file
from terrascope.terracot.store import Store, read_manifest
from terrascope.trace import METRES, SQUARE_METRES, Tolerance


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What a check of a data set found.

    Attributes:
        num_samples, num_masks: that were looked at.
        problems: one sentence for each thing that is wrong, naming the file or the sample.
    """

    num_samples: int
    num_masks: int
    problems: tuple[str, ...]


def validate(path: Path, progress: Callable[[int, int], None] | None = None) -> Validation:
    """Check a data set: its files against the manifest, its rows against their form, its numbers against its masks.

    A file that cannot be read is one of the problems, and the others are checked all the same.

    Args:
        progress: is called with the samples that were checked and all there are.

    Raises:
        SampleError: there is no data set at all, or its form is another.
    """
    manifest = None if path.is_file() else read_manifest(path)
    files = [path] if manifest is None else [path / shard["file"] for shard in manifest["shards"]]
    problems, num_samples, num_masks = [], 0, 0
    total = sum(shard["rows"] for shard in manifest["shards"]) if manifest else 0
    seen: set[str] = set()
    for number, file in enumerate(files):
        try:
            store = Store(file, [file], None)
            if manifest is not None:
                problems += _check_file(store, manifest["shards"][number])
            measured = {(chip.source, chip.key): chip.num_measured for chip in store.chips()}
            for sample in store:
                if sample.id in seen:
                    problems.append(f"sample {sample.id}: there are two of this id")
                seen.add(sample.id)
                problems += check_sample(sample, measured.get((sample.source, sample.key)))
                num_samples, num_masks = num_samples + 1, num_masks + len(sample.masks)
                if progress is not None:
                    progress(num_samples, total or len(store))
        except SampleError as error:
            problems.append(str(error))
    if manifest is not None:
        listed = {file.name for file in files}
        problems += [
            f"{extra}: not in the manifest; remove it, or build the data set again"
            for extra in sorted(path.glob("*.parquet"))
            if extra.name not in listed
        ]
    return Validation(num_samples=num_samples, num_masks=num_masks, problems=tuple(problems))


def check_sample(sample: Sample, num_measured: tuple[int, ...] | None = None) -> list[str]:
    """What is wrong with a sample, one sentence each: masks, images, answer, and numbers that its masks contradict.

    Args:
        num_measured: pixels per date that shares are shares of; None for the whole grid.
    """
    try:
        parsed = sample.trace()
    except SampleError as error:
        return [str(error)]
    except SceneError as error:
        return [f"sample {sample.id}: {error}"]
    wrong = []
    pointed = tuple(mask.image for mask in sample.masks)
    if pointed != trace.resolve_images(parsed, sample.num_dates):
        wrong.append("its masks lie on other images than its reasoning names")
    if sample.options and trace.answer_letter(parsed.answer, len(sample.options)) != parsed.answer:
        wrong.append(f"its answer {parsed.answer!r} is none of its {len(sample.options)} options")
    elif sample.options and sample.options[trace.LETTERS.index(parsed.answer)] != sample.truth:
        wrong.append(f"its answer {parsed.answer!r} is not {sample.truth!r}")
    wrong += [str(disagreement) for disagreement in _disagreements(sample, parsed, num_measured)]
    return [f"sample {sample.id}: {sentence}" for sentence in wrong]


def _disagreements(
    sample: Sample, parsed: trace.Trace, num_measured: tuple[int, ...] | None
) -> Iterator[trace.Disagreement]:
    """Numbers in the findings that their own masks contradict."""
    before: NDArray[np.bool_] | None = None
    # The scale of the whole is that of its middle; what it may be off at the edges is allowed for.
    tolerance = Tolerance(relative=0.15)
    georeference = Georeference(gsd_m=sample.gsd_m)
    for step, mark in zip(parsed.grounded_steps, sample.masks, strict=True):
        mask = step.mask
        assert mask is not None
        units = {number.unit for number in trace.stated_numbers(step.finding)}
        num_pixels = masks.count(mask)
        measured = num_measured[mark.image - 1] if num_measured else mask.size
        distance_m = None
        if units & set(METRES) and sample.gsd_m and before is not None and before.any() and mask.any():
            distance_m = spatial.distance_m(before, mask, georeference.pixel_size(*mask.shape))
        yield from trace.check_step(
            step,
            coverage=num_pixels / measured if measured else math.nan,
            area_m2=num_pixels * sample.gsd_m**2 if sample.gsd_m and units & set(SQUARE_METRES) else None,
            num_objects=spatial.count_objects(mask) if "count" in units else 0,
            distance_m=distance_m,
            tolerance=tolerance,
        )
        before = mask


def _check_file(store: Store, listed: Mapping[str, object]) -> list[str]:
    (footer,) = store.footers
    if footer.num_rows != listed["rows"]:
        return [f"{footer.path}: {footer.num_rows} samples, but the manifest says {listed['rows']}; build it again"]
    if hash_file(footer.path) != listed["sha256"]:
        return [f"{footer.path}: its checksum is not that of the manifest; build it again, or copy it again"]
    return []

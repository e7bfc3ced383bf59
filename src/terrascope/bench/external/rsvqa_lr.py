"""RSVQA-LR as a benchmark: the questions of its test split, each with the answers that its kind can have as options.

The data set asks freely, but its answers are few: yes or no, rural or urban, and the five ranges into which its own
benchmark puts counts.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

from terrascope.bench.external.benchmark import ExternalBenchmark, Unusable, collect, make_sample
from terrascope.errors import SceneError
from terrascope.sample import Sample, SampleImage
from terrascope.scene import Scene
from terrascope.sources.chips import Chip, ChipError, GivenQuestion
from terrascope.sources.rsvqa import BEYOND, GSD_M, RANGES, RsvqaLr

NAME = "rsvqa-lr"

ANSWERS: dict[str, tuple[str, ...]] = {
    "presence": ("yes", "no"),
    "comp": ("yes", "no"),
    "rural_urban": ("rural", "urban"),
    "count": (*(name for _, name in RANGES), BEYOND),
}
"""Kind of question -> the answers that it can have, in the order in which they are offered."""


def open_rsvqa_lr(path: Path, images: Path | None) -> ExternalBenchmark:
    """The questions of the test split in the folder of the data set, picture by picture.

    The data set is read as `terrascope.sources.rsvqa` reads it, pictures included: there are a hundred, of 256 x 256
    pixels. One that cannot be read is counted once, whatever is asked of it.

    Raises:
        SceneError: a file is missing or of another form, or `images` is given.
    """
    if images is not None:
        raise SceneError(f"{images}: the pictures of {NAME} lie in its own folder; leave the folder of images out")
    source = RsvqaLr(path, name=NAME)
    index = source.index("test")
    skipped = Counter(index.skipped)
    asked: list[tuple[Chip, GivenQuestion]] = []
    for entry in index.entries:
        try:
            chip = source.read(entry.key)
        except ChipError as error:
            skipped[f"picture with {error.reason}"] += 1
        else:
            asked += [(chip, question) for question in chip.questions]
    samples, unusable = collect(partial(_make, number, *pair) for number, pair in enumerate(asked))

    def read(sample: Sample) -> Scene:
        return source.read(sample.key).scene

    return ExternalBenchmark(name=NAME, samples=samples, skipped=dict(skipped + unusable), read=read)


def _make(number: int, chip: Chip, question: GivenQuestion) -> Sample:
    options = ANSWERS.get(question.kind)
    if options is None:
        raise Unusable("question of an unknown kind")
    truth = question.answer.strip().casefold()
    if truth not in options:
        raise Unusable("an answer outside the options")
    return make_sample(
        name=NAME,
        number=number,
        task=question.kind,
        question=question.text,
        options=options,
        truth=truth,
        images=[SampleImage(number=1, modality="optical", sensor="rgb", file=f"Images_LR/{chip.key}.tif")],
        key=chip.key,
        gsd_m=GSD_M,
        country=chip.country,
    )

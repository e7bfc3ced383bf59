"""A benchmark that others have made, as this program asks it: its questions with their answers, and no masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from terrascope import trace
from terrascope.bench.items import Item, digest_of
from terrascope.sample import Sample, SampleImage
from terrascope.scene import Scene
from terrascope.trace import LETTERS, Trace


class Unusable(Exception):
    """A question of a file cannot be asked; the text says why in a few words that are the same for every such one."""


@dataclass(frozen=True, kw_only=True)
class ExternalBenchmark:
    """A `terrascope.bench.items.Benchmark` over the files of others.

    Its samples are of the level `bench` and the split `test`, with the benchmark's name as their source and the tasks
    as it names them. They have no masks; `height` and `width` are 0, as no image was read for them.

    Attributes:
        name: of the benchmark, as in `EXTERNAL`.
        samples: its questions, in the order of its files.
        skipped: questions that cannot be asked, by reason.
        read: gives the scene of a sample.
    """

    name: str
    samples: tuple[Sample, ...] = field(repr=False)
    skipped: Mapping[str, int]
    read: Callable[[Sample], Scene] = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all questions and truths, in order; whether their images are there makes no difference."""
        return digest_of(self.samples)

    def item(self, index: int) -> Item:
        """The item of this number, from 0.

        Raises:
            SceneError: its images are not there, or cannot be read.
        """
        sample = self.samples[index]
        return Item(sample=sample, scene=self.read(sample))


def make_sample(
    *,
    name: str,
    number: int | str,
    task: str,
    question: str,
    truth: str,
    images: Sequence[SampleImage],
    key: str,
    options: Sequence[str] = (),
    gsd_m: float | None = None,
    country: str | None = None,
) -> Sample:
    """A question of a benchmark.

    Args:
        name: of the benchmark.
        number: of the question within it: what makes its id unique.
        truth: the right answer; with options, the text of the right one.
        key: by which its scene is read again.
    """
    answer = LETTERS[list(options).index(truth)] if options else truth
    return Sample(
        id=f"{name}/{number}",
        level="bench",
        task=task,
        source=name,
        key=key,
        place=key,
        split="test",
        images=tuple(images),
        height=0,
        width=0,
        gsd_m=gsd_m,
        country=country,
        question=question,
        options=tuple(options),
        reasoning=trace.render(Trace(answer=answer)),
        truth=truth,
        writer=name,
    )


def collect(made: Iterable[Callable[[], Sample]]) -> tuple[tuple[Sample, ...], Counter[str]]:
    """The samples that can be made, in order, and how many cannot, by reason."""
    samples: dict[str, Sample] = {}
    skipped = Counter[str]()
    for make in made:
        try:
            sample = make()
        except Unusable as reason:
            skipped[str(reason)] += 1
            continue
        if sample.id in samples:
            skipped["an id given twice"] += 1
        else:
            samples[sample.id] = sample
    return tuple(samples.values()), skipped

"""What is asked: a benchmark is a list of items, each a question with its truth and the scene that it is about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Literal, Protocol

from terrascope.errors import SceneError
from terrascope.sample import Sample
from terrascope.scene import Pair, Scene

Shown = Literal["optical", "sar", "both"]
"""Which images of a scene a question shows."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A question of a benchmark.

    Attributes:
        sample: question, options, right answer, and, where the benchmark has them, the true masks: those of the [SEG]s
            of its reasoning, in order. A foreign benchmark has none.
        scene: what is shown to a predictor.
    """

    sample: Sample
    scene: Scene

    @property
    def shown(self) -> Shown:
        return shown_of(self.sample)


class Benchmark(Protocol):
    """A list of items, of which each is read when it is asked for, in an order that never changes."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str:
        """`digest_of` all its samples: two runs are compared only where it is the same."""
        ...

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All questions with their truths, without reading an image."""
        ...

    def item(self, index: int) -> Item:
        """The item of this number, from 0.

        Raises:
            SceneError: its images cannot be read.
        """
        ...


def items(benchmark: Benchmark) -> Iterator[Item]:
    """All items one after another."""
    return (benchmark.item(index) for index in range(len(benchmark.samples)))


def digest_of(samples: Iterable[Sample]) -> str:
    """SHA-256 of questions and truths, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(json.dumps(sample.to_row(), ensure_ascii=False, separators=(",", ":")).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def shown_of(sample: Sample) -> Shown:
    """Which images of its scene a sample shows."""
    return shown_by(kinds_of(sample))


def kinds_of(sample: Sample) -> set[str]:
    """The kinds of the images that a sample lists: `optical`, `sar`."""
    return {image.modality for image in sample.images}


def shown_by(kinds: Set[str]) -> Shown:
    """Which images of its scene a sample shows that lists images of these kinds."""
    return "both" if len(kinds) > 1 else "sar" if kinds == {"sar"} else "optical"


def show_only(scene: Scene, shown: Shown) -> Scene:
    """The scene with its optical images alone, its SAR images alone, or both.

    Raises:
        SceneError: it has none of them.
    """
    if shown == "both":
        return scene
    # A scene has the same kinds of image on all dates.
    if getattr(scene.pairs[0], shown) is None:
        raise SceneError(f"{scene.observations[0].source}: no {shown} image; show all images of such a scene")
    return Scene(tuple(Pair(**{shown: getattr(pair, shown)}) for pair in scene.pairs), notes=scene.notes)

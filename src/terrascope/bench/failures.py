"""What went most wrong in a run, as pictures: the scene, where the model should have looked, and where it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, zip_longest

from terrascope import masks
from terrascope.bench.items import Benchmark
from terrascope.bench.replies import Reply
from terrascope.bench.score import Score, Scored
from terrascope.errors import SampleError, SceneError
from terrascope.rasters.named_mask import NamedMask
from terrascope.sample import Sample, SampleMask
from terrascope.sources.chips import Chip
from terrascope.terracot.drawing import Drawn, draw
from terrascope.terracot.pictures import Read
from terrascope.trace import SEG


@dataclass(frozen=True, kw_only=True, eq=False)
class Failure:
    """A question that was answered wrongly.

    Attributes:
        sample, scored, reply: what was asked, what was made of the reply, the reply.
        drawn: the scene and the true masks, reduced for the page; None where there is nothing to draw.
        found: the masks of the reply, on the same grid, with its number in `properties["step"]`.
    """

    sample: Sample
    scored: Scored
    reply: Reply
    drawn: Drawn | None
    found: tuple[NamedMask, ...]


def choose_failures(score: Score, num: int) -> list[Scored]:
    """The worst: of each task in turn the wrong answer whose masks lie worst; without masks, which earns least.

    Questions without an answer are left out, as there is nothing to see.
    """
    by_task: dict[str, list[Scored]] = {}
    for question in score.questions:
        if question.failed is None and not score.is_right(question):
            by_task.setdefault(question.task, []).append(question)
    ordered = [
        sorted(wrong, key=lambda q: q.grounded.iou if q.grounded else score.credit(q)) for wrong in by_task.values()
    ]
    return list(islice((q for q in chain.from_iterable(zip_longest(*ordered)) if q is not None), num))


def draw_failure(benchmark: Benchmark, index: int, scored: Scored, reply: Reply, *, with_scene: bool = True) -> Failure:
    """A question with its pictures; where the scene cannot be read, with its masks alone.

    Raises:
        SampleError: the true masks are not one for every [SEG].
        SceneError: a true mask does not fill the grid.
    """
    sample = benchmark.samples[index]
    read: Read | None = None
    note = ""
    if with_scene:
        try:
            scene = benchmark.item(index).scene
        except (SceneError, SampleError) as error:
            note = f"The scene cannot be read: {error}"
        else:
            chip = Chip(source=sample.source, key=sample.key, place=sample.place, split=sample.split, scene=scene)
            if not sample.masks:
                # Benchmarks of others do not say how large their scenes are.
                sample = replace(sample, height=scene.shape[0], width=scene.shape[1])
            read = _always(chip)
    if read is None and not sample.masks:
        return Failure(sample=sample, scored=scored, reply=reply, drawn=None, found=())
    drawn = draw(sample, read)
    drawn = replace(drawn, note=note or drawn.note)
    whole = [(place, mask) for place, mask in enumerate(reply.masks) if _is_whole(mask, sample)]
    answered = replace(sample, masks=tuple(mask for _, mask in whole), reasoning=SEG * len(whole))
    found = tuple(
        replace(mask, properties={**mask.properties, "step": place + 1})
        for (place, _), mask in zip(whole, draw(answered, read).masks, strict=True)
    )
    return Failure(sample=sample, scored=scored, reply=reply, drawn=drawn, found=found)


def _always(chip: Chip) -> Read:
    return lambda source, key: chip


def _is_whole(mask: SampleMask, sample: Sample) -> bool:
    try:
        masks.runs_of_rle({"size": (sample.height, sample.width), "counts": mask.counts})
    except SceneError:
        return False
    return True


def draw_failures(
    benchmark: Benchmark, score: Score, replies: Sequence[Reply], num: int, *, with_scenes: bool = True
) -> tuple[Failure, ...]:
    """The worst failures of a run, drawn."""
    given = {reply.id: reply for reply in replies}
    places = {sample.id: index for index, sample in enumerate(benchmark.samples)}
    return tuple(
        draw_failure(benchmark, places[scored.id], scored, given[scored.id], with_scene=with_scenes)
        for scored in choose_failures(score, num)
    )

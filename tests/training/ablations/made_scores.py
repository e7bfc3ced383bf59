"""Variants of known answers: questions of two tasks about some places, right or wrong as a table of bits says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from terrascope.bench.score import Score, score
from terrascope.sample import Sample
from terrascope.training.ablations.compare import Judged
from tests.bench.made_runs import make_question, mask_of, say

PLACES = ("north", "north", "south", "south", "east", "west")
TASKS = ("coverage", "area", "coverage", "area", "coverage", "area")


def made_questions(num: int = 6) -> list[Sample]:
    """Question q<n> about the place and of the task of its turn; its true mask is columns 0 to 4."""
    return [
        make_question(
            number,
            place=PLACES[number % 6] + str(number // 6),
            task=TASKS[number % 6],
            true_masks=[mask_of(0, 4)],
        )
        for number in range(num)
    ]


def made_score(bits: Sequence[int], *, widths: Sequence[int] | None = None, num_masks: int = 1) -> Score:
    """Of a run that answers question n right where bit n is 1; its mask is columns 0 to `widths[n]` (4: the truth)."""
    samples = made_questions(len(bits))
    widths = widths or [4] * len(bits)
    replies = [
        say(sample, "B" if bit else "A", found=[mask_of(0, width)] * num_masks)
        for sample, bit, width in zip(samples, bits, widths, strict=True)
    ]
    return score(samples, replies)


def made_variant(name: str, by_seed: Mapping[int, Sequence[int]], *, is_trained: bool = True) -> Judged:
    return Judged(name=name, scores={seed: made_score(bits) for seed, bits in by_seed.items()}, is_trained=is_trained)

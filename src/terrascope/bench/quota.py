"""Which of the questions that could be asked are taken: spread over places and classes, yes as often as no."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from terrascope.terracot.asking import rng_of

BINARY = ("No", "Yes")


class Draft(NamedTuple):
    """A question that could be asked, without its text and masks: these are made again once it is taken.

    Attributes:
        source, key, place: of the chip.
        task: its name.
        attempt: which of the tries on this chip it came from, from 0; the same one asks the same again.
        classes: the classes that it is about, in alphabetical order.
        truth: its right answer.
        rank: how many of its options are numbers below the right one.
    """

    source: str
    key: str
    place: str
    task: str
    attempt: int
    classes: tuple[str, ...]
    truth: str
    rank: int = 0

    @property
    def chip(self) -> tuple[str, str]:
        return self.source, self.key

    @property
    def answer(self) -> str:
        """`Yes` or `No`, which are to be even; nothing for any other answer."""
        return self.truth if self.truth in BINARY else ""


class _Turn(NamedTuple):
    """Whose turn it is: the lowest comes first; only the numbers change, and they only grow."""

    wavering: bool
    num_of_place: int
    num_of_rank: int
    num_of_classes: int
    chance: bytes


def take(
    drafts: Iterable[Draft], num: int, *, seed: int, per_chip: int = 1, per_place: int | None = None
) -> list[Draft]:
    """At most `num` of the drafts of one task, the same ones in whatever order they come.

    Places and classes take turns, and so do the ranks of the right option: below a small share there is no room for
    wrong ones, so that the smallest would be the best guess. Yes and No take turns, too: where one of them runs out,
    the other stops. Chips of which only one can be asked come first, so that the rarer one is not used up.

    Args:
        per_chip, per_place: at most so many of one chip and of one place.
    """
    taking = _Taking(drafts, seed)
    taken: list[Draft] = []
    while len(taken) < num:
        draft = taking.next(per_chip, per_place)
        if draft is None:
            break
        taken.append(draft)
    return taken


class _Taking:
    """The drafts that are left, and what was taken of them."""

    def __init__(self, drafts: Iterable[Draft], seed: int) -> None:
        self._taken = Counter[object]()
        self._answers: dict[tuple[str, str], set[str]] = {}
        self._queues: dict[str, list[tuple[_Turn, Draft]]] = {}
        pending = list(drafts)
        for draft in pending:
            self._answers.setdefault(draft.chip, set()).add(draft.answer)
        for draft in pending:
            for answer in BINARY if draft.answer else ("",):
                self._queues.setdefault(answer, [])
            self._queues[draft.answer].append((self._turn(draft, _draw(seed, draft)), draft))
        for queue in self._queues.values():
            heapq.heapify(queue)

    def next(self, per_chip: int, per_place: int | None) -> Draft | None:
        """The next draft to take; None if none is left for the answer whose turn it is."""
        if not self._queues:
            return None
        answer = min(self._queues, key=lambda one: (self._taken[one], one))
        queue = self._queues[answer]
        while queue:
            before, draft = heapq.heappop(queue)
            place = draft.source, draft.place, "place"
            if self._taken[draft.chip] >= per_chip or (per_place is not None and self._taken[place] >= per_place):
                continue
            same = draft.chip, draft.classes, draft.truth
            if self._taken[same]:
                # The same question with other wrong options.
                continue
            now = self._turn(draft, before.chance)
            if queue and now > queue[0][0]:
                heapq.heappush(queue, (now, draft))
                continue
            self._taken.update((answer, draft.chip, place, same, draft.rank, (draft.answer, draft.classes)))
            return draft
        return None

    def _turn(self, draft: Draft, chance: bytes) -> _Turn:
        return _Turn(
            wavering=len(self._answers[draft.chip]) > 1,
            num_of_place=self._taken[draft.source, draft.place, "place"],
            num_of_rank=self._taken[draft.rank],
            num_of_classes=self._taken[draft.answer, draft.classes],
            chance=chance,
        )


def even_places(truths: Iterable[str], num_options: int, *, seed: int, task: str) -> list[int]:
    """For each right answer of a task the place (from 0) that it has among its options: each equally often.

    Each of Yes and No by itself, so that neither has a letter of its own.
    """
    answers = [truth if truth in BINARY else "" for truth in truths]
    places = np.zeros(len(answers), np.int64)
    for number, answer in enumerate(sorted(set(answers))):
        of_answer = [index for index, one in enumerate(answers) if one == answer]
        # Where the numbers do not come out even, the second answer has more of the letters that the first has less of.
        order = (np.arange(len(of_answer)) + number) % num_options
        places[of_answer] = rng_of(seed, "places", task, answer).permutation(order)
    return [int(place) for place in places]


def _draw(seed: int, draft: Draft) -> bytes:
    text = "\n".join((str(seed), draft.task, draft.source, draft.key, str(draft.attempt)))
    return hashlib.sha256(text.encode()).digest()

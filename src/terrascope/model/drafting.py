"""Guesses of the tokens that come next, from phrases that were written before: the text of a reasoning is templated.

A guess is fed together with the token before it. The model's own choice at each place then says how far the guess was
right, and what is beyond that is taken back: what is written stays what the model writes token by token.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

Draft = Callable[[Sequence[int]], Sequence[int]]
"""Of the token ids so far, the last of which is about to be fed: those that are likely to follow."""


class Phrases:
    """What followed the last tokens when they were written before.

    Args:
        num_before: tokens that must be the same.
        num_after: tokens that are guessed, at most.
        capacity: phrases that are remembered, the latest ones.
    """

    def __init__(self, num_before: int = 3, num_after: int = 8, capacity: int = 50_000) -> None:
        self.num_before, self.num_after, self.capacity = num_before, num_after, capacity
        self._followed: OrderedDict[tuple[int, ...], tuple[int, ...]] = OrderedDict()

    def learn(self, token_ids: Sequence[int]) -> None:
        """Remember the phrases of a text."""
        for place in range(self.num_before, len(token_ids)):
            before = tuple(token_ids[place - self.num_before : place])
            self._followed[before] = tuple(token_ids[place : place + self.num_after])
            self._followed.move_to_end(before)
        while len(self._followed) > self.capacity:
            self._followed.popitem(last=False)

    def guess(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """What followed the last tokens of a text the last time that they were written."""
        return self._followed.get(tuple(token_ids[-self.num_before :]), ())


def drafter(seg_token_id: int, forced_ids: Sequence[int] | None, phrases: Phrases | None) -> Draft:
    """How a reasoning guesses: what is forced is known, else by phrases; never beyond a [SEG], after which a mask's
    visual tokens stand."""

    def draft(token_ids: Sequence[int]) -> Sequence[int]:
        if token_ids[-1] == seg_token_id:
            return ()
        if forced_ids is not None:
            following = [int(token) for token in forced_ids[len(token_ids) :]]
        else:
            following = list(phrases.guess(token_ids)) if phrases is not None else []
        return following[: following.index(seg_token_id) + 1] if seg_token_id in following else following

    return draft

"""A pass that tells what it is asked for and fails on demand, and small programs whose results are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from terrascope.model.engine.cache import Prefix, Slot
from terrascope.model.engine.engine import Engine
from terrascope.model.engine.own_pass import OwnPass
from terrascope.model.engine.passes import LanguagePass, LibraryPass, Piece
from terrascope.model.engine.requests import Feed, Output, Prefill, Program
from terrascope.model.modeling import TerraScopeForConditionalGeneration as Model

WIDTH = 32


def out_of_memory() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Watched:
    """A pass, and what it was asked for.

    Attributes:
        open_slots: those that were not given back.
        fed: the lengths of the pieces of every call.
        before_feed: called before every call with its pieces; may raise.
        prefixes: that were copied, as long as somebody holds them.
        num_forgotten: positions that were taken back.
    """

    def __init__(self, inner: LanguagePass, before_feed: Callable[[Sequence[Piece]], None] | None = None) -> None:
        self.inner, self.before_feed = inner, before_feed
        self.open_slots: list[Slot] = []
        self.fed: list[list[int]] = []
        self.prefixes: list[ReferenceType[Prefix]] = []
        self.num_forgotten = 0

    def open(self) -> Slot:
        self.open_slots.append(self.inner.open())
        return self.open_slots[-1]

    def close(self, slot: Slot) -> None:
        self.open_slots.remove(slot)
        self.inner.close(slot)

    def feed(self, pieces: Sequence[Piece]) -> list[Output]:
        self.fed.append([len(piece.embeddings) for piece in pieces])
        if self.before_feed is not None:
            self.before_feed(pieces)
        return self.inner.feed(pieces)

    def forget(self, slot: Slot, num_positions: int) -> None:
        self.num_forgotten += num_positions
        self.inner.forget(slot, num_positions)

    def copy_prefix(self, slot: Slot, num_positions: int) -> Prefix:
        prefix = self.inner.copy_prefix(slot, num_positions)
        self.prefixes.append(ref(prefix))
        return prefix

    def begin_with(self, slot: Slot, prefix: Prefix) -> None:
        self.inner.begin_with(slot, prefix)

    @property
    def num_prefixes(self) -> int:
        """Those that are still held."""
        return sum(one() is not None for one in self.prefixes)


def watched(model: Model, before_feed: Callable[[Sequence[Piece]], None] | None = None, **how: Any) -> Any:
    """An engine on our own pass, and the pass."""
    language = Watched(OwnPass(model), before_feed)
    return Engine(model, language=language, **how), language


def random(seed: int, num: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(num, WIDTH, generator=torch.Generator().manual_seed(seed)).to(dtype)


def chain(
    model: Model, seed: int, num: int = 4, *, do: Callable[[int], None] = lambda number: None
) -> Program[tuple[int, Tensor]]:
    """A prompt and `num` pieces after it, one to three tokens each; returns its seed and all logits.

    `do` is called with 0 before the prompt, and with the number of what was fed before everything else.
    """
    logits = []
    do(0)
    length = 3 + seed % 5
    output = yield Prefill(random(seed, length, model.dtype), torch.arange(length))
    logits.append(output.logits)
    for number in range(1, num + 1):
        do(number)
        # Where it stands depends on what it was given, so that what another one was given would be seen.
        given = 1e-3 * output.hidden
        output = yield Feed(random(100 * seed + number, 1 + (seed + number) % 3 % 2 * 2, model.dtype) + given)
        logits.append(output.logits)
    do(num + 1)
    return seed, torch.stack(logits)


def alone(model: Model, begin: Callable[[], Program[Any]]) -> Any:
    """What a program comes to by itself, with the library's modules."""
    return Engine(model, language=LibraryPass(model), max_rows=1).run(begin)


def same(found: tuple[int, Tensor], expected: tuple[int, Tensor]) -> bool:
    return found[0] == expected[0] and torch.allclose(found[1], expected[1], atol=1e-5)

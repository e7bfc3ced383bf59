"""One pass of the language model over what several sequences are fed, each with a cache of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from terrascope.model.engine.cache import Prefix, Slot
from terrascope.model.engine.requests import Output
from terrascope.model.modeling import TerraScopeForConditionalGeneration


@dataclass(frozen=True, eq=False)
class Piece:
    """What a sequence is fed.

    Attributes:
        slot: of the sequence.
        embeddings: `[n, D]`.
        positions: int64 `[n]` or `[axes, n]`; None for those that follow.
        every: the output of each of its positions is wanted, not of the last.
    """

    slot: Any
    embeddings: Tensor
    positions: Tensor | None = None
    every: bool = False


class LanguagePass(Protocol):
    """How the engine drives a language model."""

    def open(self) -> Slot:
        """The slot of a new sequence."""
        ...

    def close(self, slot: Slot) -> None:
        """Give the slot of a sequence back."""
        ...

    def feed(self, pieces: Sequence[Piece]) -> list[Output]:
        """Append a piece to each of some sequences. One that this fails for has not changed."""
        ...

    def forget(self, slot: Slot, num_positions: int) -> None:
        """Take back the last positions of a sequence, of those that were appended one by one."""
        ...

    def copy_prefix(self, slot: Slot, num_positions: int) -> Prefix:
        """The first positions of a sequence, for others that begin alike."""
        ...

    def begin_with(self, slot: Slot, prefix: Prefix) -> None:
        """Let an empty sequence begin with a prefix."""
        ...


def next_positions(piece: Piece) -> tuple[Tensor, int]:
    """Positions `[n]` or `[axes, n]` of a piece, and the one that follows them."""
    if piece.positions is not None:
        return piece.positions, int(piece.positions.max()) + 1
    first, num = piece.slot.next_position, len(piece.embeddings)
    return torch.arange(first, first + num, device=piece.embeddings.device), first + num


class LibraryPass:
    """The library's own modules, one sequence after the other: for every model, and what the fast pass is held to."""

    def __init__(self, model: TerraScopeForConditionalGeneration) -> None:
        self.model = model
        self.caches: dict[Slot, DynamicCache] = {}

    def open(self) -> Slot:
        slot = Slot(len(self.caches))
        self.caches[slot] = DynamicCache()
        return slot

    def close(self, slot: Slot) -> None:
        del self.caches[slot]

    def feed(self, pieces: Sequence[Piece]) -> list[Output]:
        try:
            outputs, following = zip(*(self._feed(piece) for piece in pieces), strict=True)
        except BaseException:
            for piece in pieces:
                self._forget(piece.slot)
            raise
        for piece, position in zip(pieces, following, strict=True):
            piece.slot.length += len(piece.embeddings)
            piece.slot.next_position = position
        return list(outputs)

    def _forget(self, slot: Slot) -> None:
        """Drop what lies beyond a sequence; a pass that failed has written into some layers and not into others."""
        for layer in self.caches[slot].layers:
            if layer.is_initialized:
                layer.keys, layer.values = layer.keys[:, :, : slot.length], layer.values[:, :, : slot.length]

    def _feed(self, piece: Piece) -> tuple[Output, int]:
        positions, following = next_positions(piece)
        output = self.model(
            inputs_embeds=piece.embeddings[None],
            position_ids=positions.unsqueeze(-2),
            past_key_values=self.caches[piece.slot],
            logits_to_keep=0 if piece.every else 1,
        )
        assert output.logits is not None and output.last_hidden_state is not None
        wanted = slice(None) if piece.every else -1
        return Output(output.logits[0, wanted].float(), output.last_hidden_state[0, wanted]), following

    def forget(self, slot: Slot, num_positions: int) -> None:
        slot.length -= num_positions
        slot.next_position -= num_positions
        self._forget(slot)

    def copy_prefix(self, slot: Slot, num_positions: int) -> Prefix:
        layers = self.caches[slot].layers
        return Prefix(
            [layer.keys[0, :, :num_positions].clone() for layer in layers],
            [layer.values[0, :, :num_positions].clone() for layer in layers],
        )

    def begin_with(self, slot: Slot, prefix: Prefix) -> None:
        for layer, (keys, values) in enumerate(zip(prefix.keys, prefix.values, strict=True)):
            self.caches[slot].update(keys[None], values[None], layer)
        slot.length = prefix.num_positions

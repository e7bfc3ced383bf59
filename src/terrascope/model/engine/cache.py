"""Keys and values of several sequences of different lengths, each in a slot of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_STEP = 256
"""Positions by which slots grow at least."""


@dataclass(eq=False)
class Slot:
    """The place of one sequence.

    Attributes:
        index: among the slots; it changes when another sequence ends, since those that are left stand together.
        length: positions that are filled.
        next_position: that the next one gets, on all axes.
    """

    index: int
    length: int = 0
    next_position: int = 0


@dataclass(frozen=True, eq=False)
class Prefix:
    """Keys and values `[heads, n, head width]` per layer of what several sequences begin with."""

    keys: list[Tensor]
    values: list[Tensor]

    @property
    def num_positions(self) -> int:
        return int(self.keys[0].shape[1])


class SlotCache:
    """Per layer, keys and values `[slots, heads, capacity, head width]`; slots and capacity grow as they are needed.

    Attributes:
        slots: that are open, in the order in which they stand in memory.
        num_held: slots that there is memory for.
        capacity: positions that fit into every slot.

    Args:
        num_layers, num_heads, head_width: of the keys and values.
        device, dtype: of the numbers.
    """

    def __init__(
        self, num_layers: int, num_heads: int, head_width: int, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        shape = (0, num_heads, 0, head_width)
        self.keys = [torch.empty(shape, device=device, dtype=dtype) for _ in range(num_layers)]
        self.values = [torch.empty(shape, device=device, dtype=dtype) for _ in range(num_layers)]
        self.slots: list[Slot] = []
        self.num_held = self.capacity = 0

    def open(self) -> Slot:
        """An empty slot, the last of all."""
        slot = Slot(len(self.slots))
        self._reserve(len(self.slots) + 1, self.capacity)
        self.slots.append(slot)
        return slot

    def close(self, slot: Slot) -> None:
        """Give a slot back; the last one takes its place."""
        last = self.slots.pop()
        for numbers in (*self.keys, *self.values):
            # What another sequence has left is wiped: no token looks beyond its own, but a weight of zero times what is
            # there could be NaN.
            if last is not slot:
                numbers[slot.index, :, : last.length] = numbers[last.index, :, : last.length]
                numbers[slot.index, :, last.length :] = 0
            numbers[last.index] = 0
        if last is not slot:
            self.slots[slot.index], last.index = last, slot.index
        if not self.slots and self.num_held > 1:
            self._give_back()

    def reserve(self, num_positions: int) -> None:
        """Make room for so many positions in every slot that is open."""
        if num_positions > self.capacity:
            self._reserve(len(self.slots), max(num_positions, 2 * self.capacity, _STEP))

    def copy_prefix(self, slot: Slot, num_positions: int) -> Prefix:
        """The first positions of a sequence, for others that begin alike."""
        first = slice(0, num_positions)
        return Prefix(
            [numbers[slot.index, :, first].clone() for numbers in self.keys],
            [numbers[slot.index, :, first].clone() for numbers in self.values],
        )

    def begin_with(self, slot: Slot, prefix: Prefix) -> None:
        """Let an empty slot begin with a prefix."""
        self.reserve(prefix.num_positions)
        first = slice(0, prefix.num_positions)
        for numbers, given in zip((*self.keys, *self.values), (*prefix.keys, *prefix.values), strict=True):
            numbers[slot.index, :, first] = given
        slot.length = prefix.num_positions

    def _reserve(self, num_slots: int, capacity: int) -> None:
        if num_slots > self.num_held:
            num_slots = max(num_slots, min(2 * self.num_held, self.num_held + 16))
        elif capacity == self.capacity:
            return
        filled = (slice(0, len(self.slots)), slice(None), slice(0, self.capacity))
        # Should memory run out on the way, some layers have fewer slots from here on.
        self.num_held = min(self.num_held, num_slots)
        # Layer by layer, so that no more than one stands twice in memory.
        for layers in (self.keys, self.values):
            for layer, numbers in enumerate(layers):
                grown = numbers.new_zeros(num_slots, numbers.shape[1], capacity, numbers.shape[3])
                grown[filled] = numbers[filled]
                layers[layer] = grown
        self.num_held, self.capacity = num_slots, capacity

    def _give_back(self) -> None:
        for layers in (self.keys, self.values):
            layers[:] = [numbers.new_empty(0, numbers.shape[1], 0, numbers.shape[3]) for numbers in layers]
        self.num_held = self.capacity = 0

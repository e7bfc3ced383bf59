"""The slots of many sequences against lists of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from terrascope.model.engine import cache as caches
from terrascope.model.engine.cache import Prefix, Slot, SlotCache

NUM_LAYERS, HEADS, WIDTH = 2, 3, 2

Action = tuple[str, int, int]
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["open", "append", "append", "close", "begin with"]), st.integers(0, 9), st.integers(1, 9)
    ),
    max_size=40,
)


def made() -> SlotCache:
    return SlotCache(NUM_LAYERS, HEADS, WIDTH, device=torch.device("cpu"), dtype=torch.float32)


def numbers_of(first: int, num: int) -> list[Tensor]:
    """What `num` positions write: for keys and values of every layer `[HEADS, num, WIDTH]`, no number twice."""
    count = torch.arange(1.0, 1 + 2 * NUM_LAYERS * HEADS * num * WIDTH) + first
    return list(count.view(2 * NUM_LAYERS, HEADS, num, WIDTH))


def append(cache: SlotCache, slot: Slot, numbers: list[Tensor]) -> None:
    """As a pass does it."""
    num = numbers[0].shape[1]
    cache.reserve(slot.length + num)
    for layer, new in zip((*cache.keys, *cache.values), numbers, strict=True):
        layer[slot.index, :, slot.length : slot.length + num] = new
    slot.length += num


class Oracle:
    """The same with a list of tensors per sequence."""

    def __init__(self) -> None:
        self.cache, self.known, self.written = made(), dict[Slot, list[Tensor]](), 0

    def do(self, action: Action) -> None:
        what, which, num = action
        slots = list(self.known)
        if what == "open":
            self.known[self.cache.open()] = [torch.empty(HEADS, 0, WIDTH)] * (2 * NUM_LAYERS)
            return
        if not slots:
            return
        slot = slots[which % len(slots)]
        if what == "append":
            new = numbers_of(self.written, num)
            self.written += 1000
            append(self.cache, slot, new)
            self.known[slot] = [torch.cat(pair, dim=1) for pair in zip(self.known[slot], new, strict=True)]
        elif what == "close":
            self.cache.close(slot)
            del self.known[slot]
        elif slot.length:
            num = min(num, slot.length)
            prefix = self.cache.copy_prefix(slot, num)
            assert prefix.num_positions == num
            other = self.cache.open()
            self.cache.begin_with(other, prefix)
            self.known[other] = [numbers[:, :num] for numbers in self.known[slot]]

    def check(self) -> None:
        cache = self.cache
        assert set(cache.slots) == set(self.known)
        assert [slot.index for slot in cache.slots] == list(range(len(self.known)))
        assert cache.num_held >= len(self.known)
        for place, layer in enumerate((*cache.keys, *cache.values)):
            assert layer.shape == (cache.num_held, HEADS, cache.capacity, WIDTH)
            expected = torch.zeros_like(layer)
            for slot, numbers in self.known.items():
                assert slot.length == numbers[place].shape[1] <= cache.capacity
                expected[slot.index, :, : slot.length] = numbers[place]
            # Also what no sequence has: a stale number there would be looked at with a weight of zero.
            assert torch.equal(layer, expected)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "_STEP", 4)


@settings(max_examples=150, deadline=None)
@given(actions=ACTIONS, step=st.sampled_from([1, 4, 256]))
def test_slots_hold_what_was_written_whatever_opens_closes_and_grows(actions: list[Action], step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caches, "_STEP", step)
        oracle = Oracle()
        for action in actions:
            oracle.do(action)
            oracle.check()
        for slot in list(oracle.known):
            oracle.cache.close(slot)
            del oracle.known[slot]
            oracle.check()


def test_memory_is_given_back_when_the_last_of_several_closes(small_steps: None) -> None:
    cache = made()
    slots = [cache.open() for _ in range(5)]
    for slot in slots:
        append(cache, slot, numbers_of(0, 3))
    for slot in slots[:-1]:
        cache.close(slot)
    assert cache.num_held >= 5
    cache.close(slots[-1])
    assert (cache.num_held, cache.capacity, cache.slots) == (0, 0, [])
    assert all(layer.numel() == 0 for layer in (*cache.keys, *cache.values))


def test_memory_for_one_stays_for_the_next() -> None:
    cache = made()
    slot = cache.open()
    append(cache, slot, numbers_of(0, 3))
    cache.close(slot)
    places = [layer.data_ptr() for layer in cache.keys]
    append(cache, cache.open(), numbers_of(0, 5))
    assert [layer.data_ptr() for layer in cache.keys] == places


def test_room_is_made_for_more_than_is_asked_so_that_it_is_made_seldom(small_steps: None) -> None:
    cache = made()
    slot = cache.open()
    capacities = set()
    for _ in range(200):
        append(cache, slot, numbers_of(0, 1))
        capacities.add(cache.capacity)
    assert max(capacities) < 400 and len(capacities) <= 8
    held = set()
    for _ in range(60):
        cache.open()
        held.add(cache.num_held)
    assert len(held) <= 8


def test_longer_sequences_need_memory_for_those_that_are_open_and_no_others(small_steps: None) -> None:
    """Where memory ran out for many, it must do for the few that are left."""
    cache = made()
    slots = [cache.open() for _ in range(8)]
    for slot in slots:
        append(cache, slot, numbers_of(0, 3))
    for slot in slots[1:]:
        cache.close(slot)
    append(cache, slots[0], numbers_of(7000, 20))
    assert cache.num_held == 1
    written = torch.cat([numbers_of(0, 3)[0], numbers_of(7000, 20)[0]], dim=1)
    assert torch.equal(cache.keys[0][0, :, :23], written)


def out_of_memory_after(num: int, allocate: Callable[..., Tensor]) -> Callable[..., Tensor]:
    calls: list[int] = []

    def allocate_or_fail(*args: Any) -> Tensor:
        calls.append(1)
        if len(calls) > num:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return allocate(*args)

    return allocate_or_fail


@pytest.mark.parametrize("num_layers_that_fit", range(2 * NUM_LAYERS))
@pytest.mark.parametrize("grow", ["slots", "positions", "prefix"])
def test_growth_that_fails_half_way_loses_nothing(small_steps: None, grow: str, num_layers_that_fit: int) -> None:
    oracle = Oracle()
    for action in [("open", 0, 0), ("append", 0, 3), ("open", 0, 0), ("append", 1, 2)]:
        oracle.do(action)
    if grow != "slots":
        oracle.do(("open", 0, 0))
        oracle.do(("close", 2, 0))
        assert oracle.cache.num_held > 2
    cache, (first, _) = oracle.cache, list(oracle.known)
    prefix = Prefix(*[[torch.ones(HEADS, 9, WIDTH)] * NUM_LAYERS] * 2)
    begun = None
    if grow == "prefix":
        begun = cache.open()
        oracle.known[begun] = [torch.empty(HEADS, 0, WIDTH)] * (2 * NUM_LAYERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "new_zeros", out_of_memory_after(num_layers_that_fit, torch.Tensor.new_zeros))
        with pytest.raises(torch.OutOfMemoryError):
            if grow == "slots":
                cache.open()
            elif begun is None:
                cache.reserve(9)
            else:
                cache.begin_with(begun, prefix)
    assert begun is None or begun.length == 0
    for action in [("open", 0, 0), ("append", 2, 1), ("append", 0, 9), ("close", 0, 0), ("append", 0, 9)]:
        oracle.do(action)
        oracle.check()
    assert first not in oracle.known

"""Every sample once an epoch, samples of one scene and of like length together, and the same batches for one seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from terrascope.errors import SampleError
from terrascope.training.sampler import SceneBatchSampler

Batches = list[list[int]]


def draw(num: int, num_scenes: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths and scenes: each scene has a length of its own to which its samples add."""
    rng = np.random.default_rng(seed)
    scenes = rng.integers(num_scenes, size=num)
    return rng.integers(200, 800, num_scenes)[scenes] + rng.integers(0, 100, num), scenes


def padding(batches: Batches, lengths: NDArray[np.int64]) -> float:
    """The share of all positions that is padding."""
    return 1 - lengths.sum() / sum(len(batch) * lengths[batch].max() for batch in batches)


def scenes_in(batches: Batches, scenes: NDArray[np.int64]) -> int:
    return sum(len(set(scenes[batch].tolist())) for batch in batches)


@settings(max_examples=60, deadline=None)
@given(
    num=st.integers(1, 300),
    num_scenes=st.integers(1, 60),
    batch_size=st.integers(1, 17),
    limit=st.none() | st.integers(900, 5000),
    seed=st.integers(0, 5),
)
def test_every_index_comes_once_and_limits_hold(
    num: int, num_scenes: int, batch_size: int, limit: int | None, seed: int
) -> None:
    lengths, scenes = draw(num, num_scenes, seed)
    sampler = SceneBatchSampler(lengths, scenes, batch_size, seed=seed, max_positions_per_batch=limit)
    sizes = set()
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert sorted(index for batch in batches for index in batch) == list(range(num))
        assert len(batches) == len(sampler)
        assert all(1 <= len(batch) <= batch_size for batch in batches)
        if limit is None:
            assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
        else:
            assert all(len(batch) * lengths[batch].max() <= limit for batch in batches)
        sizes.add(len(batches))
    assert len(sizes) == 1, "as many batches in every epoch"


@pytest.mark.parametrize("limit", [None, 6000])
def test_seed_and_epoch_decide_alone(limit: int | None) -> None:
    lengths, scenes = draw(400, 80)

    def batches(seed: int, epoch: int) -> Batches:
        sampler = SceneBatchSampler(lengths, scenes, 8, seed=seed, max_positions_per_batch=limit)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert batches(1, 2) == batches(1, 2)
    assert batches(1, 2) != batches(1, 3)
    assert batches(1, 2) != batches(2, 2)
    sampler = SceneBatchSampler(lengths, scenes, 8, seed=1, max_positions_per_batch=limit)
    assert list(sampler) == list(sampler) == batches(1, 0)
    sampler.set_epoch(2)
    assert list(sampler) == batches(1, 2)


def test_scenes_that_fit_are_not_parted() -> None:
    """Scenes of two or four samples always fill batches of eight, whatever their order."""
    sizes = [2, 4] * 40
    scenes = np.repeat(np.arange(len(sizes)), sizes)
    shuffled = np.random.default_rng(0).permutation(scenes)
    lengths = np.random.default_rng(1).integers(100, 120, len(scenes))
    batches = list(SceneBatchSampler(lengths, shuffled, 8, seed=0))
    assert [len(batch) for batch in batches] == [8] * 30
    assert scenes_in(batches, shuffled) == len(sizes)


def test_a_scene_of_many_samples_fills_batches_of_its_own_by_length() -> None:
    lengths = np.random.default_rng(0).permutation(32)
    batches = list(SceneBatchSampler(lengths, np.zeros(32), 8, seed=0))
    assert sorted(sorted(lengths[batch].tolist()) for batch in batches) == [
        list(range(8 * n, 8 * n + 8)) for n in range(4)
    ]


def test_less_is_padded_and_fewer_scenes_stand_in_a_batch_than_by_chance() -> None:
    lengths, scenes = draw(3000, 600)
    batches = list(SceneBatchSampler(lengths, scenes, 8, seed=0))
    order = np.random.default_rng(0).permutation(3000)
    by_chance = [order[start : start + 8].tolist() for start in range(0, 3000, 8)]
    assert padding(by_chance, lengths) > 0.25
    assert padding(batches, lengths) < 0.1
    assert scenes_in(by_chance, scenes) > 2900
    assert scenes_in(batches, scenes) < 1.4 * len(set(scenes.tolist()))


def test_batches_come_in_random_order_of_length() -> None:
    lengths, scenes = draw(800, 800)
    longest = [lengths[batch].max() for batch in SceneBatchSampler(lengths, scenes, 8, seed=0)]
    assert abs(np.corrcoef(longest, np.arange(100))[0, 1]) < 0.3


def test_impossible_limits_are_refused() -> None:
    lengths, scenes = draw(10, 3)
    with pytest.raises(SampleError, match=f"max_positions_per_batch is 100, but a sample takes {lengths.max()}"):
        SceneBatchSampler(lengths, scenes, 4, seed=0, max_positions_per_batch=100)
    with pytest.raises(SampleError, match="batch_size is 0"):
        SceneBatchSampler(lengths, scenes, 0, seed=0)
    with pytest.raises(ValueError, match="10 lengths but 9 scenes"):
        SceneBatchSampler(lengths, scenes[:9], 4, seed=0)

"""Which samples come together: those of one scene where they fit, and of like length, so that little is padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

from terrascope.errors import SampleError

POOL_BATCHES = 64
"""Samples of so many batches are drawn at random, and sorted by length among each other."""

_LOOKAHEAD = 16
"""Among so many of the next groups one is sought that fills a batch, before a group is parted."""


class SceneBatchSampler(Sampler[list[int]]):
    """Batches of indices, every index once an epoch; the same for the same seed and epoch.

    There are as many batches in every epoch, all full but the last. With a limit of positions, batches hold as many
    samples as fit; then they are composed once, and epochs differ in their order alone, so that there are as many
    in every epoch.

    Args:
        lengths: `[n]` positions of every sample.
        scene_ids: `[n]`, equal for samples of one scene.
        batch_size: samples of a batch, at most.
        seed: of the order.
        max_positions_per_batch: positions of a batch, padding included, at most.

    Raises:
        SampleError: the limits leave no room for a sample.
    """

    def __init__(
        self,
        lengths: ArrayLike,
        scene_ids: ArrayLike,
        batch_size: int,
        *,
        seed: int,
        max_positions_per_batch: int | None = None,
    ) -> None:
        self.lengths: NDArray[np.int64] = np.asarray(lengths, dtype=np.int64)
        self.scene_ids = np.asarray(scene_ids)
        if len(self.lengths) != len(self.scene_ids):
            raise ValueError(f"{len(self.lengths)} lengths but {len(self.scene_ids)} scenes")
        if batch_size < 1:
            raise SampleError(f"batch_size is {batch_size}; give at least 1")
        longest = int(self.lengths.max(initial=0))
        if max_positions_per_batch is not None and longest > max_positions_per_batch:
            raise SampleError(
                f"max_positions_per_batch is {max_positions_per_batch}, but a sample takes {longest}; raise it, or "
                "leave long samples out by max_positions"
            )
        self.batch_size, self.seed, self.max_positions = batch_size, seed, max_positions_per_batch
        self.epoch = 0
        self._composed = None if max_positions_per_batch is None else self._compose(np.random.default_rng(seed))

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size) if self._composed is None else len(self._composed)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        batches = self._compose(rng) if self._composed is None else self._composed
        # What spreads batches over processes expects that none but the last is short.
        num_full = len(batches) - 1 if self._composed is None else len(batches)
        yield from (batches[number] for number in rng.permutation(num_full))
        yield from batches[num_full:]

    def _compose(self, rng: np.random.Generator) -> list[list[int]]:
        groups = self._groups(rng)
        batches: list[list[int]] = []
        waiting: list[list[int]] = []
        for number in rng.permutation(len(groups)):
            waiting.append(groups[number])
            if sum(map(len, waiting)) >= POOL_BATCHES * self.batch_size:
                batches += self._pack(waiting, is_last=False)
        return batches + self._pack(waiting, is_last=True)

    def _groups(self, rng: np.random.Generator) -> list[list[int]]:
        """The samples of every scene, shortest first, in parts that a batch can hold."""
        # Among samples of one scene and length the order is drawn.
        order = np.lexsort((rng.random(len(self.lengths)), self.lengths, self.scene_ids))
        scenes = self.scene_ids[order]
        groups: list[list[int]] = []
        for scene in np.split(order, np.flatnonzero(scenes[1:] != scenes[:-1]) + 1):
            group: list[int] = []
            for index in scene.tolist():
                if not self._fits(group, [index]):
                    groups.append(group)
                    group = []
                group.append(index)
            if group:
                groups.append(group)
        return groups

    def _pack(self, waiting: list[list[int]], *, is_last: bool) -> list[list[int]]:
        """Batches of the groups that wait; unless they are the last, what fills no batch goes on waiting."""
        waiting.sort(key=lambda group: int(self.lengths[group].max()))
        batches: list[list[int]] = []
        while waiting:
            batch: list[int] = []
            place = 0
            while place < min(len(waiting), _LOOKAHEAD):
                if self._fits(batch, waiting[place]):
                    batch += waiting.pop(place)
                else:
                    place += 1
            if len(batch) < self.batch_size and waiting:
                batch += self._part(batch, waiting)
            if len(batch) < self.batch_size and not waiting and not is_last:
                waiting.append(batch)
                break
            batches.append(batch)
        return batches

    def _part(self, batch: list[int], waiting: list[list[int]]) -> list[int]:
        """So many samples of the next group as fill a batch, taken from it."""
        taken = 0
        while taken < len(waiting[0]) and self._fits(batch, waiting[0][: taken + 1]):
            taken += 1
        part, rest = waiting[0][:taken], waiting[0][taken:]
        waiting[0:1] = [rest] if rest else []
        return part

    def _fits(self, batch: Sequence[int], more: Sequence[int]) -> bool:
        num = len(batch) + len(more)
        if num > self.batch_size:
            return False
        if self.max_positions is None:
            return True
        return num * int(self.lengths[[*batch, *more]].max()) <= self.max_positions

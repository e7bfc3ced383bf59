"""The batches of a data set, dealt out to processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Sampler


class ProcessBatches(Sampler[list[int]]):
    """Every n-th batch: of n processes, process p takes the batches p, p + n, and so on, as accelerate deals them out.

    Where the last round is not full, the first batches of the epoch fill it, so that all take the same number of steps.

    Args:
        batch_sampler: all batches, the same on every process.
        process: from 0.
        num_processes: how many there are.
    """

    def __init__(self, batch_sampler: Any, process: int, num_processes: int) -> None:
        self.batch_sampler, self.process, self.num_processes = batch_sampler, process, num_processes

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return -(-len(self.batch_sampler) // self.num_processes)

    def __iter__(self) -> Iterator[list[int]]:
        first: list[list[int]] = []
        number = 0
        for batch in self.batch_sampler:
            if number < self.num_processes:
                first.append(batch)
            if number % self.num_processes == self.process:
                yield batch
            number += 1
        left = number % self.num_processes
        if left and self.process >= left:
            yield first[(self.process - left) % len(first)]

"""Batches of a data set, prepared here or by other processes; what goes wrong there is told here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset
from transformers import TrainerCallback

from terrascope.errors import TerraScopeError
from terrascope.training.batch import Batch

Collate = Callable[[Sequence[Any]], Batch]
"""Items to a batch."""


def make_loader(dataset: Dataset[Any], batches: Any, collate: Collate, *, num_workers: int) -> DataLoader[Any]:
    """Batches of a data set, or in the place of one, the error that one of its items is.

    Args:
        dataset: of items that `collate` makes batches of.
        batches: of the numbers of items.
        collate: items to a batch.
        num_workers: processes that prepare items; 0 for none.
    """
    return DataLoader(_Guarded(dataset), batch_sampler=batches, collate_fn=_Collate(collate), num_workers=num_workers)


def sound(batch: Batch | TerraScopeError) -> Batch:
    """What came from a loader, if it is a batch.

    Raises:
        TerraScopeError: one of its items could not be prepared.
    """
    if isinstance(batch, TerraScopeError):
        raise batch
    return batch


class _Guarded(Dataset[Any]):
    """A data set whose errors come back as values: a worker process would bury them in a traceback."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except TerraScopeError as error:
            return error


class _Collate:
    """Makes a batch of items, or hands on the error that one of them is."""

    def __init__(self, collate: Collate) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[Any]) -> Any:
        fault = next((item for item in items if isinstance(item, TerraScopeError)), None)
        return self.collate(items) if fault is None else fault


class Epochs(TrainerCallback):
    """Tells the sampler and the data set which epoch begins; what they draw depends on it."""

    def __init__(self, *listeners: Any) -> None:
        self.listeners = [one for one in listeners if hasattr(one, "set_epoch")]

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for listener in self.listeners:
            listener.set_epoch(int(state.epoch or 0))

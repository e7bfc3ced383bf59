"""A model of a few numbers with an objective that has tokens and masks, for tests of the loop alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from terrascope.errors import SampleError
from terrascope.training.batch import Batch
from terrascope.training.objective import Losses
from terrascope.training.recipe import Recipe
from terrascope.training.trainer import TerraScopeTrainer

NUM_ITEMS = 24


class Items(torch.utils.data.Dataset[Any]):
    """Samples of 1 to 6 tokens and 0 to 2 masks; those in `broken` cannot be read."""

    def __init__(self, broken: Sequence[int] = ()) -> None:
        self.broken = broken
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __len__(self) -> int:
        return NUM_ITEMS

    def __getitem__(self, index: int) -> Any:
        if index in self.broken:
            raise SampleError(f"part-{index}.parquet: damaged (cut off); build it again")
        generator = torch.Generator().manual_seed(index)
        known = (torch.ones(2, 2, dtype=torch.bool),) * (index % 3)
        target = SimpleNamespace(token_ids=torch.arange(1 + index % 6), known=known, masks=known)
        return SimpleNamespace(
            sample_id=f"sample-{index}", target=target, values=torch.randn(8, generator=generator), number=index
        )


def gather(items: Sequence[Any]) -> Batch:
    return Batch(scenes=(), scene_ids=(), examples=tuple(items), owners=())


class FakeObjective(nn.Module):
    """Every sample gives each of its tokens and masks a loss of its own; `poison` makes that of one sample infinite."""

    def __init__(self, dropout: float = 0.0, poison: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.language_model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(dropout), nn.Linear(8, 1))
        self.seg_projection = nn.Linear(8, 1)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.poison = poison

    def forward(self, batch: Batch) -> Losses:
        language, segmentation = torch.zeros(()), torch.zeros(())
        num_tokens = num_masks = 0
        for item in batch.examples:
            tokens, masks = len(item.target.token_ids), len(item.target.masks)
            seen = self.frozen(item.values)
            language = language + tokens * self.language_model(seen).square().sum()
            segmentation = segmentation + masks * (self.seg_projection(seen) - 1).square().sum()
            num_tokens, num_masks = num_tokens + tokens, num_masks + masks
            if item.number == self.poison:
                segmentation = segmentation * float("inf")
        return Losses(
            language=language, num_tokens=num_tokens, segmentation=segmentation, num_masks=num_masks, extra={},
            num_positions=num_tokens, seg_loss_weight=0.5,
        )  # fmt: skip


class InOrder:
    """Batches of a size, in an order that depends on the epoch."""

    def __init__(self, batch_size: int, num_items: int = NUM_ITEMS) -> None:
        self.batch_size, self.num_items, self.epoch = batch_size, num_items, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.num_items // self.batch_size)

    def __iter__(self) -> Any:
        order = torch.randperm(self.num_items, generator=torch.Generator().manual_seed(self.epoch)).tolist()
        yield from (order[start : start + self.batch_size] for start in range(0, self.num_items, self.batch_size))


def make_recipe(**fields: Any) -> Recipe:
    optimizer = {"learning_rate": 0.05, "warmup": 0.1, **fields.pop("optimizer", {})}
    given = {"stage": "all", "precision": "fp32", "log_every": 1, "save_every": 1000, "optimizer": optimizer}
    return Recipe.model_validate({**given, **fields})


def make_trainer(
    folder: Path,
    *,
    objective: FakeObjective | None = None,
    batch_size: int = 4,
    broken: Sequence[int] = (),
    **fields: Any,
) -> TerraScopeTrainer:
    callbacks = fields.pop("callbacks", ())
    others = fields.pop("others", None)
    made: Any = objective or FakeObjective()
    return TerraScopeTrainer(
        made, Items(broken), InOrder(batch_size), gather,  # type: ignore[arg-type]
        recipe=make_recipe(batch_size=batch_size, **fields), folder=folder, callbacks=callbacks, others=others,
    )  # fmt: skip


def weights_of(trainer: TerraScopeTrainer) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


def train_in_processes(folder: Path) -> None:
    """What each process of a test with several runs: three steps with one batch each; the first writes the weights."""
    trainer = make_trainer(folder, batch_size=2, max_steps=3)
    trainer.train()
    if trainer.args.process_index == 0:
        torch.save(
            {"weights": weights_of(trainer), "losses": [line["loss"] for line in trainer.state.log_history]},
            folder / "result.pt",
        )


if __name__ == "__main__":
    import sys

    train_in_processes(Path(sys.argv[1]))

"""What the loss of a step is a mean over, counted before it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed

from terrascope.training.batch import Batch


@dataclass(frozen=True, kw_only=True)
class StepTotals:
    """What the loss of a step is a mean over: the tokens, masks and batches of all processes."""

    num_tokens: int
    num_masks: int
    num_batches: int


def count_step(batches: Sequence[Batch], device: torch.device, num_processes: int) -> StepTotals:
    """The totals of a step over all processes.

    Args:
        batches: of this process.
        device: where processes exchange numbers.
        num_processes: that take the step together.
    """
    counts = torch.tensor([[*count_targets(batch), 1] for batch in batches], device=device).sum(0)
    if num_processes > 1:
        torch.distributed.all_reduce(counts)
    num_tokens, num_masks, num_batches = counts.tolist()
    return StepTotals(num_tokens=num_tokens, num_masks=num_masks, num_batches=num_batches)


def count_targets(batch: Batch) -> tuple[int, int]:
    """Tokens, and masks whose truth is known somewhere, that the loss of a batch is a sum over (`objective.Losses`)."""
    targets = [example.target for example in batch.examples]
    num_masks = sum(bool(known.any()) for target in targets for known in target.known)
    return sum(len(target.token_ids) for target in targets), num_masks

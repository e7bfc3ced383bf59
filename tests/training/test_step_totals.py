"""What the loss of a step is a mean over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from terrascope.training.step_totals import StepTotals, count_step, count_targets


def batch_of(*known: torch.Tensor) -> Any:
    """One sample of five tokens and masks whose truth is known there."""
    target = SimpleNamespace(token_ids=torch.arange(5), known=known, masks=known)
    return SimpleNamespace(examples=(SimpleNamespace(target=target),))


NOWHERE, SOMEWHERE = torch.zeros(2, 2, dtype=torch.bool), torch.tensor([[True, False], [False, False]])


def test_masks_without_any_known_pixel_do_not_count() -> None:
    assert count_targets(batch_of(NOWHERE, SOMEWHERE)) == (5, 1)


def test_a_step_counts_all_its_batches() -> None:
    batches = [batch_of(NOWHERE, SOMEWHERE), batch_of(), batch_of(SOMEWHERE, SOMEWHERE)]
    assert count_step(batches, torch.device("cpu"), 1) == StepTotals(num_tokens=15, num_masks=3, num_batches=3)

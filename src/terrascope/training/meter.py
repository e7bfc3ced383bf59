"""What is measured of a training: the parts of its loss and its speed, over all processes."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed

from terrascope.training.objective import Losses

Values = Mapping[str, tuple[float, int]]
"""The parts of a loss by name, each as a sum with what it is a sum over."""


class Meter:
    """Gathers what batches gave between two lines of the log.

    Args:
        num_processes: that train together.
        peak: operations a second that the device of one process could do; None to leave the share of it out.
    """

    def __init__(self, num_processes: int, peak: float | None) -> None:
        self.num_processes, self.peak = num_processes, peak
        self._sums: dict[str, float] = defaultdict(float)
        self._since = time.perf_counter()

    def add_losses(self, values: Values) -> None:
        """Add the parts of a batch's loss."""
        add_losses(self._sums, values)

    def add(self, **amounts: float) -> None:
        """Add to what is counted: `samples`, `positions`, `flops` (operations), `waited_s` (for samples)."""
        for name, amount in amounts.items():
            self._sums[name] += amount

    def read(self) -> dict[str, float]:
        """The means of the loss and the speed since the last time, over all processes; all is counted anew then."""
        sums = sum_processes(self._sums, self.num_processes)
        now = time.perf_counter()
        elapsed, self._since = now - self._since, now
        self._sums = defaultdict(float)
        measured = mean_losses(sums)
        measured["samples_per_s"] = sums["samples"] / elapsed
        measured["tokens_per_s"] = sums["positions"] / elapsed
        measured["waited_share"] = sums["waited_s"] / self.num_processes / elapsed
        if self.peak:
            measured["mfu"] = sums["flops"] / elapsed / (self.peak * self.num_processes)
        return measured


def values_of(losses: Losses) -> Values:
    """The parts of a loss as numbers, fetched from the device at once."""
    parts = losses.parts()
    values = torch.stack([value.detach().float() for value, _ in parts.values()]).tolist()
    return {name: (value, count) for (name, (_, count)), value in zip(parts.items(), values, strict=True)}


def find_infinite(values: Values) -> str | None:
    """The first part of a loss that is not finite; None if all are."""
    return next((name for name, (value, _) in values.items() if not math.isfinite(value)), None)


def add_losses(sums: dict[str, float], values: Values) -> None:
    """Add the parts of a loss to sums that begin at zero (`defaultdict`) and that `mean_losses` reads."""
    for name, (value, count) in values.items():
        sums[f"{name}_loss"] += value
        sums[f"{name}_count"] += count


def mean_losses(sums: Mapping[str, float]) -> dict[str, float]:
    """Every part of the loss as the mean over its count: `language_loss`, `segmentation_loss`, and so on."""
    named = [name.removesuffix("_count") for name in sums if name.endswith("_count")]
    return {f"{name}_loss": sums[f"{name}_loss"] / max(1, sums[f"{name}_count"]) for name in named}


def sum_processes(own: Mapping[str, float], num_processes: int) -> dict[str, float]:
    """Sums over what every process has; a name that none has is zero."""
    found: list[Any] = [own] * num_processes
    if num_processes > 1:
        torch.distributed.all_gather_object(found, dict(own))
    total: dict[str, float] = defaultdict(float)
    for one in found:
        for name, value in one.items():
            total[name] += value
    return total

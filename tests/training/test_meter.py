"""What is measured between two lines of the log."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from terrascope.training import meter as meter_module
from terrascope.training.meter import Meter, find_infinite, values_of
from terrascope.training.objective import Losses


def losses_of(language: float, segmentation: float, **extra: tuple[float, int]) -> Losses:
    return Losses(
        language=torch.tensor(language), num_tokens=4, segmentation=torch.tensor(segmentation), num_masks=2,
        extra={name: (torch.tensor(value), count) for name, (value, count) in extra.items()},
        num_positions=10, seg_loss_weight=1.0,
    )  # fmt: skip


def test_losses_are_means_over_counts_and_speeds_over_the_time_since(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 12.0, 17.0])
    monkeypatch.setattr(meter_module.time, "perf_counter", lambda: next(times))
    meter = Meter(1, peak=100.0)
    for _ in range(2):
        meter.add_losses(values_of(losses_of(8.0, 3.0, alignment=(1.0, 4))))
        meter.add(samples=3, positions=10, flops=50.0, waited_s=0.25)
    assert meter.read() == {
        "language_loss": 2.0, "segmentation_loss": 1.5, "alignment_loss": 0.25,
        "samples_per_s": 3.0, "tokens_per_s": 10.0, "waited_share": 0.25, "mfu": 0.5,
    }  # fmt: skip
    meter.add(samples=5)
    assert meter.read() == {"samples_per_s": 1.0, "tokens_per_s": 0.0, "waited_share": 0.0, "mfu": 0.0}


def test_all_processes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(found: list[Any], own: dict[str, float]) -> None:
        found[:] = [own, {name: 3 * value for name, value in own.items()}]

    monkeypatch.setattr(meter_module.torch.distributed, "all_gather_object", gather)
    times = iter([0.0, 2.0])
    monkeypatch.setattr(meter_module.time, "perf_counter", lambda: next(times))
    meter = Meter(2, peak=None)
    meter.add_losses({"language": (6.0, 2)})
    meter.add(samples=1, waited_s=0.5)
    assert meter.read() == {"language_loss": 3.0, "samples_per_s": 2.0, "tokens_per_s": 0.0, "waited_share": 0.5}


def test_the_first_part_that_is_not_finite_is_found() -> None:
    assert find_infinite(values_of(losses_of(1.0, 2.0, alignment=(3.0, 1)))) is None
    assert find_infinite(values_of(losses_of(1.0, float("inf"), alignment=(float("nan"), 1)))) == "segmentation"

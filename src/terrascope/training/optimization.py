"""How parameters move: the optimizer of a recipe with its groups of parameters, and the course of their rates."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from terrascope.training.recipe import OptimizerRecipe
from terrascope.training.schedule import rate_share
from terrascope.training.stages import trained_parameters


def make_optimizer(model: nn.Module, settings: OptimizerRecipe) -> torch.optim.Optimizer:
    """The optimizer of the parameters that move."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.kind]
    return kind(parameter_groups(model, settings), lr=settings.learning_rate, betas=settings.betas)


def make_scheduler(
    optimizer: torch.optim.Optimizer, settings: OptimizerRecipe, *, num_steps: int, num_warmup: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The course of all rates over `num_steps`, of which the first `num_warmup` rise."""
    share = partial(rate_share, num_steps=num_steps, num_warmup=num_warmup, course=settings.schedule)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def parameter_groups(model: nn.Module, settings: OptimizerRecipe) -> list[dict[str, Any]]:
    """The parameters that move, by learning rate and weight decay; those of one group in the order of the model."""
    rates = {"decoder": settings.decoder_rate, "projector": settings.projector_rate, "language": None}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, weight in trained_parameters(model).items():
        groups.setdefault((part_of(name), weight.dim() > 1), []).append(weight)
    return [
        {
            "params": weights,
            "lr": rates[part] or settings.learning_rate,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (part, decays), weights in groups.items()
    ]


def part_of(name: str) -> str:
    """Which part of the model a parameter belongs to: `decoder`, `projector` or `language`, by its name."""
    words = name.split(".")
    if any(word in ("sam", "seg_projection", "mask_fusion") for word in words):
        return "decoder"
    return "projector" if any(word in ("multi_modal_projector", "merger") for word in words) else "language"

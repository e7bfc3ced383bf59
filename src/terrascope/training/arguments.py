"""A recipe's settings for the library's trainer, and the devices that it asks for."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from terrascope.errors import RecipeError
from terrascope.training.recipe import SHARDING, Recipe


def check_devices(recipe: Recipe) -> None:
    """Refuse what a recipe asks of several devices and is not there, before anything is loaded.

    Raises:
        RecipeError: the package deepspeed, or a configuration file, is not there, or the samples of a step cannot be
            divided among the processes.
    """
    recipe.accumulation_on(int(os.environ.get("WORLD_SIZE", "1")))
    if recipe.deepspeed is not None and find_spec("deepspeed") is None:
        raise RecipeError("deepspeed: the package deepspeed is not installed; install it, or give deepspeed=null")
    for name in ("deepspeed", "fsdp"):
        value = getattr(recipe, name)
        if value is not None and value not in SHARDING and not Path(value).is_file():
            raise RecipeError(f"{name}: {value} is no file; give one, or a name among {', '.join(SHARDING)}")


def training_arguments(recipe: Recipe, folder: Path) -> TrainingArguments:
    """The settings of a recipe as the library's trainer takes them."""
    given = {
        name: str(SHARDING.get(value, value)) for name in ("deepspeed", "fsdp") if (value := getattr(recipe, name))
    }
    sharding: dict[str, Any] = {"deepspeed": given["deepspeed"]} if "deepspeed" in given else {}
    if "fsdp" in given:
        sharding |= {"fsdp": True, "fsdp_config": given["fsdp"]}
    optimizer = recipe.optimizer
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation_on(int(os.environ.get("WORLD_SIZE", "1"))),
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        learning_rate=optimizer.learning_rate,
        weight_decay=optimizer.weight_decay,
        adam_beta1=optimizer.betas[0],
        adam_beta2=optimizer.betas[1],
        max_grad_norm=optimizer.clip,
        # A share of the steps: the library takes numbers below 1 as that.
        warmup_steps=optimizer.warmup,
        use_cpu=not torch.cuda.is_available(),
        bf16=recipe.precision == "bf16",
        seed=recipe.seed,
        save_strategy="steps",
        save_steps=recipe.save_every,
        logging_strategy="steps",
        logging_steps=recipe.log_every,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        # A batch without any mask leaves the mask decoder without a gradient.
        ddp_find_unused_parameters=True,
        **sharding,
    )
    if arguments.n_gpu > 1:
        # Several GPUs are for several processes; the library would split batches over them by threads.
        arguments._n_gpu = 1
    return arguments

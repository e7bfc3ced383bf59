"""The loop: the library's trainer, with a loss that is the mean over a whole step, and checkpoints that go on exactly.

A step may be several batches on several processes. Its loss (Eq. 6) is the mean over all tokens and all masks of them,
so that it does not depend on how a step is divided.
"""

from __future__ import annotations

import math
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from terrascope.errors import TrainingError
from terrascope.training.arguments import training_arguments
from terrascope.training.batch import Batch
from terrascope.training.checkpoints import (
    finish_checkpoint,
    list_checkpoints,
    load_trained,
    removed_on_failure,
    save_trained,
    staging_folder,
)
from terrascope.training.loading import Collate, Epochs, make_loader, sound
from terrascope.training.meter import Meter, add_losses, find_infinite, mean_losses, sum_processes, values_of
from terrascope.training.objective import Losses, Objective
from terrascope.training.optimization import make_optimizer, make_scheduler
from terrascope.training.process_batches import ProcessBatches
from terrascope.training.recipe import Recipe
from terrascope.training.stages import trained_parameters
from terrascope.training.step_totals import StepTotals, count_step
from terrascope.training.throughput import StepCost, peak_flops


class TerraScopeTrainer(Trainer):
    """Trains the parameters of an objective that ask for a gradient.

    Args:
        objective: the model and its loss.
        dataset: of items that `collate` makes batches of.
        batches: of the numbers of items; the same on every process.
        collate: items to a batch.
        recipe: how.
        folder: of the checkpoints.
        cost: of a step, for the share of the peak that is reached; None to leave it out.
        others: a data set and batches of it on which the loss is looked at.
        callbacks: told of everything.
    """

    def __init__(
        self,
        objective: Objective,
        dataset: Dataset[Any],
        batches: Any,
        collate: Collate,
        *,
        recipe: Recipe,
        folder: Path,
        cost: StepCost | None = None,
        others: tuple[Dataset[Any], Any] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        arguments = training_arguments(recipe, folder)
        super().__init__(
            objective,
            arguments,
            train_dataset=dataset,
            callbacks=[Epochs(batches, dataset), *callbacks],
        )
        self.remove_callback(PrinterCallback)
        # The totals of a step take the place of the number of tokens, so the library divides by nothing itself.
        self.model_accepts_loss_kwargs = True
        self.recipe, self.folder, self.cost, self.others = recipe, folder, cost, others
        self.batches = ProcessBatches(batches, arguments.process_index, arguments.world_size)
        self.collate = collate
        peak = peak_flops(arguments.device, torch.bfloat16 if arguments.bf16 else torch.float32) if cost else None
        self.meter = Meter(arguments.world_size, peak)

    @property
    def step(self) -> int:
        """The step that is under way, from 1."""
        return self.state.global_step + 1

    def go_on(self, checkpoint: Path | None) -> None:
        """Train from the beginning or from a checkpoint; of the last one nothing but the weights is read."""
        if checkpoint is None:
            self.train()
            return
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        if state.global_step >= state.max_steps and not self.is_fsdp_enabled:
            # The library would take one more step.
            self._load_from_checkpoint(str(checkpoint))
            self.state = state
        else:
            self.train(resume_from_checkpoint=str(checkpoint))

    def get_train_dataloader(self) -> DataLoader[Any]:
        return self.load(self.train_dataset, self.batches)

    def load(self, dataset: Any, batches: Any) -> DataLoader[Any]:
        """Batches of a data set, or the error that one of their items is."""
        return make_loader(dataset, batches, self.collate, num_workers=self.recipe.num_workers)

    def placed(self, dataset: Any, batches: Any) -> Iterator[Batch]:
        """Batches of a data set where the model is.

        Raises:
            TerraScopeError: an item cannot be prepared.
        """
        return (self.place(sound(batch)) for batch in self.load(dataset, batches))

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], StepTotals]:
        """The batches of a step on this process, and the totals over all processes."""
        begun = time.perf_counter()
        batches = [sound(batch) for batch in islice(epoch_iterator, num_batches)]
        totals = count_step(batches, device, self.args.world_size)
        self.meter.add(waited_s=time.perf_counter() - begun)
        return batches, totals

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        return self.place(inputs)

    def place(self, batch: Batch) -> Batch:
        """A batch where the model is; the encoders bring its pixels into the format that they take."""
        return batch.to(self.args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: StepTotals | None = None,
    ) -> Any:
        """This batch's part of the loss of the step.

        Raises:
            TrainingError: it is not finite.
        """
        losses: Losses = model(inputs)
        totals = num_items_in_batch
        assert totals is not None
        # Of what goes beyond Eq. 6 nobody knows the counts beforehand: the mean over batches of their means.
        further = {name: count * totals.num_batches for name, (_, count) in losses.extra.items()}
        loss = losses.mean(totals.num_tokens, totals.num_masks, further)
        self._note(losses, inputs)
        # Processes average their gradients, and what is wanted is the sum of their parts.
        loss = loss * self.args.world_size
        return (loss, losses) if return_outputs else loss

    def _note(self, losses: Losses, batch: Batch) -> None:
        """Add what a batch gave to the sums of the log, once it is known to be finite."""
        values = values_of(losses)
        infinite = find_infinite(values)
        if infinite is not None:
            raise TrainingError(self._say_infinite(f"the {infinite} loss", batch))
        self._last, self._last_flops = batch, self._count_flops(losses, batch)
        self.meter.add_losses(values)
        self.meter.add(positions=losses.num_positions, samples=len(batch.examples), flops=self._last_flops)

    def _count_flops(self, losses: Losses, batch: Batch) -> float:
        if self.cost is None:
            return 0.0
        return self.cost.count(
            num_positions=losses.num_positions,
            mean_length=losses.num_positions / len(batch.examples),
            num_supervised=losses.num_tokens,
            num_tiles=losses.num_tiles,
            num_images=losses.num_images,
            num_masks=losses.num_masks,
        )

    def floating_point_ops(self, inputs: Any) -> float:
        return self._last_flops

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if not math.isfinite(float(norm)):
            raise TrainingError(self._say_infinite("the gradient", self._last))
        return norm

    def _say_infinite(self, what: str, batch: Batch) -> str:
        samples = ", ".join(example.sample_id for example in batch.examples)
        return self._say_lower(f"step {self.step}: {what} is not finite, on the samples {samples}")

    def _say_lower(self, fault: str) -> str:
        last = list_checkpoints(self.folder)
        kept = f"the last checkpoint is {last[-1]}" if last else "there is no checkpoint yet"
        return f"{fault}; give a lower learning rate or precision=fp32 ({kept})"

    def _check_trained(self) -> None:
        """Refuse to keep what the last step has spoilt: no later loss would show it.

        Raises:
            TrainingError: a weight is not finite, or after the last step of all, the loss of its samples.
        """
        step = self.state.global_step
        moving = trained_parameters(self.model).items()
        spoilt = next((name for name, weight in moving if not torch.isfinite(weight).all()), None)
        if spoilt is not None:
            raise TrainingError(self._say_lower(f"step {step}: the weights {spoilt} are not finite"))
        if step < self.state.max_steps:
            return
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            infinite = find_infinite(values_of(self.model(self._last)))
        self.model.train(was_training)
        if infinite is not None:
            raise TrainingError(self._say_lower(f"step {step}: the {infinite} loss after it is not finite"))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "train_runtime" in logs:
            # Of the whole run, were it not that a run that went on knows its own part alone.
            return
        if "loss" in logs:
            logs = {**logs, **self.meter.read()}
        super().log(logs, start_time)

    def look_at_others(self) -> dict[str, float]:
        """The loss on the other samples, by parts: means over all tokens and masks of them."""
        assert self.others is not None
        dataset, batches = self.others
        sums: dict[str, float] = defaultdict(float)
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            for batch in self.placed(dataset, ProcessBatches(batches, self.args.process_index, self.args.world_size)):
                add_losses(sums, values_of(self.model(batch)))
        self.model.train(was_training)
        means = mean_losses(sum_processes(sums, self.args.world_size))
        return {f"others_{name}": value for name, value in means.items()}

    def _maybe_log_save_evaluate(self, *given: Any, **named: Any) -> None:
        look = self.recipe.evaluate
        is_new = self.state.global_step and self.state.global_step != getattr(self, "_looked_at", None)
        if look is not None and self.others is not None and is_new and self.state.global_step % look.every == 0:
            self._looked_at, should_log = self.state.global_step, self.control.should_log
            # Before a checkpoint is written, so that it stands in its log; the library takes any line for the step's.
            self.log(self.look_at_others())
            self.control.should_log = should_log
        super()._maybe_log_save_evaluate(*given, **named)

    optimizer: Any
    lr_scheduler: Any

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = make_optimizer(self.model if model is None else model, self.recipe.optimizer)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.lr_scheduler is None:
            self.lr_scheduler = make_scheduler(
                optimizer or self.optimizer,
                self.recipe.optimizer,
                num_steps=num_training_steps,
                num_warmup=self.args.get_warmup_steps(num_training_steps),
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write what moves, the optimizer and the random numbers under another name, and rename it once it is whole."""
        self._check_trained()
        staged = staging_folder(self.folder, self.state.global_step)
        with removed_on_failure(staged):
            self._write_checkpoint(staged)

    def _write_checkpoint(self, staged: Path) -> None:
        if self.args.should_save:
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.store_flos()
        if self.args.should_save and not self.is_fsdp_enabled:
            save_trained(self.model, staged)
        self._save_optimizer_and_scheduler(str(staged))
        self._save_scaler(str(staged))
        self._save_rng_state(str(staged))
        if self.args.should_save:
            self.state.save_to_json(str(staged / TRAINER_STATE_NAME))
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            finish_checkpoint(self.folder, self.state.global_step, self.recipe.keep)
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        load_trained(self.model, Path(resume_from_checkpoint))

"""The loop: the library's trainer, with a loss that is the mean over a whole step, and checkpoints that go on exactly.

A step may be several batches on several processes. Its loss (Eq. 6) is the mean over all tokens and all masks of them,
so that it does not depend on how a step is divided.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from terrascope.errors import OutputError, RecipeError, TerraScopeError, TrainingError
from terrascope.training.checkpoints import finish_checkpoint, list_checkpoints, staging_folder
from terrascope.training.process_batches import ProcessBatches
from terrascope.training.schedule import rate_share
from terrascope.training.throughput import StepCost, peak_flops

if TYPE_CHECKING:
    from terrascope.training.batch import Batch
    from terrascope.training.objective import Losses, Objective
    from terrascope.training.recipe import OptimizerRecipe, Recipe

TRAINED = "trained.safetensors"
"""The parameters that move, in a checkpoint."""

_TORCH_CANNOT_WRITE = ("PytorchStreamWriter", "inline_container", "iostream error")


@dataclass(frozen=True, kw_only=True)
class StepTotals:
    """What the loss of a step is a mean over: the tokens, masks and batches of all processes."""

    num_tokens: int
    num_masks: int
    num_batches: int


class Guarded(torch.utils.data.Dataset[Any]):
    """A data set whose errors come back as values: a worker process would bury them in a traceback."""

    def __init__(self, dataset: torch.utils.data.Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except TerraScopeError as error:
            return error


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
        dataset: torch.utils.data.Dataset[Any],
        batches: Any,
        collate: Callable[[Sequence[Any]], Batch],
        *,
        recipe: Recipe,
        folder: Path,
        cost: StepCost | None = None,
        others: tuple[torch.utils.data.Dataset[Any], Any] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        arguments = training_arguments(recipe, folder)
        super().__init__(
            objective,
            arguments,
            train_dataset=dataset,
            callbacks=[_Epochs(batches, dataset), *callbacks],
        )
        self.remove_callback(PrinterCallback)
        # The totals of a step take the place of the number of tokens, so the library divides by nothing itself.
        self.model_accepts_loss_kwargs = True
        self.recipe, self.folder, self.cost, self.others = recipe, folder, cost, others
        self.batches = ProcessBatches(batches, arguments.process_index, arguments.world_size)
        self.collate = collate
        self.peak = peak_flops(arguments.device, torch.bfloat16 if arguments.bf16 else torch.float32) if cost else None
        self._sums: dict[str, float] = defaultdict(float)
        self._since = time.perf_counter()

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
        return DataLoader(
            Guarded(dataset),
            batch_sampler=batches,
            collate_fn=_Collate(self.collate),
            num_workers=self.recipe.num_workers,
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], StepTotals]:
        """The batches of a step on this process, and the totals over all processes."""
        begun = time.perf_counter()
        batches = list(islice(epoch_iterator, num_batches))
        for batch in batches:
            if isinstance(batch, TerraScopeError):
                raise batch
        counts = torch.tensor([[*count_targets(batch), 1] for batch in batches], device=device).sum(0)
        if self.args.world_size > 1:
            torch.distributed.all_reduce(counts)
        self._sums["waited_s"] += time.perf_counter() - begun
        num_tokens, num_masks, num_batches = counts.tolist()
        return batches, StepTotals(num_tokens=num_tokens, num_masks=num_masks, num_batches=num_batches)

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        return self.place(inputs)

    def place(self, batch: Batch) -> Batch:
        """A batch where the model is, in the format that it takes."""
        batch = batch.to(self.args.device)
        # Kept scenes are in float16, which autocast to bfloat16 refuses to join.
        scenes = (replace(s, tiles=s.tiles.float(), sam_images=s.sam_images.float()) for s in batch.scenes)
        return replace(batch, scenes=tuple(scenes))

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
        parts = _parts(losses)
        values = torch.stack([value.detach().float() for value, _ in parts.values()]).tolist()
        for (name, (_, count)), value in zip(parts.items(), values, strict=True):
            if not math.isfinite(value):
                raise TrainingError(self._say_infinite(f"the {name} loss", batch))
            self._sums[f"{name}_loss"] += value
            self._sums[f"{name}_count"] += count
        self._sums["positions"] += losses.num_positions
        self._sums["samples"] += len(batch.examples)
        self._last_flops = self._count_flops(losses, batch)
        self._sums["flops"] += self._last_flops
        self._last = batch

    def _count_flops(self, losses: Losses, batch: Batch) -> float:
        if self.cost is None:
            return 0.0
        # What is kept of the encoders may be all that a step needs of them; then they cost nothing.
        encoded = () if self.recipe.cache_mb else batch.scenes
        return self.cost.count(
            num_positions=losses.num_positions,
            mean_length=losses.num_positions / len(batch.examples),
            num_supervised=losses.num_tokens,
            num_tiles=sum(len(scene.tiles) for scene in encoded),
            num_images=sum(len(scene.sam_images) for scene in encoded),
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
        spoilt = next((name for name, weight in _trained(self.model) if not torch.isfinite(weight).all()), None)
        if spoilt is not None:
            raise TrainingError(self._say_lower(f"step {step}: the weights {spoilt} are not finite"))
        if step < self.state.max_steps:
            return
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            losses = self.model(self._last)
        self.model.train(was_training)
        for name, (value, _) in _parts(losses).items():
            if not math.isfinite(float(value)):
                raise TrainingError(self._say_lower(f"step {step}: the {name} loss after it is not finite"))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "train_runtime" in logs:
            # Of the whole run, were it not that a run that went on knows its own part alone.
            return
        if "loss" in logs:
            logs = {**logs, **self._measure()}
        super().log(logs, start_time)

    def _measure(self) -> dict[str, float]:
        """The parts of the loss and the speed since the last time, over all processes."""
        sums: dict[str, float] = defaultdict(float)
        for one in self._of_all(dict(self._sums)):
            _add(sums, one)
        now = time.perf_counter()
        elapsed, self._since = now - self._since, now
        self._sums = defaultdict(float)
        named = [name.removesuffix("_count") for name in sums if name.endswith("_count")]
        measured = {f"{name}_loss": sums[f"{name}_loss"] / max(1, sums[f"{name}_count"]) for name in named}
        measured["samples_per_s"] = sums["samples"] / elapsed
        measured["tokens_per_s"] = sums["positions"] / elapsed
        measured["waited_share"] = sums["waited_s"] / self.args.world_size / elapsed
        if self.peak:
            measured["mfu"] = sums["flops"] / elapsed / (self.peak * self.args.world_size)
        return measured

    def _of_all(self, own: dict[str, float]) -> list[dict[str, float]]:
        """What every process has."""
        found: list[Any] = [own] * self.args.world_size
        if self.args.world_size > 1:
            torch.distributed.all_gather_object(found, own)
        return found

    def look_at_others(self) -> dict[str, float]:
        """The loss on the other samples, by parts: means over all tokens and masks of them."""
        assert self.others is not None
        dataset, batches = self.others
        sums: dict[str, float] = defaultdict(float)
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            for batch in self.load(dataset, ProcessBatches(batches, self.args.process_index, self.args.world_size)):
                if isinstance(batch, TerraScopeError):
                    raise batch
                for name, (value, count) in _parts(self.model(self.place(batch))).items():
                    sums[name] += float(value)
                    sums[f"{name}_count"] += count
        self.model.train(was_training)
        total: dict[str, float] = defaultdict(float)
        for one in self._of_all(dict(sums)):
            _add(total, one)
        names = [name for name in total if not name.endswith("_count")]
        return {f"others_{name}_loss": total[name] / max(1, total[f"{name}_count"]) for name in names}

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
            settings = self.recipe.optimizer
            kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.kind]
            groups = parameter_groups(self.model if model is None else model, settings)
            self.optimizer = kind(groups, lr=settings.learning_rate, betas=settings.betas)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.lr_scheduler is None:
            share = partial(
                rate_share,
                num_steps=num_training_steps,
                num_warmup=self.args.get_warmup_steps(num_training_steps),
                course=self.recipe.optimizer.schedule,
            )
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, share)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write what moves, the optimizer and the random numbers under another name, and rename it once it is whole."""
        self._check_trained()
        staged = staging_folder(self.folder, self.state.global_step)
        with _removed_on_failure(staged):
            self._write_checkpoint(staged)

    def _write_checkpoint(self, staged: Path) -> None:
        if self.args.should_save:
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.store_flos()
        if self.args.should_save and not self.is_fsdp_enabled:
            weights = {name: weight.detach().contiguous() for name, weight in _trained(self.model)}
            save_file(weights, staged / TRAINED)
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
        path = Path(resume_from_checkpoint) / TRAINED
        stored, own = load_file(path), dict(_trained(self.model))
        odd = sorted(stored.keys() ^ own.keys())
        if odd:
            raise TrainingError(f"{path}: holds other parameters than this run trains ({odd[0]}); give another --out")
        with torch.no_grad():
            for name, weight in own.items():
                weight.copy_(stored[name])


class _Collate:
    """Makes a batch of items, or hands on the error that one of them is."""

    def __init__(self, collate: Callable[[Sequence[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[Any]) -> Any:
        fault = next((item for item in items if isinstance(item, TerraScopeError)), None)
        return self.collate(items) if fault is None else fault


class _Epochs(TrainerCallback):
    """Tells the sampler and the data set which epoch begins; what they draw depends on it."""

    def __init__(self, *listeners: Any) -> None:
        self.listeners = [one for one in listeners if hasattr(one, "set_epoch")]

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for listener in self.listeners:
            listener.set_epoch(int(state.epoch or 0))


@contextmanager
def _removed_on_failure(staged: Path) -> Iterator[None]:
    """A checkpoint that cannot be written leaves nothing behind.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        shutil.rmtree(staged, ignore_errors=True)
        # Torch has no error of its own for a full disk.
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in _TORCH_CANNOT_WRITE):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
        raise OutputError(
            f"{staged.parent}: a checkpoint cannot be written ({reason}); make room, and run it again to go on"
        ) from None


def check_devices(recipe: Recipe) -> None:
    """Refuse what a recipe asks of several devices and is not there, before anything is loaded.

    Raises:
        RecipeError: the package deepspeed, or a configuration file, is not there, or the samples of a step cannot be
            divided among the processes.
    """
    from terrascope.training.recipe import SHARDING

    recipe.accumulation_on(int(os.environ.get("WORLD_SIZE", "1")))
    if recipe.deepspeed is not None and find_spec("deepspeed") is None:
        raise RecipeError("deepspeed: the package deepspeed is not installed; install it, or give deepspeed=null")
    for name in ("deepspeed", "fsdp"):
        value = getattr(recipe, name)
        if value is not None and value not in SHARDING and not Path(value).is_file():
            raise RecipeError(f"{name}: {value} is no file; give one, or a name among {', '.join(SHARDING)}")


def training_arguments(recipe: Recipe, folder: Path) -> TrainingArguments:
    """The settings of a recipe as the library's trainer takes them."""
    from terrascope.training.recipe import SHARDING

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


def parameter_groups(model: nn.Module, settings: OptimizerRecipe) -> list[dict[str, Any]]:
    """The parameters that move, by learning rate and weight decay; those of one group in the order of the model."""
    rates = {"decoder": settings.decoder_rate, "projector": settings.projector_rate, "language": None}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, weight in _trained(model):
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


def count_targets(batch: Batch) -> tuple[int, int]:
    """Tokens, and masks whose truth is known somewhere, that the loss of a batch is a sum over (`objective.Losses`)."""
    targets = [example.target for example in batch.examples]
    num_masks = sum(bool(known.any()) for target in targets for known in target.known)
    return sum(len(target.token_ids) for target in targets), num_masks


def _add(sums: dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        sums[name] += value


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def _parts(losses: Losses) -> dict[str, tuple[Tensor, int]]:
    """Every part of a loss with what it is a sum over."""
    return {
        "language": (losses.language, losses.num_tokens),
        "segmentation": (losses.segmentation, losses.num_masks),
        **losses.extra,
    }

"""A recipe carried out: model, samples, objective and loop put together, and a plain checkpoint at the end.

A run's folder holds `recipe.yaml`, `data.json`, `log.jsonl`, `tensorboard/`, `checkpoints/`, and when it has ended
`model/`. Killed meanwhile, the same run goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers.utils import logging

from terrascope.command_options import read_source
from terrascope.errors import OutputError, RecipeError, SampleError, TrainingError
from terrascope.model.checkpoint import take_profile, take_settings
from terrascope.model.compose import choose_parts, compose
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import TerraScopeProcessor
from terrascope.model.release.folders import new_folder
from terrascope.model.terrascope import TerraScope
from terrascope.output import check_folder
from terrascope.sources import open_source
from terrascope.sources.chips import Source
from terrascope.terracot.store import open_store
from terrascope.training.arguments import check_devices
from terrascope.training.batch import collate
from terrascope.training.checkpoints import find_usable, step_of
from terrascope.training.dataset import DataSettings, TerraCotDataset
from terrascope.training.objective import Objective
from terrascope.training.recipe import Recipe
from terrascope.training.run_folder import CHECKPOINTS, MODEL, begin_folder, check_data, check_earlier
from terrascope.training.run_log import Progress, RunLog
from terrascope.training.sampler import SceneBatchSampler
from terrascope.training.stages import freeze_masks, merge_lora, prepare_stage, reasoning_token_ids, trained_parameters
from terrascope.training.states import SegStateCache
from terrascope.training.throughput import StepCost
from terrascope.training.trainer import TerraScopeTrainer

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "Cannot allocate memory", "not enough memory")

Tell = Callable[[str], None]
Loaded = tuple[TerraScopeForConditionalGeneration, TerraScopeProcessor]


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a run has made.

    Attributes:
        model: folder of the finished checkpoint.
        num_steps: that the run took in all.
        log: every measurement, in order, as in `log.jsonl`.
        samples_per_s, tokens_per_s, mfu: means over what was measured; None where nothing was.
    """

    model: Path
    num_steps: int
    log: tuple[dict[str, float], ...]
    samples_per_s: float | None
    tokens_per_s: float | None
    mfu: float | None


def run_recipe(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = True,
    model: TerraScopeForConditionalGeneration | None = None,
    processor: TerraScopeProcessor | None = None,
    class_prompts: Tensor | None = None,
    tell: Tell | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train, or go on where a killed run of the same recipe has stopped.

    Args:
        recipe: what is done.
        out: folder of the run.
        resume: go on; otherwise what lies there of an earlier run is removed first.
        model, processor: trained instead of the recipe's model; the model is changed in place.
        class_prompts: `[classes, C]`, for an objective that aligns [SEG] states with them.
        tell: called with a sentence on what is trained, and on checkpoints that are damaged.
        progress: called with steps done, all steps, and how it goes.

    Raises:
        RecipeError: the folder holds a run of another recipe or of other samples, the recipe asks for what is not
            there, or samples or their scenes are not named.
        ModelError, SampleError, SceneError: the model or the data cannot be used.
        TrainingError: a loss or a weight is not finite, memory ran out, or every checkpoint is damaged.
        OutputError: the folder cannot be written, or what it holds is no run.
    """
    folder, is_main = check_folder(out), int(os.environ.get("RANK", "0")) == 0
    say = tell if tell is not None and is_main else _say_nothing
    check_devices(recipe)
    if recipe.objective.alignment and class_prompts is None:
        raise RecipeError("objective.alignment needs prompts of classes, which only terrascope train nano has; give 0")
    check_earlier(recipe, folder, resume=resume)
    checkpoint = find_usable(folder / CHECKPOINTS, say) if resume else None
    torch.manual_seed(recipe.seed)
    if model is None or processor is None:
        model, processor = load_model(recipe, say)
    if recipe.profile is not None:
        take_profile(model.config, processor, recipe.profile)
    take_settings(model.config, processor, recipe.settings)
    new_tokens = reasoning_token_ids(processor.tokenizer)
    prepare_stage(model, recipe.stage, recipe.lora, new_tokens=new_tokens)
    if recipe.objective.loss.seg_loss_weight == 0:
        freeze_masks(model, projection=recipe.objective.alignment == 0)
    _settle_formats(model, recipe)
    if recipe.gradient_checkpointing:
        _checkpoint_activations(model.vlm)
    data = open_data(recipe, recipe.data, processor, model)
    if checkpoint is not None:
        check_data(folder, data.store)
    batches, others = _batches(recipe, data), _open_others(recipe, processor, model)
    # Only now: what is wrong above must not cost an earlier run.
    if is_main:
        begin_folder(recipe, folder, data.store, keep=checkpoint is not None)
    objective = Objective(model, recipe.objective, class_prompts=class_prompts, cache_mb=recipe.cache_mb)
    trainer = TerraScopeTrainer(
        objective,
        data,
        batches,
        collate,
        recipe=recipe,
        folder=folder / CHECKPOINTS,
        cost=StepCost.of(model),
        others=others,
        callbacks=[RunLog(folder, is_main=is_main, progress=progress, tell=say)],
    )
    if recipe.state_cache is not None:
        with trainer.accelerator.main_process_first():
            say("computing the states of [SEG]s that are not known yet")
            objective.known_states = _known_states(trainer, recipe.state_cache).states
    num_moving = sum(weight.numel() for weight in trained_parameters(model).values())
    left_out = "".join(f", {num:,} {reason} left out" for reason, num in data.left_out.items() if num)
    say(f"{num_moving / 1e6:,.2f} million parameters move; {len(data):,} samples{left_out}")
    if checkpoint is not None:
        say(f"going on after step {step_of(checkpoint)}")
    try:
        trainer.go_on(checkpoint)
    except (MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
        raise TrainingError(_say_memory(trainer, recipe)) from error
    finished = _gather(trainer, model, new_tokens)
    if is_main:
        save_model(finished, processor, recipe, folder / MODEL)
    trainer.accelerator.wait_for_everyone()
    return _result(folder / MODEL, trainer)


def load_model(recipe: Recipe, tell: Tell | None = None) -> Loaded:
    """The model that a recipe trains, before anything of it is frozen, and its processor.

    Raises:
        ModelError: it cannot be found, or not be used.
    """
    on_gpu = torch.cuda.is_available()
    dtype = "bfloat16" if recipe.precision == "bf16" and on_gpu else "float32"
    if isinstance(recipe.model, str):
        # Sharded, no device holds all of it.
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if on_gpu and recipe.fsdp is None else "cpu"
        loaded = TerraScope.from_pretrained(recipe.model, device=device, dtype=dtype, tell=tell)
        return loaded.model, loaded.processor
    parts = recipe.model
    return compose(choose_parts(parts.vlm, parts.sam, parts.preset), dtype=dtype, tell=tell)


def open_data(
    recipe: Recipe, settings: DataSettings, processor: TerraScopeProcessor, model: TerraScopeForConditionalGeneration
) -> TerraCotDataset:
    """The samples of a recipe.

    Raises:
        RecipeError: no folder of samples is named.
        SampleError, SceneError: they cannot be used.
    """
    if recipe.store is None:
        raise RecipeError("no samples were given; name their folder with --data DIR, or as store in the recipe")
    sources = [_open_source(name, root) for name, root in recipe.read.items()]
    return TerraCotDataset(
        open_store(recipe.store),
        {source.name: source for source in sources},
        processor,
        settings,
        scene_cache=recipe.scene_cache,
        config=model.config,
    )


def save_model(
    model: TerraScopeForConditionalGeneration, processor: TerraScopeProcessor, recipe: Recipe, place: Path
) -> None:
    """Write a plain checkpoint, adapters folded in, in the place of an earlier one.

    Raises:
        OutputError: it cannot be written.
    """
    merge_lora(model)
    model.to(torch.bfloat16 if recipe.precision == "bf16" else torch.float32)
    model.eval()
    shutil.rmtree(place, ignore_errors=True)
    logging.disable_progress_bar()
    with new_folder(place) as unfinished:
        try:
            model.save_pretrained(unfinished)
        except SafetensorError as error:
            raise OutputError(f"{place}: cannot be written ({error}); make room, and run it again to go on") from None
        processor.save_pretrained(unfinished)


def _say_nothing(_: str) -> None:
    return None


def _open_source(name: str, root: str) -> Source:
    """A source as `--source` of `terrascope data build` names it, options and another name for it included."""
    try:
        named = read_source(f"{name}={root}")
    except SampleError as error:
        raise RecipeError(str(error).replace("--source", "--read")) from None
    return open_source(named["kind"] or named["name"], named["root"], called=named["name"], **named["options"])


def _open_others(recipe: Recipe, processor: TerraScopeProcessor, model: Any) -> tuple[Any, Any] | None:
    look = recipe.evaluate
    if look is None:
        return None
    settings = replace(recipe.data, split=look.split, max_samples=look.max_samples, mask_noise=0.0)
    data = open_data(recipe, settings, processor, model)
    return data, _batches(recipe, data)


def _batches(recipe: Recipe, data: TerraCotDataset) -> SceneBatchSampler:
    return SceneBatchSampler(
        data.lengths,
        data.scene_ids,
        recipe.batch_size,
        seed=recipe.seed,
        max_positions_per_batch=recipe.max_positions_per_batch,
    )


def _known_states(trainer: TerraScopeTrainer, folder: Path) -> SegStateCache:
    """The [SEG] states of all samples that the run takes, those of the evaluation included; computed by the first
    process that comes."""
    states = SegStateCache(folder, trainer.model)
    sampler = trainer.batches.batch_sampler
    num_taken = (trainer.recipe.max_steps or len(sampler)) * trainer.args.gradient_accumulation_steps
    taken = list(islice(sampler, num_taken * trainer.args.world_size))
    for data, batches in [(trainer.train_dataset, taken), *filter(None, [trainer.others])]:
        with trainer.accelerator.autocast():
            states.collect(trainer.placed(data, batches))
    return states


def _settle_formats(model: TerraScopeForConditionalGeneration, recipe: Recipe) -> None:
    """What moves is kept in float32, where small steps are not lost; what is frozen stays in the format it came in.

    Sharded, all weights have one format: those of a layer are one tensor then.
    """
    for weight in model.parameters():
        if weight.requires_grad or recipe.fsdp is not None:
            weight.data = weight.data.float()


def _checkpoint_activations(vlm: Any) -> None:
    # The library has renamed it.
    enable = getattr(vlm, "activation_checkpointing_enable", None) or vlm.gradient_checkpointing_enable
    enable()


def _gather(trainer: TerraScopeTrainer, model: TerraScopeForConditionalGeneration, new_tokens: Sequence[int]) -> Any:
    """The trained model in one piece, on the process that writes it; what was sharded is put together again."""
    if not trainer.is_fsdp_enabled:
        return model
    state = trainer.accelerator.get_state_dict(trainer.model)
    if not trainer.accelerator.is_main_process:
        return model
    with torch.device("meta"):
        whole = TerraScopeForConditionalGeneration(model.config)
    whole.to_empty(device="cpu")
    whole.tie_weights()
    prepare_stage(whole, trainer.recipe.stage, trainer.recipe.lora, new_tokens=new_tokens)
    whole.load_state_dict({name.removeprefix("model."): value for name, value in state.items()})
    return whole


def _is_memory(error: BaseException) -> bool:
    is_ours = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_ours or any(words in str(error) for words in _OUT_OF_MEMORY)


def _say_memory(trainer: TerraScopeTrainer, recipe: Recipe) -> str:
    lower = [f"a lower batch_size than {recipe.batch_size}"] if recipe.batch_size > 1 else []
    lower += ["a lower data.max_positions"] if recipe.gradient_checkpointing else ["gradient_checkpointing=true"]
    lower += ["cache_mb=0"] if recipe.cache_mb else []
    return f"step {trainer.step}: memory ran out on {trainer.args.device}; give {', or '.join(lower)}"


def _result(place: Path, trainer: TerraScopeTrainer) -> TrainingResult:
    log = tuple(trainer.state.log_history)

    def mean(name: str) -> float | None:
        values = [line[name] for line in log if name in line]
        return sum(values) / len(values) if values else None

    return TrainingResult(
        model=place,
        num_steps=trainer.state.global_step,
        log=log,
        samples_per_s=mean("samples_per_s"),
        tokens_per_s=mean("tokens_per_s"),
        mfu=mean("mfu"),
    )

"""The making of `nano`, from chips and samples to the folder that the package carries.

Stages: pool -> dense pre-training of both encoders -> tokenizer -> instruction tuning -> grounding -> fusion of optical
and SAR -> weights. Each stage leaves its result in the run's folder and is skipped, or gone on with, when it is there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from terrascope.errors import OutputError, RecipeError
from terrascope.landcover import TERRASCOPE
from terrascope.model import nano
from terrascope.model.checkpoint import make_processor
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.nano_tokenizer import train_tokenizer
from terrascope.model.processing import TerraScopeProcessor
from terrascope.model.release.folders import new_folder
from terrascope.model.terrascope import TerraScope
from terrascope.output import written_whole
from terrascope.terracot.store import Store, open_store
from terrascope.training import fusion
from terrascope.training.dense import MEAN, STD, DenseRecipe, initialize_narrow, pretrain
from terrascope.training.pool import Pool, build_pool
from terrascope.training.recipe import load_recipe, quoted
from terrascope.training.run import Tell, run_recipe
from terrascope.training.run_folder import check_same, fingerprint
from terrascope.training.run_log import Progress

MADE_OF = "made_of.json"
"""What a run is made of: its sizes, samples and start. The run's folder is for these alone."""

LANGUAGE = (
    "data.max_positions=800",
    # The mask decoder learns apart: no mask is decoded here, the states are drawn to what SAM-2 was asked with.
    "objective.loss.seg_loss_weight=0",
    "objective.alignment=1.0",
    "optimizer.learning_rate=1e-3",
    "optimizer.betas=[0.9, 0.98]",
    "optimizer.warmup=0.06",
    "cache_mb=4000",
)
"""What the recipe `nano-stage2` does otherwise where the language model begins from nothing."""


@dataclass(frozen=True, kw_only=True)
class NanoRecipe:
    """Sizes of all stages.

    Attributes:
        num_scenes, num_validation_scenes: generated scenes that the encoders see.
        sam_steps, sam_polish_steps, vision_steps: of the dense pre-training.
        vocabulary: tokens, at most.
        language_steps, grounding_steps: of the instruction tuning and of the grounding after it.
        fusion_scenes: generated scenes on which the fusion of optical and SAR logits is fitted at last.
    """

    num_scenes: int = 1800
    num_validation_scenes: int = 90
    sam_steps: int = 2400
    sam_polish_steps: int = 600
    vision_steps: int = 800
    vocabulary: int = 1200
    language_steps: int = 1300
    grounding_steps: int = 300
    fusion_scenes: int = 80


def sized(sizes: Mapping[str, int]) -> NanoRecipe:
    """The recipe with other sizes.

    Raises:
        RecipeError: there is no such stage, or its size is not at least 1.
    """
    names = [field.name for field in fields(NanoRecipe)]
    for name, size in sizes.items():
        if name not in names:
            raise RecipeError(f"--size {name}={size}: there is no such stage; choose among {', '.join(names)}")
        if size < 1:
            raise RecipeError(f"--size {name}={size}: give at least 1")
    return NanoRecipe(**sizes)


def train(
    folder: Path,
    store: Path,
    read: Mapping[str, str],
    recipe: NanoRecipe,
    *,
    chips: Path | None = None,
    start: str | None = None,
    tell: Tell | None = None,
    progress: Progress | None = None,
) -> Path:
    """Run all stages; returns the folder with the finished checkpoint.

    Args:
        folder: of the run.
        store: samples, as `terrascope data build` writes them.
        read: where the scenes of the store's sources lie.
        recipe: sizes.
        chips: folder with `hls-worldcover` and `ombria` for the encoders; they see generated scenes only without.
        start: a model whose encoders are trained further; they begin from nothing without.
        tell, progress: as in `run_recipe`.

    Raises:
        RecipeError: the folder holds a run of other sizes, samples or another start.
        OutputError: it holds something else, or cannot be written.
        SampleError: the samples cannot be used.
    """
    samples_there = open_store(store)
    _begin(folder, {
        **asdict(recipe), "data": fingerprint(samples_there), "chips": chips is not None, "start": start,
    })  # fmt: skip
    if (folder / "nano").exists():
        return folder / "nano"
    torch.manual_seed(0)
    build_pool(
        folder / "pool",
        chips,
        num_train=recipe.num_scenes,
        num_val=recipe.num_validation_scenes,
        num_workers=os.cpu_count() or 1,
    )
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        stages = {
            "sam": DenseRecipe(num_steps=recipe.sam_steps, polish_steps=recipe.sam_polish_steps),
            "vision": DenseRecipe(num_steps=recipe.vision_steps),
        }
        for future in [executor.submit(_pretrain, kind, folder, stage, start) for kind, stage in stages.items()]:
            future.result()
    model, processor = compose(find_tokenizer(folder, samples_there, recipe.vocabulary))
    prompts = load_encoders(model, folder)
    samples = [f"store={quoted(store)}", *(f"read.{name}={quoted(root)}" for name, root in read.items())]
    samples.append(f"scene_cache={quoted(folder / 'scenes')}")
    language = load_recipe("nano-stage2", [*samples, *LANGUAGE, f"max_steps={recipe.language_steps}"])
    run_recipe(
        language, folder / "language", model=model, processor=processor, class_prompts=prompts,
        tell=tell, progress=progress,
    )  # fmt: skip
    grounding = load_recipe("nano-stage1", [
        *samples, f"model={quoted(folder / 'language' / 'model')}", f"max_steps={recipe.grounding_steps}",
        "data.max_positions=800", f"state_cache={quoted(folder / 'states')}",
    ])  # fmt: skip
    result = run_recipe(grounding, folder / "grounding", tell=tell, progress=progress)
    if not (folder / "fusion").exists():
        front = TerraScope.from_pretrained(str(result.model), device="cpu", dtype="float32")
        before, after = fusion.fit(front, fusion.FusionRecipe(num_scenes=recipe.fusion_scenes))
        if tell is not None:
            tell(f"fusion of optical and SAR: cross-entropy {before:.3f} before, {after:.3f} after")
        with new_folder(folder / "fusion") as unfinished:
            front.save_pretrained(str(unfinished))
    return save(folder / "fusion", folder / "nano")


def find_tokenizer(folder: Path, store: Store, vocabulary: int) -> PreTrainedTokenizerFast:
    """The tokenizer of a run, made once."""
    place = folder / "tokenizer"
    if not place.exists():
        with new_folder(place) as unfinished:
            make_tokenizer(store, vocabulary).save_pretrained(unfinished)
    return PreTrainedTokenizerFast.from_pretrained(place)


def make_tokenizer(store: Store, vocabulary: int) -> PreTrainedTokenizerFast:
    """Learn the vocabulary from questions and reasoning of a data set, and the words of prompts and classes."""
    texts = [
        "Image: 1 2021-03-04 optical sar\nOne percent is 6.6 ha. The image is 2.6 km wide.\n"
        "A. 1 m2\nB. 2 km\nuser assistant"
    ] * 200
    texts += [word for land_class in TERRASCOPE.classes for word in land_class.words] * 20
    for row in store.rows(columns=("question", "options", "reasoning")):
        texts += ["\n".join([row["question"], *row["options"]]), row["reasoning"]]
    return train_tokenizer(texts, vocabulary)


def compose(tokenizer: PreTrainedTokenizerFast) -> tuple[TerraScopeForConditionalGeneration, TerraScopeProcessor]:
    """An untrained `nano` around a tokenizer."""
    config = TerraScopeConfig(
        vlm_config=nano.internvl_config(len(tokenizer), tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")),
        sam_config=nano.sam2_config(),
        seg_token_id=tokenizer.convert_tokens_to_ids("[SEG]"),
        max_tiles=1,
        view_size=nano.VIEW_SIZE,
        choice_rule="nearest",
        min_object_cells=4.0,
    )
    model = TerraScopeForConditionalGeneration(config)
    initialize_narrow(model.vlm.model.multi_modal_projector)
    initialize_narrow(model.vlm.model.language_model)
    torch.nn.init.normal_(model.vlm.model.language_model.embed_tokens.weight, std=0.05)
    initialize_narrow(model.seg_projection)
    processor = make_processor(config, tokenizer, image_mean=[MEAN] * 3, image_std=[STD] * 3)
    processor.system_prompt = ""
    return model, processor


def load_encoders(model: TerraScopeForConditionalGeneration, folder: Path) -> torch.Tensor:
    """Put the pre-trained encoders of a run into a model; returns SAM-2's class prompts `[classes, C]`."""
    sam, vision = (torch.load(folder / name, weights_only=True)["model"] for name in ("sam.pt", "vision.pt"))
    for prefix, state, target in (("sam.", sam, model.sam), ("tower.", vision, model.vlm.model.vision_tower)):
        inner = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        target.load_state_dict(inner)
    prompts: torch.Tensor = sam["class_prompts"]
    return prompts


def save(trained: Path, place: Path) -> Path:
    """Write the checkpoint in bfloat16, as the package carries it."""
    finished = TerraScope.from_pretrained(str(trained), device="cpu", dtype="bfloat16")
    with new_folder(place) as unfinished:
        finished.model.save_pretrained(unfinished)
        finished.processor.save_pretrained(unfinished)
    return place


def _begin(folder: Path, made_of: dict[str, object]) -> None:
    """Note what a run is made of, or see that it is what an earlier call has noted."""
    path = folder / MADE_OF
    held = next((name for name in ("pool", "sam.pt", "vision.pt", "tokenizer", "nano") if (folder / name).exists()), "")
    if held and not path.is_file():
        raise OutputError(f"{folder}: holds {held}, but no {MADE_OF} of a run; give another --out")
    check_same(
        path,
        made_of,
        lambda name, *two: f"{folder}: the run there has {name} {two[0]!r}, not {two[1]!r}; give another --out",
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); give another --out") from None
    if not path.is_file():
        with written_whole(path) as unfinished:
            unfinished.write_text(json.dumps(made_of, indent=1) + "\n", encoding="utf-8")


def _pretrain(kind: str, folder: Path, recipe: DenseRecipe, start: str | None) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    model = None if start is None else TerraScope.from_pretrained(start, device="cpu", dtype="float32")
    pretrain(kind, Pool.open(folder / "pool"), folder, recipe, model)

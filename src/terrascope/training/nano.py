"""The recipe of `nano`, from generated scenes and chips to the folder that the package carries.

Stages: pool -> dense pre-training of both encoders -> tokenizer -> instruction tuning -> grounding -> weights. Each
stage leaves its result in the run's folder and is skipped when it is there, so a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from terrascope.errors import OutputError, SceneError
from terrascope.landcover import TERRASCOPE
from terrascope.model import nano
from terrascope.model.checkpoint import make_processor
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.nano_tokenizer import train_tokenizer
from terrascope.model.processing import TerraScopeProcessor
from terrascope.trace import render
from terrascope.training.dense import MEAN, STD, DenseRecipe, initialize_narrow, pretrain
from terrascope.training.features import build_features
from terrascope.training.grounding import GroundingRecipe, train_grounding
from terrascope.training.instruct import InstructRecipe, instruct
from terrascope.training.pool import Pool, build_pool
from terrascope.training.questions import SOURCE_SHARES, ask_pool_scene, choose_scene

VOCABULARY = 800


@dataclass(frozen=True, kw_only=True)
class NanoRecipe:
    """Sizes of all stages; the defaults made the weights that the package carries."""

    num_scenes: int = 1500
    num_validation_scenes: int = 90
    sam_steps: int = 2400
    sam_polish_steps: int = 600
    vision_steps: int = 800
    instruct_steps: int = 1150
    grounding_steps: int = 200
    num_states: int = 2048


def _pretrain(kind: str, folder: Path, recipe: DenseRecipe) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    pretrain(kind, Pool.open(folder / "pool"), folder, recipe)


def make_tokenizer(pool: Pool, num_texts: int = 3000) -> PreTrainedTokenizerFast:
    """Learn the vocabulary from questions and traces about training scenes."""
    rng = np.random.default_rng(0)
    scenes = [frames for source in SOURCE_SHARES for frames in pool.scenes("train", source)]
    texts = [
        "Image: 1 2021-03-04 optical sar\nOne percent is 6.6 ha. The image is 2.6 km wide.\n"
        "A. 1 m2\nB. 2 km\nuser assistant"
    ] * 200
    texts += [word for land_class in TERRASCOPE.classes for word in land_class.words]
    for _ in range(num_texts):
        scene = choose_scene(pool, scenes[int(rng.integers(len(scenes)))], rng)
        question = ask_pool_scene(scene, rng)
        if question is not None:
            texts += ["\n".join([question.text, *question.options]), render(question.trace)]
    return train_tokenizer(texts, VOCABULARY)


def compose(tokenizer: PreTrainedTokenizerFast) -> tuple[TerraScopeForConditionalGeneration, TerraScopeProcessor]:
    """An untrained `nano` around a tokenizer."""
    config = TerraScopeConfig(
        vlm_config=nano.internvl_config(len(tokenizer), tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")),
        sam_config=nano.sam2_config(),
        seg_token_id=tokenizer.convert_tokens_to_ids("[SEG]"),
        max_tiles=1,
        view_size=nano.VIEW_SIZE,
        choice_rule="nearest",
    )
    model = TerraScopeForConditionalGeneration(config)
    initialize_narrow(model.vlm.model.multi_modal_projector)
    initialize_narrow(model.vlm.model.language_model)
    torch.nn.init.normal_(model.vlm.model.language_model.embed_tokens.weight, std=0.05)
    initialize_narrow(model.seg_projection)
    processor = make_processor(config, tokenizer, image_mean=[MEAN] * 3, image_std=[STD] * 3)
    processor.system_prompt = ""
    return model, processor


def load_encoders(
    model: TerraScopeForConditionalGeneration, folder: Path, *, kinds: tuple[str, ...]
) -> torch.Tensor | None:
    """Put pre-trained encoders into a model; returns SAM-2's class prompts if they are among them."""
    prompts = None
    for kind in kinds:
        state = torch.load(folder / f"{kind}.pt", weights_only=True)["model"]
        prefix, target = ("sam.", model.sam) if kind == "sam" else ("tower.", model.vlm.model.vision_tower)
        target.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        prompts = state.get("class_prompts", prompts)
    return prompts


def train(folder: Path, data: Path | None, recipe: NanoRecipe) -> Path:
    """Run all stages; returns the folder with the finished checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    workers = os.cpu_count() or 1
    pool = build_pool(
        folder / "pool",
        data,
        num_train=recipe.num_scenes,
        num_val=recipe.num_validation_scenes,
        num_workers=workers,
    )
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        stages = {
            "sam": DenseRecipe(num_steps=recipe.sam_steps, polish_steps=recipe.sam_polish_steps),
            "vision": DenseRecipe(num_steps=recipe.vision_steps),
        }
        for future in [executor.submit(_pretrain, kind, folder, stage) for kind, stage in stages.items()]:
            future.result()
    model, processor = prepare_language(folder, pool)
    prompts = load_encoders(model, folder, kinds=("sam", "vision"))
    assert prompts is not None
    features = build_features(model, pool, folder / "features.npy", processor.image_processor)
    instruct(model, processor, pool, features, prompts, folder, InstructRecipe(num_steps=recipe.instruct_steps))
    train_grounding(
        model, processor, pool, features, prompts, folder,
        GroundingRecipe(num_steps=recipe.grounding_steps, num_states=recipe.num_states),
    )  # fmt: skip
    return save(model, processor, folder / "nano")


def prepare_language(folder: Path, pool: Pool) -> tuple[TerraScopeForConditionalGeneration, TerraScopeProcessor]:
    """The tokenizer of a run (made once) and the untrained model around it."""
    place = folder / "tokenizer"
    if not place.exists():
        make_tokenizer(pool).save_pretrained(place)
    return compose(PreTrainedTokenizerFast.from_pretrained(place))


def save(model: TerraScopeForConditionalGeneration, processor: TerraScopeProcessor, place: Path) -> Path:
    """Write the checkpoint in bfloat16."""
    model.to(torch.bfloat16).save_pretrained(place)
    processor.save_pretrained(place)
    return place


def main(arguments: list[str]) -> None:
    """`terrascope train nano`: parse the arguments and run the recipe.

    Raises:
        TerraScopeError: the data folder is not there, or the output folder cannot be written.
    """
    parser = argparse.ArgumentParser(prog="terrascope train nano", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/nano"), help="folder of the run; resumed if it is there")
    parser.add_argument(
        "--data", type=Path, help="folder with hls-worldcover and ombria; generated scenes only without"
    )
    for field in fields(NanoRecipe):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default, metavar="N")
    options = vars(parser.parse_args(arguments))
    out, data = options.pop("out"), options.pop("data")
    if data is not None and not data.is_dir():
        raise SceneError(f"{data}: not a folder; --data names the folder that holds hls-worldcover and ombria")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be made ({error.strerror}); give --out a folder that can be written"
        ) from error
    print(f"the checkpoint lies in {train(out, data, NanoRecipe(**options))}")

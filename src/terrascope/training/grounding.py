"""Stage 1 (grounded pre-training): [SEG] states of the frozen language model become masks.

Only the [SEG] projection, SAM-2's mask decoder and the fusion of optical and SAR logits move (paper, Sec. 3.2 and
Appendix E.1). For `nano` it comes after the language model has learned to write, since there is no public one to start
from; docs/decisions.md says why.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from terrascope.landcover import UNLABELLED
from terrascope.model.grounding import decode_masks, embed_features
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import TerraScopeProcessor
from terrascope.model.tiles import TileLayout, resize_image
from terrascope.training.instruct import InstructSample, SampleStream, project_batch
from terrascope.training.losses import OVERLAP_FIRST, LossWeights, segmentation_loss
from terrascope.training.pool import Pool
from terrascope.training.schedule import cosine_rate
from terrascope.training.sequence import build_sequence, pad_sequences

TARGET_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class GroundingRecipe:
    """Settings of the grounding stage. `num_states` [SEG] states are computed once and reused in every epoch."""

    num_steps: int
    num_states: int = 4096
    batch_size: int = 24
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    warmup_steps: int = 30
    loss: LossWeights = OVERLAP_FIRST
    seed: int = 0


@dataclass(frozen=True, eq=False)
class SegStates:
    """[SEG] states `[M, D]` with what they stand for: images as (frame, view) keys, mask and weight `[M, T, T]`."""

    states: Tensor
    images: tuple[tuple[tuple[int, int], ...], ...]
    masks: Tensor
    weights: Tensor
    classes: Tensor


def _shrink(layer: NDArray[np.bool_]) -> Tensor:
    """Every second pixel: pool grids are 256 wide, targets half of it."""
    step = layer.shape[0] // TARGET_SIZE
    return torch.from_numpy(np.ascontiguousarray(layer[step // 2 :: step, step // 2 :: step]))


@torch.no_grad()
def collect_states(
    model: TerraScopeForConditionalGeneration,
    features: NDArray[np.float16],
    stream: SampleStream,
    num_states: int,
) -> SegStates:
    """Run the language model over samples and keep its state at every [SEG]."""
    model.eval()
    states: list[Tensor] = []
    images: list[tuple[tuple[int, int], ...]] = []
    masks: list[Tensor] = []
    weights: list[Tensor] = []
    classes: list[int] = []
    layout = TileLayout(1, 1, model.config.token_grid)
    batches = stream.batches(16)
    while len(images) < num_states:
        samples: list[InstructSample] = next(batches)
        pairs = project_batch(model, features, samples)
        built = [
            build_sequence(model, s.prompt, shown, [layout] * len(shown), s.target)
            for s, shown in zip(samples, pairs, strict=True)
        ]
        embeddings, attention_mask, _ = pad_sequences(built)
        positions = torch.arange(embeddings.shape[1])[None].expand(len(built), -1)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model(
                inputs_embeds=embeddings, attention_mask=attention_mask, position_ids=positions, logits_to_keep=1
            ).last_hidden_state
        for row, sample in enumerate(samples):
            for number, place in enumerate(built[row].seg_positions):
                pair = sample.target.pairs[number]
                label_map = sample.scene.labelled.labels[pair]
                states.append(hidden[row, place].float())
                images.append(tuple(sample.scene.images[pair].values()))
                masks.append(_shrink(sample.target.masks[number].numpy()))
                weights.append(_shrink(label_map.ids != UNLABELLED))
                classes.append(sample.class_ids[number])
    return SegStates(
        torch.stack(states), tuple(images), torch.stack(masks), torch.stack(weights), torch.tensor(classes)
    )


def fit_projection(model: TerraScopeForConditionalGeneration, collected: SegStates, class_prompts: Tensor) -> float:
    """Draw the projected states to their classes' prompts by full-batch regression; the remaining mean square error."""
    optimizer = torch.optim.Adam(model.seg_projection.parameters(), lr=2e-3)
    targets = class_prompts[collected.classes]
    loss = torch.tensor(0.0)
    for _ in range(400):
        loss = functional.mse_loss(model.seg_projection(collected.states), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def _grounding_loss(
    model: TerraScopeForConditionalGeneration,
    processor: TerraScopeProcessor,
    pool: Pool,
    collected: SegStates,
    rows: list[int],
    settings: LossWeights,
) -> Tensor:
    keys = [(row, key) for row in rows for key in collected.images[row]]
    distinct = list(dict.fromkeys(key for _, key in keys))
    pictures = torch.from_numpy(
        np.stack([pool.views[frame, view] for frame, view in distinct]).astype(np.float32) / 255
    )
    size = (model.config.sam_size, model.config.sam_size)
    pixels = processor.image_processor.normalize_pixels(torch.stack([resize_image(p, size) for p in pictures]))
    with torch.no_grad():
        maps = model.sam.vision_encoder(pixels).fpn_hidden_states
    embedding = embed_features(model.sam, *maps)[torch.tensor([distinct.index(key) for _, key in keys])]
    owners = torch.tensor([rows.index(row) for row, _ in keys])
    prompts = model.seg_projection(collected.states[torch.tensor(rows)])[owners]
    logits, _ = decode_masks(model.sam, embedding, prompts[:, None].to(embedding.features.dtype))
    size = (TARGET_SIZE, TARGET_SIZE)
    single = functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)[:, 0]
    masks, weights = collected.masks[rows].float(), collected.weights[rows].float()
    loss = segmentation_loss(single, masks[owners], weights[owners], settings)
    paired = [number for number, row in enumerate(rows) if len(collected.images[row]) == 2]
    if paired:
        # The images of a row follow each other, optical first.
        first = torch.tensor([int((owners == number).nonzero()[0, 0]) for number in paired])
        fused = model.mask_fusion(single[first], single[first + 1])
        loss = loss + segmentation_loss(fused, masks[paired], weights[paired], settings)
    return loss


def train_grounding(
    model: TerraScopeForConditionalGeneration,
    processor: TerraScopeProcessor,
    pool: Pool,
    features: NDArray[np.float16],
    class_prompts: Tensor,
    out: Path,
    recipe: GroundingRecipe,
) -> None:
    """Run the stage and write `grounding.pt` (what it trained) into a folder, or load it from there."""
    if (out / "grounding.pt").exists():
        model.load_state_dict(torch.load(out / "grounding.pt", weights_only=True), strict=False)
        return
    stream = SampleStream(pool, processor, model.config.token_grid**2, recipe.seed + 77)
    model.requires_grad_(False)
    collected = collect_states(model, features, stream, recipe.num_states)
    model.mask_fusion.reset()
    trained = [model.seg_projection, model.sam.mask_decoder, model.mask_fusion]
    parameters = [parameter for module in trained for parameter in module.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    print(
        f"grounding: {len(collected.images)} states, fitted to {fit_projection(model, collected, class_prompts):.4f}",
        flush=True,
    )
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    rng = np.random.default_rng(recipe.seed)
    started, running = time.time(), 0.0
    for step in range(recipe.num_steps):
        rate = cosine_rate(step, recipe.num_steps, warmup_steps=recipe.warmup_steps, floor=0.0)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate
        rows = rng.choice(len(collected.images), min(recipe.batch_size, len(collected.images)), replace=False).tolist()
        with torch.autocast("cpu", torch.bfloat16):
            loss = _grounding_loss(model, processor, pool, collected, rows, recipe.loss)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        running += loss.item()
        if (step + 1) % 25 == 0:
            print(
                f"grounding {step + 1}/{recipe.num_steps} loss {running / 25:.4f} {time.time() - started:.0f} s",
                flush=True,
            )
            running = 0.0
    kept = {
        k: v
        for k, v in model.state_dict().items()
        if k.startswith(("seg_projection.", "sam.mask_decoder.", "mask_fusion."))
    }
    torch.save(kept, out / "grounding.part")
    (out / "grounding.part").replace(out / "grounding.pt")

"""Stage 0: dense pre-training of both image encoders of `nano`, since nothing here starts from public weights.

SAM-2 learns to decode a mask from a learned prompt per class; these prompts later are what the projected [SEG] state
is drawn to. InternVL's vision tower learns the class shares of its patches.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import InternVLVisionModel, Sam2Model

from terrascope.landcover import TERRASCOPE
from terrascope.model import nano
from terrascope.model.grounding import decode_masks, embed_features
from terrascope.model.terrascope import TerraScope
from terrascope.sources.synthetic import make_sample
from terrascope.training.batches import DenseBatch, DenseSampler
from terrascope.training.losses import ENTROPY_FIRST, OVERLAP_FIRST, LossWeights, segmentation_loss
from terrascope.training.pool import SIZE, Pool
from terrascope.training.schedule import cosine_rate

MEAN, STD = 0.3, 0.25


@dataclass(frozen=True, kw_only=True)
class DenseRecipe:
    """Settings of one dense pre-training: a cosine of `num_steps`, then a second, lower one of `polish_steps`."""

    num_steps: int
    polish_steps: int = 0
    polish_rate: float = 0.4
    loss: LossWeights = ENTROPY_FIRST
    polish_loss: LossWeights = OVERLAP_FIRST
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 60
    num_prompts: int = 4
    ema_decay: float = 0.998
    seed: int = 0
    evaluate_every: int = 250


def initialize_narrow(module: nn.Module) -> None:
    """PyTorch's own initialisation for linear and convolution layers, N(0, 1) for embeddings.

    A normal with a standard deviation of 0.02, right for wide models, loses the signal of a narrow one.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight)


class SamPretrainer(nn.Module):
    """SAM-2 with one learned prompt per class and a dense head on its finest map (the head is not kept)."""

    def __init__(self) -> None:
        super().__init__()
        self.sam = Sam2Model(nano.sam2_config())
        # Eager attention is faster here than the fused kernels: short windows, and a slow fused backward pass on CPUs.
        self.sam.set_attn_implementation("eager")
        initialize_narrow(self.sam)
        self.class_prompts = nn.Parameter(torch.randn(len(TERRASCOPE), nano.SAM_WIDTH))
        self.dense_head = nn.Conv2d(nano.SAM_WIDTH, len(TERRASCOPE), 1)

    def forward(self, images: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Class indices `[B, P]` -> mask logits `[B, P, h, w]` and dense logits `[B, C, h, w]`."""
        fine, middle, coarse = self.sam.vision_encoder((images - MEAN) / STD).fpn_hidden_states
        embedding = embed_features(self.sam, fine, middle, coarse)
        logits, _ = decode_masks(self.sam, embedding, self.class_prompts[prompts].to(fine.dtype))
        return logits, self.dense_head(fine)


class VisionPretrainer(nn.Module):
    """InternVL's vision tower with a dense head on its patches (the head is not kept)."""

    def __init__(self) -> None:
        super().__init__()
        config = nano.internvl_config(vocab_size=64, image_token_id=0)
        self.tower = InternVLVisionModel(config.vision_config)
        initialize_narrow(self.tower)
        self.dense_head = nn.Linear(config.vision_config.hidden_size, len(TERRASCOPE))

    def forward(self, images: Tensor) -> Tensor:
        """Images -> logits of the class shares of every patch `[B, C, 24, 24]`."""
        size = nano.VISION_SIZE
        images = functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        patches = self.tower((images - MEAN) / STD).last_hidden_state[:, 1:]
        edge = 2 * nano.TOKEN_GRID
        return self.dense_head(patches).transpose(1, 2).unflatten(2, (edge, edge))


def _dense_loss(logits: Tensor, batch: DenseBatch) -> Tensor:
    weight = batch.weights * batch.known[:, :, None, None]
    loss = functional.binary_cross_entropy_with_logits(logits.float(), batch.targets, weight, reduction="none")
    return loss.sum() / weight.sum().clamp_min(1) * 4


def draw_prompts(batch: DenseBatch, num_prompts: int, rng: np.random.Generator) -> Tensor:
    """Class indices `[B, P]` to ask for: mostly classes that are there, about a quarter that are known to be absent."""
    rows = []
    present = (batch.targets.mean((2, 3)) > 0.004) & batch.known
    for row in range(len(batch.images)):
        there = np.flatnonzero(present[row].numpy())
        absent = np.flatnonzero((batch.known[row] & ~present[row]).numpy())
        picks = []
        for _ in range(num_prompts):
            choice = absent if len(absent) and (not len(there) or rng.random() < 0.25) else there
            picks.append(int(rng.choice(choice)))
        rows.append(picks)
    return torch.tensor(rows)


def _sam_loss(
    model: SamPretrainer, batch: DenseBatch, recipe: DenseRecipe, rng: np.random.Generator, loss: LossWeights
) -> Tensor:
    prompts = draw_prompts(batch, recipe.num_prompts, rng)
    logits, dense = model(batch.images, prompts)
    size = batch.targets.shape[-2:]
    logits = functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
    dense = functional.interpolate(dense.float(), size=size, mode="bilinear", align_corners=False)
    rows = torch.arange(len(prompts))[:, None]
    targets = batch.targets[rows, prompts].flatten(0, 1)
    weights = batch.weights[rows, prompts].flatten(0, 1)
    return segmentation_loss(logits.flatten(0, 1), targets, weights, loss) + _dense_loss(dense, batch)


def _vision_loss(model: VisionPretrainer, batch: DenseBatch) -> Tensor:
    logits = model(batch.images)
    edge = logits.shape[-1]
    pooled = functional.adaptive_avg_pool2d(batch.targets, edge)
    weights = functional.adaptive_avg_pool2d(batch.weights, edge)
    return _dense_loss(logits, DenseBatch(batch.images, pooled, batch.known, weights))


@torch.no_grad()
def evaluate_hls(model: SamPretrainer | VisionPretrainer, pool: Pool) -> str:
    """Mean IoU per question (classes over 3 % of a validation chip) on RGB, and the coverage error in points."""
    model.eval()
    scores: dict[str, list[float]] = {}
    errors: dict[str, list[float]] = {}
    for index in pool.select("val", "hls"):
        image = torch.from_numpy(pool.views[index, 0].astype(np.float32) / 255)[None]
        ids = torch.from_numpy(np.array(pool.ids[index])).long()
        classes = [c for c in pool.frames[index].known if (ids == c).float().mean() > 0.03]
        if not classes:
            continue
        with torch.autocast("cpu", torch.bfloat16):
            if isinstance(model, SamPretrainer):
                outputs = dict(zip(("prompted", "dense"), model(image, torch.tensor([classes])), strict=True))
                outputs["dense"] = outputs["dense"][:, classes]
            else:
                outputs = {"dense": model(image)[:, classes]}
        for name, logits in outputs.items():
            full = functional.interpolate(logits.float(), size=ids.shape, mode="bilinear", align_corners=False)[0] > 0
            for mask, c in zip(full, classes, strict=True):
                truth = ids == c
                scores.setdefault(name, []).append(float((mask & truth).sum() / (mask | truth).sum().clamp_min(1)))
                errors.setdefault(name, []).append(float((mask.float().mean() - truth.float().mean()).abs()) * 100)
    model.train()
    return ", ".join(f"{n}: IoU {np.mean(scores[n]):.3f} coverage error {np.mean(errors[n]):.1f}" for n in scores)


@torch.no_grad()
def class_prompts_of(start: TerraScope, class_prompts: Tensor, num_scenes: int = 3) -> Tensor:
    """What a trained model asks SAM-2 for each class: the mean of its projected [SEG] states `[C, D]` over generated
    scenes. Classes that it does not know keep their prompt of `class_prompts`."""
    asked: list[Tensor] = []
    hook = start.model.seg_projection.register_forward_hook(lambda module, inputs, output: asked.append(output))
    scenes = [make_sample(seed, size=SIZE).scene for seed in range(num_scenes)]
    prompts = class_prompts.clone()
    for class_id, name in enumerate(TERRASCOPE.names):
        asked.clear()
        for scene in scenes:
            start.segment(scene, name)
        prompts[class_id] = torch.cat([states.flatten(0, -2) for states in asked]).mean(0)
    hook.remove()
    return prompts


def pretrain(kind: str, pool: Pool, out: Path, recipe: DenseRecipe, start: TerraScope | None = None) -> None:
    """Run one dense pre-training (`sam` or `vision`); write `<kind>.pt` into a folder, and resume from it.

    What is kept is the moving average of the weights, which is what is evaluated, too.

    Args:
        kind: which encoder.
        pool: the frames.
        out: the folder.
        recipe: settings.
        start: a trained model whose encoder is trained further; random weights without.
    """
    torch.manual_seed(recipe.seed)
    model: SamPretrainer | VisionPretrainer = SamPretrainer() if kind == "sam" else VisionPretrainer()
    if start is not None and isinstance(model, SamPretrainer):
        model.sam.load_state_dict(start.model.sam.state_dict())
        model.class_prompts.data.copy_(class_prompts_of(start, model.class_prompts.data))
    elif start is not None and isinstance(model, VisionPretrainer):
        model.tower.load_state_dict(start.model.vlm.model.vision_tower.state_dict())
    kept = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
    )

    def rate(step: int) -> float:
        polishing = step >= recipe.num_steps and recipe.polish_steps > 0
        if polishing:
            return recipe.polish_rate * cosine_rate(step - recipe.num_steps, recipe.polish_steps, warmup_steps=1)
        return cosine_rate(step, recipe.num_steps, warmup_steps=recipe.warmup_steps)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    average: SamPretrainer | VisionPretrainer = kept.module  # type: ignore[assignment]
    parts = {"trained": model, "average": kept, "optimizer": optimizer, "schedule": schedule}
    path, first = out / f"{kind}.pt", 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        first = state["step"]
    started, running = time.time(), 0.0
    # A resumed run goes on with batches of its own instead of repeating the first ones.
    sampler = DenseSampler(pool, recipe.seed + first)
    rng = np.random.default_rng(recipe.seed + first + 1)
    total = recipe.num_steps + recipe.polish_steps
    for step in range(first, total):
        batch = sampler.draw(recipe.batch_size)
        with torch.autocast("cpu", torch.bfloat16):
            if isinstance(model, SamPretrainer):
                weights = recipe.loss if step < recipe.num_steps else recipe.polish_loss
                loss = _sam_loss(model, batch, recipe, rng, weights)
            else:
                loss = _vision_loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        kept.update_parameters(model)
        running += loss.item()
        if (step + 1) % 50 == 0:
            print(f"{kind} {step + 1}/{total} loss {running / 50:.4f} {time.time() - started:.0f} s", flush=True)
            running = 0.0
        if (step + 1) % recipe.evaluate_every == 0 or step + 1 == total:
            print(f"{kind} {step + 1}: hls val: {evaluate_hls(average, pool)}", flush=True)
            state = {name: part.state_dict() for name, part in parts.items()}
            torch.save({**state, "model": average.state_dict(), "step": step + 1}, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)

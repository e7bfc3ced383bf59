"""The fusion of optical and SAR mask logits, fitted alone.

It has 65 numbers. Beside a whole mask decoder, at the decoder's rate, some hundred steps barely move them; alone, on
logits that are computed once, many steps cost little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from terrascope.landcover import TERRASCOPE
from terrascope.model.drawing import logits_of_images
from terrascope.model.encoding import encode_scene
from terrascope.model.engine.requests import Ground, Program
from terrascope.model.generation import reason
from terrascope.model.grounding import MaskFusion
from terrascope.model.terrascope import TerraScope
from terrascope.scene import LabelMap, Scene
from terrascope.sources.synthetic import make_sample
from terrascope.trace import Step, Trace, render
from terrascope.training.pool import VALIDATION_SEED

_MIN_COVERAGE = 0.01
_MAX_CLASSES = 4


@dataclass(frozen=True, kw_only=True)
class FusionRecipe:
    """How it is fitted.

    Attributes:
        num_scenes: generated scenes, three of four under clouds, one of three a town.
        pixels_per_mask: drawn at random of each mask.
        num_steps, batch_size, learning_rate: of Adam; the rate falls to nothing along a cosine.
    """

    num_scenes: int = 80
    pixels_per_mask: int = 4000
    num_steps: int = 1500
    batch_size: int = 16384
    learning_rate: float = 0.02


def fit(front: TerraScope, recipe: FusionRecipe, seed: int = 0) -> tuple[float, float]:
    """Fit a model's fusion on generated scenes, from nothing; returns its loss before and after."""
    first = VALIDATION_SEED // 2
    samples = (
        make_sample(first + n, kind="country" if n % 3 else "town", num_dates=1, cloudy=n % 4 > 0)
        for n in range(recipe.num_scenes)
    )
    rng = np.random.default_rng(seed)
    logits, truth = collect(front, ((one.scene, one.labels[0]) for one in samples), recipe.pixels_per_mask, rng)
    return fit_on(front.model.mask_fusion, logits, truth, recipe, seed)


def collect(
    front: TerraScope, labelled: Iterable[tuple[Scene, LabelMap]], pixels_per_mask: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Logits float32 `[N, 2]` (optical, SAR) of pixels that both images measured, and the truth, float32 `[N]`.

    The masks are those of the classes that a scene has, asked for as `TerraScope.segment` asks.
    """
    all_logits, all_truth = [], []
    for scene, labels in labelled:
        present = [number for number in labels.class_ids_known if labels.mask(number).mean() > _MIN_COVERAGE]
        chosen = present[:_MAX_CLASSES]
        for class_id, (logits, valid) in zip(chosen, _draw(front, scene, chosen), strict=True):
            places = np.flatnonzero(valid.all(0).numpy())
            kept = places if len(places) <= pixels_per_mask else rng.choice(places, pixels_per_mask, replace=False)
            all_logits.append(logits.reshape(2, -1)[:, kept].T.float())
            all_truth.append(torch.from_numpy(labels.mask(class_id).ravel()[kept]).float())
    return torch.cat(all_logits), torch.cat(all_truth)


def fit_on(
    fusion: MaskFusion, logits: Tensor, truth: Tensor, recipe: FusionRecipe, seed: int = 0
) -> tuple[float, float]:
    """Fit a fusion from nothing; returns the cross-entropy of what it had and of what it has now."""

    def loss(places: Tensor | slice) -> Tensor:
        fused = fusion(logits[places, 0], logits[places, 1])
        return functional.binary_cross_entropy_with_logits(fused, truth[places])

    with torch.no_grad():
        before = float(loss(slice(None)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fusion.hidden.reset_parameters()
        fusion.reset()
        fusion.requires_grad_(True)
        optimizer = torch.optim.Adam(fusion.parameters(), lr=recipe.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.num_steps)
        for _ in range(recipe.num_steps):
            step_loss = loss(torch.randint(len(logits), (recipe.batch_size,)))
            optimizer.zero_grad()
            step_loss.backward()
            optimizer.step()
            schedule.step()
        fusion.requires_grad_(False)
    with torch.no_grad():
        return before, float(loss(slice(None)))


def _draw(front: TerraScope, scene: Scene, class_ids: Iterable[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """For each class the logits `[2, H, W]` of both images, and where each was measured."""
    model, processor = front.model, front.processor
    with torch.inference_mode():
        encoded = encode_scene(model, processor.image_processor.prepare_scene(scene))
    for class_id in class_ids:
        name = TERRASCOPE[class_id].name
        states: list[Tensor] = []

        def look(pair: int, state: Tensor, text: str, states: list[Tensor] = states) -> Program[tuple[Tensor, float]]:
            states.append(state.clone())
            return (yield Ground(encoded, pair, state))

        words = render(Trace(steps=(Step(text=f"The {name}:"),), answer=name))
        prompt = processor.prepare_prompt(processor.describe(scene), f"Where is the {name}?")
        forced = processor.tokenizer(words, add_special_tokens=False)["input_ids"]
        reason(model, processor, encoded, prompt, forced_ids=forced, ground_with=look)
        with torch.inference_mode():
            ((logits, valid),) = logits_of_images(model, [Ground(encoded, 0, states[0])])
        yield logits.clone(), valid.clone()

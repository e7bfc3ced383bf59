"""How fast a training step is, beside a plain loop over the same samples that gives the same loss.

    python benchmarks/training_speed.py --model nano

The samples are a Terra-CoT data set of all levels, built here from generated chips, and the batches those of a
training: samples of one scene stay together. A step is the loss, its gradients and the optimizer. The plain loop
encodes the images of every question anew, decodes every [SEG] by itself, and computes logits at all positions; it must
give the same loss. Reading scenes is not part of either. Every way takes all batches once to warm up, which also fills
what frozen encoders keep; then the ways take turns, and the best of their rounds counts.

Times of one process are compared; on a machine that is not idle the ratios hold, and the rates do not.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from alone import cpu_name
from torch import Tensor
from torch.nn import functional

from terrascope.model import TerraScope
from terrascope.model.encoding import encode_scene
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import SceneInputs
from terrascope.sources import open_source
from terrascope.terracot.build import build
from terrascope.terracot.composer import Composer
from terrascope.terracot.recipe import Recipe
from terrascope.terracot.store import open_store
from terrascope.terracot.tools import Tools
from terrascope.training.batch import Batch, collate
from terrascope.training.dataset import DataSettings, TerraCotDataset
from terrascope.training.losses import LossWeights, mask_losses
from terrascope.training.objective import Objective, ObjectiveSettings
from terrascope.training.sampler import SceneBatchSampler
from terrascope.training.segmentation import fuse
from terrascope.training.sequence import IGNORED, build_sequence, pad_sequences
from terrascope.training.stages import Stage, prepare_stage, trained_parameters
from terrascope.training.states import SegStateCache


def open_tools(recipe: Recipe, out: Path) -> Tools:
    (one,) = recipe.sources
    return Tools(sources={one.name: one.opened()}, roots={}, writer=Composer())


def make_batches(loaded: TerraScope, folder: Path, num_chips: int, num_batches: int, batch_size: int) -> list[Batch]:
    """Batches of generated samples, as a training draws them."""
    recipe = Recipe.of({"sources": [{"name": "synthetic", "root": str(num_chips)}], "chips_per_shard": num_chips})
    build(recipe, folder, open_tools=open_tools)
    source = open_source("synthetic", str(num_chips))
    data = TerraCotDataset(
        open_store(folder),
        {"synthetic": source},
        loaded.processor,
        DataSettings(),
        scene_cache=folder / "scenes",
        config=loaded.model.config,
    )
    sampler = SceneBatchSampler(data.lengths, data.scene_ids, batch_size, seed=0)
    chosen = [rows for _, rows in zip(range(num_batches), sampler, strict=False)]
    return [collate([data[row] for row in rows]) for rows in chosen]


def mean_loss(objective: Objective, batch: Batch) -> Tensor:
    return objective(batch).mean()


def plain_loss(model: TerraScopeForConditionalGeneration, settings: ObjectiveSettings, batch: Batch) -> Tensor:
    """Eq. 6 without sharing anything: the loss of `Objective` for the same batch."""
    encoded = [encode_scene(model, _whole(batch, owner)) for owner in batch.owners]
    built = [
        build_sequence(
            model,
            example.prompt,
            [{kind: scene.context[place] for kind, place in pair.items()} for pair in scene.pairs],
            scene.inputs.layouts,
            example.target,
        )
        for example, scene in zip(batch.examples, encoded, strict=True)
    ]
    embeddings, attention_mask, labels = pad_sequences(built)
    positions = torch.arange(embeddings.shape[1])[None].expand(len(built), -1)
    output = model(inputs_embeds=embeddings, attention_mask=attention_mask, position_ids=positions)
    language = functional.cross_entropy(output.logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)
    losses = []
    for row, (example, scene) in enumerate(zip(batch.examples, encoded, strict=True)):
        for number, place in enumerate(built[row].seg_positions):
            pair = scene.pairs[example.target.pairs[number]]
            known = example.target.known[number]
            truth = example.target.masks[number] & known
            valid = [scene.inputs.valid[pair[kind]] for kind in ("optical", "sar") if kind in pair]
            drawn = []
            for kind in ("optical", "sar"):
                if kind in pair:
                    logits, _ = model.decode_masks(
                        scene.embeddings[slice(pair[kind], pair[kind] + 1)],
                        output.last_hidden_state[row, place][None, None],
                    )
                    drawn.append(model.resize_logits(logits, (settings.loss_size,) * 2)[:, 0])
            weight = _share(known, settings.loss_size)
            target = _share(truth, settings.loss_size) / weight.clamp_min(1e-6)
            seen = [_share(one, settings.loss_size) >= 0.5 for one in valid]
            weights = [weight * one for one in seen]
            if len(drawn) == 2:
                drawn.append(fuse(model, torch.stack(drawn), torch.stack(seen)))
                weights.append(weight)
            each = [mask_losses(x, target, w, settings.loss).sum() for x, w in zip(drawn, weights, strict=True)]
            losses.append(torch.stack(each).mean())
    masks = torch.stack(losses).mean() if losses else torch.zeros(())
    return language + settings.loss.seg_loss_weight * masks


def _whole(batch: Batch, owner: int) -> SceneInputs:
    """A scene in the format that the model computes in; it may be kept in half precision."""
    scene = batch.scenes[owner]
    return replace(scene, tiles=scene.tiles.float(), sam_images=scene.sam_images.float())


def _share(mask: Tensor, size: int) -> Tensor:
    return functional.interpolate(mask[None, None].float(), (size, size), mode="area")[0]


def time_rounds(
    ways: dict[str, Callable[[Batch], Tensor]],
    batches: Sequence[Batch],
    model: TerraScopeForConditionalGeneration,
    rounds: int,
) -> tuple[dict[str, float], dict[str, float]]:
    """Best seconds of each way for all batches, and its mean loss before anything moves."""
    parameters = list(trained_parameters(model).values())
    # A rate of zero: the same arithmetic, and every way and every round sees the same weights.
    optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.0)
    seconds: dict[str, float] = dict.fromkeys(ways, float("inf"))
    means: dict[str, float] = {}
    for number in range(rounds + 1):
        for name, loss_of in ways.items():
            start = time.perf_counter()
            total = 0.0
            for batch in batches:
                loss = loss_of(batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item()
            if number:
                seconds[name] = min(seconds[name], time.perf_counter() - start)
            means[name] = total / len(batches)
    return seconds, means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--chips", type=int, default=24, help="generated chips that samples are made from")
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    loaded = TerraScope.from_pretrained(arguments.model, device="cpu", dtype="float32")
    model = loaded.model
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    print(f"{cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; {libraries}; seed 0")
    settings = ObjectiveSettings(loss=LossWeights())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        batches = make_batches(loaded, folder / "samples", arguments.chips, arguments.batches, arguments.batch_size)
        num_samples = sum(len(batch.examples) for batch in batches)
        num_masks = sum(len(example.target.masks) for batch in batches for example in batch.examples)
        num_scenes = sum(len(batch.scenes) for batch in batches)
        print(f"{num_samples} samples with {num_masks} masks in {len(batches)} batches, {num_scenes} scenes\n")
        stages: tuple[Stage, ...] = ("instruction", "grounding")
        for stage in stages:
            prepare_stage(model, stage)
            model.train()
            fresh, kept = Objective(model, settings), Objective(model, settings, cache_mb=2000)
            ways: dict[str, Callable[[Batch], Tensor]] = {
                "plain loop": partial(plain_loss, model, settings),
                "objective": partial(mean_loss, fresh),
                "objective, encoders kept": partial(mean_loss, kept),
            }
            if stage == "grounding":
                cache = SegStateCache(folder / "states", fresh)
                cache.collect(batches)
                quick = Objective(model, settings, states=cache.states, cache_mb=2000)
                ways["objective, states kept"] = partial(mean_loss, quick)
            with torch.no_grad():
                num_positions = sum(fresh(batch).num_positions for batch in batches)
            seconds, means = time_rounds(ways, batches, model, arguments.rounds)
            print(f"stage {stage}: {num_positions} positions")
            for way, best in seconds.items():
                print(
                    f"  {way:<26}{num_samples / best:>8.1f} samples/s {num_positions / best:>9,.0f} positions/s "
                    f"{seconds['plain loop'] / best:>6.2f} x   loss {means[way]:.5f}"
                )


if __name__ == "__main__":
    main()

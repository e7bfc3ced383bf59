"""Stage 2 of `nano`: the language model learns to reason from true masks, on features of the frozen vision tower."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from terrascope.landcover import TERRASCOPE
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import Prompt, SceneFacts, TerraScopeProcessor
from terrascope.model.tiles import TileLayout
from terrascope.tasks.question import Question
from terrascope.trace import render, resolve_images
from terrascope.training.losses import language_loss
from terrascope.training.pool import Pool
from terrascope.training.questions import SOURCE_SHARES, PoolScene, ask_pool_scene, choose_scene
from terrascope.training.schedule import cosine_rate
from terrascope.training.sequence import IGNORED, Target, build_sequence, pad_sequences


@dataclass(frozen=True, kw_only=True)
class InstructRecipe:
    """Settings of the instruction tuning."""

    num_steps: int
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 100
    alignment_weight: float = 1.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class InstructSample:
    """A question with what it is asked about: prompt, images of the pool, and what to write."""

    prompt: Prompt
    scene: PoolScene
    target: Target
    class_ids: tuple[int, ...]

    @property
    def num_positions(self) -> int:
        return len(self.prompt.input_ids) + len(self.target.token_ids)


def pool_facts(scene: PoolScene, num_tokens: int, rng: np.random.Generator | None) -> SceneFacts:
    """The facts that the prompt states of a pool scene; with a generator, some scenes get dates."""
    num_dates = len(scene.images)
    dates: tuple[str | None, ...] = (None,) * num_dates
    if rng is not None and rng.random() < 0.3:
        days = np.sort(rng.integers(0, 3650, num_dates))
        dates = tuple(str(np.datetime64("2016-01-01") + day) for day in days)
    height, width = scene.labelled.valid.shape
    return SceneFacts(
        modalities=tuple(tuple(images) for images in scene.images),
        num_tokens=num_tokens,
        dates=dates,
        one_percent_m2=scene.gsd_m**2 * height * width / 100 if scene.gsd_m else None,
        width_m=scene.gsd_m * width if scene.gsd_m else None,
    )


def step_class(text: str) -> int:
    """The class that a step of a written trace is about: "The water:" -> water."""
    return TERRASCOPE.id_of(text.removeprefix("The ").rstrip(":"))


def make_sample(
    processor: TerraScopeProcessor, scene: PoolScene, question: Question, num_tokens: int, rng: np.random.Generator
) -> InstructSample:
    """Tokens and masks of one question."""
    prompt = processor.prepare_prompt(pool_facts(scene, num_tokens, rng), question.text, question.options)
    text = render(question.trace) + processor.tokenizer.eos_token
    ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    steps = question.trace.grounded_steps
    masks = tuple(torch.from_numpy(step.mask) for step in steps if step.mask is not None)
    target = Target(
        token_ids=torch.tensor(ids),
        masks=masks,
        known=tuple(torch.ones_like(mask) for mask in masks),
        pairs=tuple(image - 1 for image in resolve_images(question.trace, len(scene.images))),
    )
    return InstructSample(prompt, scene, target, tuple(step_class(step.text) for step in steps))


class SampleStream:
    """Endless batches of samples, cut from larger draws sorted by length so that little is padded."""

    def __init__(self, pool: Pool, processor: TerraScopeProcessor, num_tokens: int, seed: int) -> None:
        self.pool, self.processor, self.num_tokens = pool, processor, num_tokens
        self.rng = np.random.default_rng(seed)
        self.scenes = {s: pool.scenes("train", s) for s in SOURCE_SHARES if pool.select("train", s)}
        shares = np.array([SOURCE_SHARES[s] for s in self.scenes])
        self.shares = shares / shares.sum()

    def sample(self) -> InstructSample:
        """One sample; scenes of which nothing can be asked are passed over."""
        while True:
            source = str(self.rng.choice(list(self.scenes), p=self.shares))
            frames = self.scenes[source][int(self.rng.integers(len(self.scenes[source])))]
            scene = choose_scene(self.pool, frames, self.rng)
            question = ask_pool_scene(scene, self.rng)
            if question is not None:
                return make_sample(self.processor, scene, question, self.num_tokens, self.rng)

    def batches(self, batch_size: int, *, depth: int = 4) -> Iterator[list[InstructSample]]:
        """Batches of `batch_size`, `depth` of them drawn at a time."""
        while True:
            drawn = sorted((self.sample() for _ in range(batch_size * depth)), key=lambda s: s.num_positions)
            for number in self.rng.permutation(depth):
                yield drawn[number * batch_size : (number + 1) * batch_size]


def project_batch(
    model: TerraScopeForConditionalGeneration, features: NDArray[np.float16], samples: list[InstructSample]
) -> list[list[dict[str, Tensor]]]:
    """Per sample and pair, kind -> projected visual tokens; each distinct view passes the projector once."""
    wanted = list(dict.fromkeys(key for s in samples for pair in s.scene.images for key in pair.values()))
    stacked = torch.from_numpy(np.stack([features[frame, view] for frame, view in wanted])).float()
    projected = dict(zip(wanted, model.vlm.model.multi_modal_projector(stacked), strict=True))
    return [[{kind: projected[key] for kind, key in pair.items()} for pair in s.scene.images] for s in samples]


def batch_loss(
    model: TerraScopeForConditionalGeneration,
    features: NDArray[np.float16],
    samples: list[InstructSample],
    class_prompts: Tensor,
    alignment_weight: float,
) -> tuple[Tensor, Tensor]:
    """Language loss, and how far the projected [SEG] states are from their classes' prompts (weighted)."""
    pairs = project_batch(model, features, samples)
    layout = TileLayout(1, 1, model.config.token_grid)
    built = [
        build_sequence(model, s.prompt, images, [layout] * len(images), s.target)
        for s, images in zip(samples, pairs, strict=True)
    ]
    embeddings, attention_mask, labels = pad_sequences(built)
    positions = torch.arange(embeddings.shape[1])[None].expand(len(built), -1)
    counted = labels != IGNORED
    output = model(
        inputs_embeds=embeddings, attention_mask=attention_mask, position_ids=positions, logits_to_keep=counted
    )
    rows = torch.tensor([row for row, s in enumerate(built) for _ in s.seg_positions], dtype=torch.long)
    columns = torch.tensor([place for s in built for place in s.seg_positions], dtype=torch.long)
    classes = torch.tensor([c for s in samples for c in s.class_ids], dtype=torch.long)
    prompts = model.seg_projection(output.last_hidden_state[rows, columns])
    alignment = functional.mse_loss(prompts.float(), class_prompts[classes])
    return language_loss(output.logits, labels[counted]), alignment_weight * alignment


def instruct(
    model: TerraScopeForConditionalGeneration,
    processor: TerraScopeProcessor,
    pool: Pool,
    features: NDArray[np.float16],
    class_prompts: Tensor,
    out: Path,
    recipe: InstructRecipe,
) -> None:
    """Train projector, language model and [SEG] projection; write `instruct.pt` into a folder, and resume from it."""
    trained = [model.vlm.model.multi_modal_projector, model.vlm.model.language_model, model.seg_projection]
    parameters = [parameter for module in trained for parameter in module.parameters()]
    model.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
    )

    def rate(step: int) -> float:
        return cosine_rate(step, recipe.num_steps, warmup_steps=recipe.warmup_steps)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    path, first = out / "instruct.pt", 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"], strict=False)
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]
    stream = SampleStream(pool, processor, model.config.token_grid**2, recipe.seed + first)
    batches = stream.batches(recipe.batch_size)
    started, running = time.time(), np.zeros(2)
    model.train()
    for step in range(first, recipe.num_steps):
        samples = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            losses = batch_loss(model, features, samples, class_prompts, recipe.alignment_weight)
        optimizer.zero_grad()
        (losses[0] + losses[1]).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        running += [loss.item() for loss in losses]
        if (step + 1) % 25 == 0:
            language, alignment = running / 25
            elapsed = time.time() - started
            print(
                f"instruct {step + 1}/{recipe.num_steps} language {language:.4f} alignment {alignment:.4f} "
                f"{elapsed:.0f} s",
                flush=True,
            )
            running[:] = 0
        if (step + 1) % 200 == 0 or step + 1 == recipe.num_steps:
            other = ("sam.", "mask_fusion.", "vlm.model.vision_tower.")
            kept = {k: v for k, v in model.state_dict().items() if not k.startswith(other)}
            state = {"model": kept, "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
            torch.save({**state, "step": step + 1}, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)

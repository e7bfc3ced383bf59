"""Instruction tuning: what a sample holds, what the loss is, which weights move, and how a run goes on."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from terrascope.landcover import TERRASCOPE
from terrascope.model.tiles import TileLayout
from terrascope.quantities import format_area, format_distance
from terrascope.trace import render
from terrascope.training import instruct as instruct_module
from terrascope.training.instruct import (
    InstructRecipe,
    SampleStream,
    batch_loss,
    instruct,
    make_sample,
    pool_facts,
    project_batch,
    step_class,
)
from terrascope.training.pool import Pool
from terrascope.training.questions import ask_pool_scene, choose_scene
from terrascope.training.sequence import IGNORED, build_sequence
from tests.model.conftest import Loaded
from tests.training.conftest import make_trainable

NUM_TOKENS = 16
TRAINED = ("vlm.model.multi_modal_projector.", "vlm.model.language_model.", "vlm.lm_head.", "seg_projection.")


@pytest.fixture
def prompts() -> torch.Tensor:
    return torch.randn(len(TERRASCOPE), 32, generator=torch.Generator().manual_seed(0))


def test_a_sample_is_the_question_and_its_trace(trainable: Loaded, pool: Pool) -> None:
    _, processor = trainable
    (frames,) = pool.scenes("train", "ombria")
    scene = choose_scene(pool, frames, np.random.default_rng(0), kind="both", scaled=True)
    question = ask_pool_scene(scene, np.random.default_rng(1), task="area", with_options=True)
    assert question is not None
    sample = make_sample(processor, scene, question, NUM_TOKENS, np.random.default_rng(0))
    text = processor.tokenizer.decode(sample.target.token_ids)
    assert text == render(question.trace) + "<|im_end|>"
    assert sample.target.token_ids[-1] == processor.tokenizer.eos_token_id
    steps = question.trace.grounded_steps
    num_segs = int((sample.target.token_ids == processor.tokenizer.convert_tokens_to_ids("[SEG]")).sum())
    assert num_segs == len(steps) == len(sample.target.masks) == len(sample.target.pairs) == len(sample.class_ids)
    for step, mask, pair, class_id in zip(
        steps, sample.target.masks, sample.target.pairs, sample.class_ids, strict=True
    ):
        np.testing.assert_array_equal(mask.numpy(), step.mask)
        np.testing.assert_array_equal(mask.numpy(), scene.labelled.labels[pair].mask(class_id))
        assert step.image == pair + 1
    prompt = processor.tokenizer.decode(sample.prompt.input_ids)
    assert prompt.count("<IMG_CONTEXT>") == 4 * NUM_TOKENS
    assert question.text in prompt and all(option in prompt for option in question.options)
    assert sample.num_positions == len(sample.prompt.input_ids) + len(sample.target.token_ids)


def test_facts_of_a_pool_scene_are_those_of_its_scale(pool: Pool) -> None:
    frames = pool.scenes("train", "hls")[0]
    scene = choose_scene(pool, frames, np.random.default_rng(0), scaled=True)
    facts = pool_facts(scene, NUM_TOKENS, None)
    assert scene.gsd_m is not None
    assert facts.one_percent_m2 == pytest.approx(scene.gsd_m**2 * 65536 / 100)
    assert facts.width_m == pytest.approx(scene.gsd_m * 256)
    assert facts.modalities == (("optical",),) and facts.dates == (None,) and facts.num_tokens == NUM_TOKENS
    unscaled = pool_facts(choose_scene(pool, frames, np.random.default_rng(0), scaled=False), NUM_TOKENS, None)
    assert unscaled.one_percent_m2 is None and unscaled.width_m is None
    (two,) = pool.scenes("train", "ombria")
    scene = choose_scene(pool, two, np.random.default_rng(0))
    dated = [pool_facts(scene, NUM_TOKENS, np.random.default_rng(seed)).dates for seed in range(200)]
    given = [dates for dates in dated if dates != (None, None)]
    assert len(given) / 200 == pytest.approx(0.3, abs=0.1)
    assert all(first <= second for first, second in given), "in time order"  # type: ignore[operator]
    assert format_area(1e4) == "1 ha" and format_distance(15.0 * 256) == "3.8 km"


def test_step_class_reads_the_class_of_a_step() -> None:
    assert step_class("The water:") == TERRASCOPE.id_of("water")
    assert step_class("The destroyed building:") == TERRASCOPE.id_of("destroyed building")


def test_batches_hold_samples_of_like_length(trainable: Loaded, pool: Pool) -> None:
    stream = SampleStream(pool, trainable[1], NUM_TOKENS, 0)
    batches = stream.batches(4, depth=3)
    drawn = [next(batches) for _ in range(3)]
    lengths = sorted(sorted(s.num_positions for s in batch) for batch in drawn)
    assert all(len(batch) == 4 for batch in drawn)
    assert all(one[-1] <= other[0] for one, other in itertools.pairwise(lengths))
    again = SampleStream(pool, trainable[1], NUM_TOKENS, 0).batches(4, depth=3)
    for batch in drawn:
        for sample, same in zip(batch, next(again), strict=True):
            assert torch.equal(sample.prompt.input_ids, same.prompt.input_ids)
            assert torch.equal(sample.target.token_ids, same.target.token_ids)


def test_the_loss_is_the_mean_over_text_tokens_and_the_pull_of_the_class_prompts(
    trainable: Loaded, pool: Pool, features: np.ndarray, prompts: torch.Tensor
) -> None:
    model, processor = trainable
    stream = SampleStream(pool, processor, NUM_TOKENS, 3)
    samples = [stream.sample() for _ in range(3)]
    with torch.no_grad():
        language, alignment = batch_loss(model, features, samples, prompts, 0.25)
        surprises, gaps = [], []
        for sample, pairs in zip(samples, project_batch(model, features, samples), strict=True):
            built = build_sequence(model, sample.prompt, pairs, [TileLayout(1, 1, 4)] * len(pairs), sample.target)
            output = model(inputs_embeds=built.embeddings[None])
            counted = built.labels != IGNORED
            surprises += functional.cross_entropy(
                output.logits[0, counted], built.labels[counted], reduction="none"
            ).tolist()
            for place, class_id in zip(built.seg_positions, sample.class_ids, strict=True):
                state = model.seg_projection(output.last_hidden_state[0, place])
                gaps.append(float((state - prompts[class_id]).square().mean()))
    assert float(language) == pytest.approx(np.mean(surprises), rel=1e-4)
    assert float(alignment) == pytest.approx(0.25 * np.mean(gaps), rel=1e-4)


def test_projector_language_model_and_seg_projection_move_and_nothing_else(
    trainable: Loaded, pool: Pool, features: np.ndarray, prompts: torch.Tensor, tmp_path: Path
) -> None:
    model, processor = trainable
    before = {name: value.clone() for name, value in model.state_dict().items()}
    instruct(model, processor, pool, features, prompts, tmp_path, InstructRecipe(num_steps=1, batch_size=2))
    after = model.state_dict()
    for name, value in before.items():
        moved = not torch.equal(value, after[name])
        assert moved == name.startswith(TRAINED), name
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == name.startswith(TRAINED), name
        assert (parameter.grad is not None and bool(parameter.grad.any())) == name.startswith(TRAINED), name
    assert model.vlm.lm_head.weight is model.get_input_embeddings().weight, "still tied"
    state = torch.load(tmp_path / "instruct.pt", weights_only=True)
    assert state["step"] == 1 and set(state["model"]) == {name for name in after if name.startswith(TRAINED)}
    assert [path.name for path in tmp_path.iterdir()] == ["instruct.pt"]


def test_a_killed_run_goes_on_where_it_was(
    pool: Pool, features: np.ndarray, prompts: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, processor = make_trainable()
    instruct(first, processor, pool, features, prompts, tmp_path, InstructRecipe(num_steps=1, batch_size=2))
    second, _ = make_trainable()
    calls: list[int] = []
    seeds: list[int] = []
    plain_loss, plain_stream = instruct_module.batch_loss, SampleStream

    def count(model, *rest):  # type: ignore[no-untyped-def]
        if not calls:
            for name, value in first.state_dict().items():
                assert torch.equal(value, model.state_dict()[name]), "it starts from the checkpoint"
        calls.append(1)
        return plain_loss(model, *rest)

    def seeded(pool, processor, num_tokens, seed):  # type: ignore[no-untyped-def]
        seeds.append(seed)
        return plain_stream(pool, processor, num_tokens, seed)

    monkeypatch.setattr(instruct_module, "batch_loss", count)
    monkeypatch.setattr(instruct_module, "SampleStream", seeded)
    recipe = InstructRecipe(num_steps=3, batch_size=2)
    instruct(second, processor, pool, features, prompts, tmp_path, recipe)
    assert len(calls) == 2 and torch.load(tmp_path / "instruct.pt", weights_only=True)["step"] == 3
    assert seeds == [1], "new samples, not those of the first run again"
    calls.clear()
    instruct(second, processor, pool, features, prompts, tmp_path, recipe)
    assert calls == [], "a finished stage does nothing"

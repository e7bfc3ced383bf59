"""The grounding stage: which states it collects, and that only the projection and SAM-2's mask decoder move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from terrascope.landcover import TERRASCOPE
from terrascope.model.tiles import TileLayout
from terrascope.training.grounding import GroundingRecipe, _shrink, collect_states, fit_projection, train_grounding
from terrascope.training.instruct import SampleStream, project_batch
from terrascope.training.pool import Pool
from terrascope.training.sequence import build_sequence
from tests.model.conftest import Loaded

MOVED = ("seg_projection.", "sam.mask_decoder.", "mask_fusion.")


@pytest.fixture
def prompts() -> torch.Tensor:
    return torch.randn(len(TERRASCOPE), 32, generator=torch.Generator().manual_seed(0))


def test_targets_are_every_second_pixel() -> None:
    layer = np.random.default_rng(0).random((256, 256)) > 0.5
    assert torch.equal(_shrink(layer), torch.from_numpy(layer[1::2, 1::2].copy()))


def test_collected_states_are_those_of_the_language_model(trainable: Loaded, pool: Pool, features: np.ndarray) -> None:
    model, processor = trainable
    collected = collect_states(model, features, SampleStream(pool, processor, 16, 5), 8)
    num = len(collected.images)
    assert num >= 8
    assert collected.states.shape == (num, 32) and collected.masks.shape == collected.weights.shape == (num, 128, 128)
    # The same stream once more, sample by sample and without padding.
    samples = next(SampleStream(pool, processor, 16, 5).batches(16))
    row = 0
    for sample in samples:
        (pairs,) = project_batch(model, features, [sample])
        with torch.no_grad():
            built = build_sequence(model, sample.prompt, pairs, [TileLayout(1, 1, 4)] * len(pairs), sample.target)
            hidden = model(inputs_embeds=built.embeddings[None]).last_hidden_state[0]
        for number, place in enumerate(built.seg_positions):
            pair = sample.target.pairs[number]
            state, exact = collected.states[row], hidden[place]
            # Collected in bfloat16.
            assert float(torch.nn.functional.cosine_similarity(state, exact, dim=0)) > 0.99
            assert collected.images[row] == tuple(sample.scene.images[pair].values())
            assert torch.equal(collected.masks[row], sample.target.masks[number][1::2, 1::2])
            labelled = sample.scene.labelled.labels[pair].ids != 255
            assert torch.equal(collected.weights[row], torch.from_numpy(labelled[1::2, 1::2]))
            assert int(collected.classes[row]) == sample.class_ids[number]
            row += 1
    assert row == num


def test_only_the_projection_and_the_mask_decoder_move(
    trainable: Loaded, pool: Pool, features: np.ndarray, prompts: torch.Tensor, tmp_path: Path
) -> None:
    model, processor = trainable
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recipe = GroundingRecipe(num_steps=2, num_states=6, batch_size=3)
    train_grounding(model, processor, pool, features, prompts, tmp_path, recipe)
    after = model.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert all(name.startswith(MOVED) for name in changed)
    assert {name for name in before if name.startswith("seg_projection.")} <= changed
    assert {"sam.mask_decoder.conv_s0.weight", "sam.mask_decoder.conv_s1.weight"} <= changed
    assert any(name.startswith("sam.mask_decoder.transformer.") for name in changed)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == name.startswith(MOVED), name
    kept = torch.load(tmp_path / "grounding.pt", weights_only=True)
    assert set(kept) == {name for name in after if name.startswith(MOVED)}
    assert all(torch.equal(value, after[name]) for name, value in kept.items())
    assert [path.name for path in tmp_path.iterdir()] == ["grounding.pt"]


def test_fitting_draws_states_to_their_class_prompts(
    trainable: Loaded, pool: Pool, features: np.ndarray, prompts: torch.Tensor
) -> None:
    model, processor = trainable
    collected = collect_states(model, features, SampleStream(pool, processor, 16, 5), 8)
    for parameter in model.seg_projection.parameters():
        parameter.requires_grad_(True)
    with torch.no_grad():
        start = float((model.seg_projection(collected.states) - prompts[collected.classes]).square().mean())
    rest = fit_projection(model, collected, prompts)
    with torch.no_grad():
        end = float((model.seg_projection(collected.states) - prompts[collected.classes]).square().mean())
    assert rest == pytest.approx(end, rel=0.1) and end < 0.3 * start

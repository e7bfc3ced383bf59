"""The model as a Hugging Face model: weights, ties, Auto classes, and one pass of the language model."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForImageTextToText, InternVLConfig, Sam2Config

from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.modeling import TerraScopeForConditionalGeneration, count_parameters
from tests.model.conftest import Loaded, make_tiny


@pytest.fixture(scope="module")
def saved(tiny: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny[0].save_pretrained(folder)
    return folder


def embeddings(model: TerraScopeForConditionalGeneration, num: int = 2, length: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num, length, model.config.vlm_config.text_config.hidden_size, generator=generator)


def test_weights_and_logits_survive_the_disk(tiny: Loaded, saved: Path) -> None:
    model, _ = tiny
    again, report = TerraScopeForConditionalGeneration.from_pretrained(saved, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    ours, theirs = model.state_dict(), again.state_dict()
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(model(input_ids=tokens).logits, again.eval()(input_ids=tokens).logits)
        pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        states = torch.randn(1, 2, 32, generator=torch.Generator().manual_seed(2))
        masks = [m.decode_masks(m.encode_for_masks(pixels), states)[0] for m in (model, again)]
    assert torch.equal(*masks)


def test_tied_embeddings_are_stored_once_and_stay_tied(tiny: Loaded, saved: Path) -> None:
    stored = load_file(saved / "model.safetensors")
    assert [name for name in stored if "lm_head" in name or "embed_tokens" in name] == [
        "vlm.language_model.model.embed_tokens.weight"
    ], "once, under InternVL's own names"
    again = TerraScopeForConditionalGeneration.from_pretrained(saved)
    for model in (tiny[0], again):
        assert model.vlm.lm_head.weight is model.get_input_embeddings().weight
        assert model.get_output_embeddings() is model.vlm.lm_head
    with torch.no_grad():
        again.get_input_embeddings().weight[7] = 3.0
    assert (again.vlm.lm_head.weight[7] == 3.0).all()


def test_auto_classes_know_the_model(tiny: Loaded, saved: Path) -> None:
    config = AutoConfig.from_pretrained(saved)
    assert isinstance(config, TerraScopeConfig)
    model = AutoModelForImageTextToText.from_pretrained(saved)
    assert isinstance(model, TerraScopeForConditionalGeneration)
    assert torch.equal(model.seg_projection[0].weight, tiny[0].seg_projection[0].weight)


def test_configuration_survives_the_disk(tiny: Loaded, tmp_path: Path) -> None:
    # Copies: a new configuration resets the attention of the parts that it is given.
    parts = deepcopy(tiny[0].config)
    config = TerraScopeConfig(
        vlm_config=parts.vlm_config, sam_config=parts.sam_config, seg_token_id=42, min_tiles=2,
        max_tiles=5, coverage_threshold=0.25, max_masked_tokens=7, keep_best_token=False, max_masks=3,
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    again = TerraScopeConfig.from_pretrained(tmp_path)
    assert isinstance(again.vlm_config, InternVLConfig) and isinstance(again.sam_config, Sam2Config)
    for name in (
        "seg_token_id", "min_tiles", "max_tiles", "coverage_threshold", "max_masked_tokens", "keep_best_token",
        "max_masks", "token_grid", "tile_size", "sam_size", "tie_word_embeddings",
    ):  # fmt: skip
        assert getattr(again, name) == getattr(config, name), name
    assert (again.token_grid, again.tile_size, again.sam_size) == (4, 32, 64)
    assert again.vlm_config.text_config.hidden_size == 32
    assert again.sam_config.vision_config.backbone_config.embed_dim_per_stage == [8, 16, 32, 64]


def test_defaults_are_those_of_the_paper() -> None:
    config = TerraScopeConfig()
    assert (config.min_tiles, config.max_tiles) == (1, 12)
    assert (config.coverage_threshold, config.max_masked_tokens, config.keep_best_token) == (0.5, 128, True)
    assert (config.token_grid, config.tile_size, config.sam_size) == (16, 448, 1024)


def test_logits_are_kept_where_they_are_asked_for(tiny: Loaded) -> None:
    model, _ = tiny
    inputs = embeddings(model)
    mask = torch.zeros(2, 9, dtype=torch.bool)
    mask[0, 3], mask[1, [0, 8]] = True, True
    with torch.no_grad():
        full = model(inputs_embeds=inputs)
        last = model(inputs_embeds=inputs, logits_to_keep=2)
        some = model(inputs_embeds=inputs, logits_to_keep=mask)
    assert full.logits.shape == (2, 9, model.config.vlm_config.text_config.vocab_size)
    assert last.logits.shape[:2] == (2, 2) and torch.allclose(last.logits, full.logits[:, -2:], atol=1e-5)
    assert torch.allclose(some.logits, full.logits[[0, 1, 1], [3, 0, 8]], atol=1e-5)
    for output in (last, some):
        assert torch.equal(output.last_hidden_state, full.last_hidden_state), "hidden states are always whole"
    assert torch.allclose(model.vlm.lm_head(full.last_hidden_state), full.logits, atol=1e-6)


def test_token_ids_and_their_embeddings_are_one(tiny: Loaded) -> None:
    model, _ = tiny
    ids = torch.tensor([[261, 17, 273]])
    with torch.no_grad():
        by_ids = model(input_ids=ids).logits
        by_embeddings = model(inputs_embeds=model.get_input_embeddings()(ids)).logits
        library = model.vlm(input_ids=ids).logits
    assert torch.equal(by_ids, by_embeddings)
    assert torch.allclose(by_ids, library, atol=1e-5), "the same as transformers' own forward of InternVL"


def test_visual_tokens_are_those_of_internvl(tiny: Loaded) -> None:
    model, _ = tiny
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    token = model.config.vlm_config.image_token_id
    ids = torch.tensor([[261, *[token] * 16, 273, *[token] * 16, 280]])
    with torch.no_grad():
        tokens = model.encode_tiles(pixels)
        assert tokens.shape == (2, 16, 32)
        inputs = model.get_input_embeddings()(ids)
        inputs[0, 1:17], inputs[0, 18:34] = tokens[0], tokens[1]
        ours = model(inputs_embeds=inputs).logits
        library = model.vlm(input_ids=ids, pixel_values=pixels).logits
    assert torch.allclose(ours, library, atol=1e-4)


def test_parameters_are_counted_once() -> None:
    model, _ = make_tiny()
    tied = model.get_input_embeddings().weight.numel()
    separate = sum(
        p.numel() for name, p in model.state_dict(keep_vars=True).items() if isinstance(p, torch.nn.Parameter)
    )
    assert count_parameters(model) == separate - tied
    shared = torch.nn.Linear(3, 2)
    assert count_parameters(torch.nn.Sequential(shared, shared)) == 8

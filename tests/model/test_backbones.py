"""Other vision-language models in the same loop: each against transformers' own way of running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import Qwen3VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from terrascope.errors import ModelError
from terrascope.model.backbones import BACKBONES
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.encoding import embed_prompt, encode_scene
from terrascope.model.generation import GenerationSettings, reason
from terrascope.model.injection import weigh_pairs
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import Prompt, TerraScopeProcessor
from terrascope.model.selection import select_tokens
from terrascope.model.terrascope import TerraScope
from terrascope.scene import Scene
from tests.model.conftest import Loaded
from tests.model.families import VLMS, make_family

TEXT = "<think>The water: [SEG] It covers. The tree: Image: 2 [SEG][SEG] So Image: 1 [SEG]</think><answer>A</answer>"


@pytest.fixture(scope="module", params=list(VLMS))
def family(request: pytest.FixtureRequest) -> Loaded:
    return make_family(request.param)


@pytest.fixture(scope="module")
def qwen() -> Loaded:
    return make_family("qwen25vl")


def prompt_of(processor: TerraScopeProcessor, scene: Scene) -> Prompt:
    return processor.prepare_prompt(processor.describe(scene), "How much is water?")


def library_positions(model: TerraScopeForConditionalGeneration, ids: Tensor, num_images: int) -> Tensor:
    """Positions of a prompt `[T]` whose images are one tile each, as transformers counts them: `[axes, 1, T]`."""
    if model.config.vlm_config.model_type != "qwen2_5_vl":
        return torch.arange(len(ids))[None, None]
    is_image = (ids == model.config.vlm_config.image_token_id).int()[None]
    grids = torch.tensor([[1, 8, 8]] * num_images)
    return model.vlm.model.get_rope_index(ids[None], is_image, image_grid_thw=grids)[0]


@pytest.mark.parametrize("both", [False, True], ids=["optical", "two dates, both"])
def test_cached_loop_equals_one_uncached_pass(family: Loaded, two_dates: Any, half_masks: Any, both: bool) -> None:
    model, processor = family
    scene = two_dates.scene if both else Scene.of(optical=[two_dates.scene.pairs[0].optical])
    given = [half_masks[0], half_masks[1], half_masks[2], half_masks[4]]
    with torch.inference_mode():
        encoded = encode_scene(model, processor.image_processor.prepare_scene(scene))
    prompt = prompt_of(processor, scene)
    ids = processor.tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    result = reason(
        model, processor, encoded, prompt, GenerationSettings(),
        forced_ids=ids, forced_masks=given, keep_record=True,
    )  # fmt: skip
    assert [g.image for g in result.groundings] == ([1, 2, 2, 1] if both else [1, 1, 1, 1])
    with torch.no_grad():
        visual = weigh_pairs(
            model,
            [{k: encoded.context[i] for k, i in pair.items()} for pair in encoded.pairs],
            encoded.inputs.layouts,
            prompt,
        )
        pieces, number = [embed_prompt(model, prompt, encoded.context)], 0
        for token in ids:
            pieces.append(model.get_input_embeddings()(torch.tensor([token])))
            if token == model.config.seg_token_id:
                indices = select_tokens(torch.from_numpy(given[number]), (4, 4))
                pieces.append(visual[result.groundings[number].image - 1].gather(indices)[0])
                number += 1
        sequence = torch.cat(pieces)
        start = library_positions(model, prompt.input_ids, len(scene.observations))
        follow = start.max() + 1 + torch.arange(len(sequence) - start.shape[-1])
        positions = torch.cat([start, follow.expand(len(start), 1, -1)], dim=-1)
        logits = model(inputs_embeds=sequence[None], position_ids=positions if len(start) > 1 else positions[0])
    assert [len(indices) for indices in result.record.injected] == [8, 1, 0, 2]
    assert torch.allclose(torch.cat(result.record.embeddings), sequence, atol=1e-6)
    for position, step in zip(result.record.positions, result.record.logits, strict=True):
        assert torch.allclose(step, logits.logits[0, position - 1], atol=1e-4)


def test_a_scene_is_answered_and_the_model_survives_the_disk(family: Loaded, two_dates: Any, tmp_path: Path) -> None:
    first = TerraScope(*family, "first")
    first.save_pretrained(str(tmp_path))
    again = TerraScope.from_pretrained(str(tmp_path))
    assert type(again.model.vlm) is type(first.model.vlm)
    assert again.processor.image_marks == list(first.model.config.backbone.image_marks)
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    settings = GenerationSettings(max_new_tokens=12)
    texts = [m.ask(two_dates.scene, "How much is water?", settings=settings).reasoning for m in (first, again)]
    assert texts[0] == texts[1] != ""
    masks = [m.segment(two_dates.scene, "water").masks for m in (first, again)]
    assert len(masks[0]) == 2 and all(np.array_equal(a, b) for a, b in zip(*masks, strict=True))


def test_internvl35_is_an_internvl_on_a_qwen3() -> None:
    model, _ = make_family("internvl35")
    layer = model.vlm.model.language_model.layers[0].self_attn
    assert hasattr(layer, "q_norm") and layer.q_proj.bias is None
    assert model.vlm.lm_head.weight is not model.get_input_embeddings().weight


def test_a_qwen_prompt_gives_the_logits_of_the_library(qwen: Loaded, two_dates: Any) -> None:
    """From pixels to logits: the library's own patches, placeholders and positions."""
    model, processor = qwen
    scene = two_dates.scene
    inputs = processor.image_processor.prepare_scene(scene)
    prompt = prompt_of(processor, scene)
    library = Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, temporal_patch_size=2)
    patches = np.concatenate([library.patchify(tile.numpy(), 4, 2, 2)[0] for tile in inputs.tiles])
    is_image = (prompt.input_ids == model.config.vlm_config.image_token_id).int()[None]
    with torch.no_grad():
        theirs = model.vlm(
            input_ids=prompt.input_ids[None], pixel_values=torch.from_numpy(patches), mm_token_type_ids=is_image,
            image_grid_thw=torch.tensor([[1, 8, 8]] * 4),
        ).logits  # fmt: skip
        context = encode_scene(model, inputs).context
        ours = model(
            inputs_embeds=embed_prompt(model, prompt, context)[None],
            position_ids=model.prompt_positions(prompt.input_ids),
        ).logits
    assert int(is_image.sum()) == 64
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_positions_of_a_tiled_image(qwen: Loaded) -> None:
    """Two tiles side by side in one image: each begins where the one before it ended."""
    model, _ = qwen
    image = model.config.vlm_config.image_token_id
    positions = model.prompt_positions(torch.tensor([7, *[image] * 32, 9, 9]))[:, 0]
    time, row, column = positions.tolist()
    assert time == [0, *[1] * 16, *[5] * 16, 9, 10]
    assert row == [0, *[1 + i // 4 for i in range(16)], *[5 + i // 4 for i in range(16)], 9, 10]
    assert column == [0, *[1 + i % 4 for i in range(16)], *[5 + i % 4 for i in range(16)], 9, 10]


def test_qwens_tiles_are_as_large_as_internvls_unless_it_says_otherwise() -> None:
    qwen = BACKBONES["qwen2_5_vl"]
    config = qwen.config_class()
    assert (qwen.token_grid(config), qwen.tile_size(config)) == (16, 448)


def test_a_model_whose_visual_tokens_are_more_than_embeddings_is_refused() -> None:
    known = "'qwen3_vl' is no vision-language model known here: give one of internvl, qwen2_5_vl"
    with pytest.raises(ModelError, match=known):
        TerraScopeConfig(vlm_config=Qwen3VLConfig()).token_grid  # noqa: B018
    with pytest.raises(ModelError, match=known):
        TerraScopeConfig(vlm_config={"model_type": "qwen3_vl"})

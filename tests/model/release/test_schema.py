"""What a released checkpoint states: every field that is read, out of type and out of range."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch

from terrascope.errors import ModelError
from terrascope.model.release.convert import import_release
from terrascope.model.release.schema import Hiera, Language, Released, Vision
from terrascope.model.release.settings import our_configuration
from tests.model.release.conftest import HIERA, RELEASED, Checkpoint

IDS = {"<IMG_CONTEXT>": 1, "[SEG]": 2}
LACKING = object()


def changed(content: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy with the value at a place such as `llm_config.hidden_size`."""
    content = copy.deepcopy(content)
    *parts, name = place.split(".")
    entry = content
    for part in parts:
        entry = entry[part]
    if value is LACKING:
        del entry[name]
    else:
        entry[name] = value
    return content


def said(released: dict[str, Any], hiera: dict[str, Any] | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        our_configuration(released, HIERA if hiera is None else hiera, IDS)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("model_type", LACKING, "lacks model_type, which is 'sa2va_chat' in a released checkpoint"),
        ("vision_config", 7, "vision_config must be an object, but is 7"),
        ("vision_config", None, "vision_config must be an object, but is null"),
        ("llm_config", "x", 'llm_config must be an object, but is "x"'),
        ("force_image_size", LACKING, "lacks force_image_size"),
        ("force_image_size", "448", 'force_image_size must be a whole number, but is "448"'),
        ("force_image_size", 448.0, "force_image_size must be a whole number, but is 448.0"),
        ("force_image_size", True, "force_image_size must be a whole number, but is true"),
        ("force_image_size", -448, "force_image_size must be greater than or equal to 1, but is -448"),
        ("force_image_size", 57, "vision_config.patch_size 14 does not divide force_image_size 57"),
        ("downsample_ratio", float("nan"), "downsample_ratio must be a finite number, but is NaN"),
        ("downsample_ratio", 2, "downsample_ratio must be less than or equal to 1, but is 2"),
        ("downsample_ratio", 0.3, "downsample_ratio 0.3 makes no whole number of tokens of a tile of 56 pixels"),
        ("max_dynamic_patch", 1.5, "max_dynamic_patch must be a whole number, but is 1.5"),
        ("min_dynamic_patch", "1", 'min_dynamic_patch must be a whole number, but is "1"'),
        ("min_dynamic_patch", 13, "min_dynamic_patch 13 is above max_dynamic_patch"),
        ("dynamic_image_size", "false", 'dynamic_image_size must be true or false, but is "false"'),
        ("use_thumbnail", False, "use_thumbnail must be True, but is false"),
        ("template", "phi3_chat", "template must be 'qwen_chat', but is \"phi3_chat\""),
        ("select_layer", -2, "select_layer must be -1, but is -2"),
        ("tie_word_embeddings", 7, "tie_word_embeddings must be true or false, but is 7"),
        ("vision_config.image_size", 224, "vision_config.image_size is 224, but force_image_size 56"),
        ("vision_config.hidden_size", 0, "vision_config.hidden_size must be greater than or equal to 1, but is 0"),
        ("vision_config.hidden_size", 17, "vision_config: num_attention_heads 2 does not divide hidden_size 17"),
        ("vision_config.num_attention_heads", -4, "vision_config.num_attention_heads must be greater than or equal to"),
        ("vision_config.norm_type", "foo", "vision_config.norm_type must be 'layer_norm' or 'rms_norm'"),
        ("vision_config.qkv_bias", None, "vision_config.qkv_bias must be true or false, but is null"),
        ("vision_config.layer_norm_eps", "1e-6", "vision_config.layer_norm_eps must be a number"),
        ("vision_config.hidden_act", "relu", "vision_config.hidden_act must be 'gelu'"),
        ("llm_config.hidden_act", "foo", "llm_config.hidden_act must be 'silu', but is \"foo\""),
        ("llm_config.model_type", "phi3", "llm_config.model_type must be 'qwen2' or 'qwen3', but is \"phi3\""),
        ("llm_config.num_key_value_heads", 0, "llm_config.num_key_value_heads must be greater than or equal to 1"),
        ("llm_config.num_key_value_heads", 3, "llm_config: num_key_value_heads 3 does not divide num_attention_heads"),
        ("llm_config.rope_theta", 0, "llm_config.rope_theta must be greater than 0, but is 0"),
        ("llm_config.rope_theta", LACKING, "llm_config: lacks rope_theta"),
        ("llm_config.rope_scaling", 7, "llm_config.rope_scaling must be an object, but is 7"),
        ("llm_config.rope_scaling", {"type": "yarn"}, "llm_config is none of a qwen2 (Missing required keys"),
        ("llm_config.rope_scaling", {"type": "foo"}, "is none of a qwen2 (rope_scaling is of the unknown type 'foo')"),
        ("llm_config.attention_dropout", "x", "llm_config is none of a qwen2 (Validation error for field"),
    ],
)  # fmt: skip
def test_a_field_of_the_configuration_is_named(place: str, value: Any, expected: str) -> None:
    message = said(changed(RELEASED, place, value))
    assert message.startswith("config.json: ") and expected in message


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("stages", 7, "stages must be a list, but is 7"),
        ("stages", [1, 2], "stages must be a list of at least 4, but is [1, 2]"),
        ("window_spec", [8, 4], "window_spec must be a list of at least 4, but is [8, 4]"),
        ("num_heads", 0, "num_heads must be greater than or equal to 1, but is 0"),
        ("num_heads", 3, "num_heads 3 does not divide embed_dim 8"),
        ("global_att_blocks", [], "global_att_blocks must be a list of at least 1, but is []"),
        ("global_att_blocks", [100], "global_att_blocks names block 100, but stages has 6, from 0"),
        ("neck", {"d_model": 128}, "neck.d_model must be 256, but is 128"),
        ("neck", {"backbone_channel_list": [1, 2]}, "neck.backbone_channel_list is [1, 2], but the stages give [64"),
    ],
)  # fmt: skip
def test_a_field_of_the_mask_encoder_is_named(place: str, value: Any, expected: str) -> None:
    message = said(RELEASED, changed(HIERA, place, value))
    assert message.startswith("grounding_encoder.json: ") and expected in message


WRONG = ("x", None, [], {}, -1, 0, float("nan"), float("inf"), 10**30)
PLACES = [
    *(name for name in Released.model_fields if name not in ("vision_config", "llm_config")),
    *(f"vision_config.{name}" for name in Vision.model_fields),
    *(f"llm_config.{name}" for name in Language.model_fields),
]


@pytest.mark.parametrize("place", PLACES)
def test_nothing_but_a_sentence_or_a_model_comes_of_a_field(place: str) -> None:
    """Whatever stands there: it is refused in one sentence, or read."""
    refused = 0
    for value in WRONG:
        try:
            config = our_configuration(changed(RELEASED, place, value), HIERA, IDS)
        except ModelError as error:
            assert str(error).startswith("config.json: ") and "\n" not in str(error)
            refused += 1
        else:
            assert config.max_tiles in (1, 12) and config.token_grid == 2
    assert refused >= len(WRONG) - 5


@pytest.mark.parametrize("place", list(Hiera.model_fields))
def test_nothing_but_a_sentence_or_a_model_comes_of_a_field_of_the_mask_encoder(place: str) -> None:
    refused = 0
    for value in WRONG:
        try:
            our_configuration(
                RELEASED, changed(HIERA, place, value) if place in HIERA else {**HIERA, place: value}, IDS
            )
        except ModelError as error:
            assert str(error).startswith("grounding_encoder.json: ") and "\n" not in str(error)
            refused += 1
    assert refused >= len(WRONG) - 1


def test_what_is_stated_is_what_is_built() -> None:
    tiles = our_configuration(RELEASED | {"dynamic_image_size": False}, HIERA, IDS)
    assert (tiles.min_tiles, tiles.max_tiles) == (1, 1)
    scaled = changed(RELEASED, "llm_config.rope_scaling", {"factor": 2.0, "type": "dynamic"})
    before = copy.deepcopy(scaled)
    rope = our_configuration(scaled, HIERA, IDS).vlm_config.text_config.rope_parameters
    assert (rope["rope_type"], rope["factor"], rope["rope_theta"]) == ("dynamic", 2.0, 1000000.0)
    assert scaled == before, "the library writes into what it is given"
    large = our_configuration(RELEASED, None, IDS).sam_config.vision_config.backbone_config
    assert (large.hidden_size, large.blocks_per_stage, large.embed_dim_per_stage[-1]) == (144, [2, 6, 36, 4], 1152)


@pytest.mark.parametrize(
    ("file", "place", "value", "expected"),
    [
        ("config.json", "vision_config.num_hidden_layers", 10**6,
         "config.json: vision_config.num_hidden_layers must be less than or equal to 1000, but is 1000000"),
        ("config.json", "vision_config.num_hidden_layers", 1000,
         "config.json: vision_config.num_hidden_layers makes 1000 layers, but the weights have 2"),
        ("config.json", "llm_config.num_hidden_layers", 3,
         "`num_hidden_layers` (3) must be equal to the number of `layer_types` (2)"),
        ("grounding_encoder.json", "stages", [1, 2, 2, 1000],
         "makes 1005 layers, but the weights have 6"),
        ("config.json", "llm_config.hidden_size", 10**30, "llm_config.hidden_size"),
        ("config.json", "tie_word_embeddings", True,
         "tie_word_embeddings is true, but language_model.lm_head.weight is another than language_model.model.embed"),
    ],
)  # fmt: skip
def test_what_the_weights_contradict_is_refused_before_a_model_is_built(
    checkpoint: Checkpoint, tmp_path: Path, file: str, place: str, value: Any, expected: str
) -> None:
    source = Path(copytree(checkpoint.released, tmp_path / "source"))
    content = changed(json.loads((source / file).read_text()), place, value)
    (source / file).write_text(json.dumps(content))
    began = time.monotonic()
    with pytest.raises(ModelError) as caught:
        import_release(source, tmp_path / "ours")
    assert str(caught.value).startswith(f"{source}: ") and expected in str(caught.value)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("kind", [torch.int32, torch.bool])
def test_weights_that_are_no_numbers_with_fractions(checkpoint: Checkpoint, tmp_path: Path, kind: torch.dtype) -> None:
    from safetensors.torch import load_file, save_file

    source = Path(copytree(checkpoint.released, tmp_path / "source"))
    tensors = load_file(source / "model.safetensors")
    tensors["mlp1.1.weight"] = tensors["mlp1.1.weight"].to(kind)
    save_file(tensors, source / "model.safetensors")
    name = str(kind).removeprefix("torch.")
    with pytest.raises(ModelError, match=f"source: model.safetensors: mlp1.1.weight holds {name}, no weights$"):
        import_release(source, tmp_path / "ours")


def test_brackets_without_end(checkpoint: Checkpoint, tmp_path: Path) -> None:
    source = Path(copytree(checkpoint.released, tmp_path / "source"))
    (source / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match=r"config\.json: cannot be read as JSON"):
        import_release(source, tmp_path / "ours")

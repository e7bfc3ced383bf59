"""Values of files against their types: which is named, and how."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from terrascope.errors import ModelError
from terrascope.model.checkpoint import load
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.fields import first_of
from terrascope.model.processing import TerraScopeImageProcessor
from terrascope.model.terrascope import TerraScope
from tests.model.conftest import Loaded


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_masked_tokens": "8"}, 'max_masked_tokens must be a whole number, but is "8"'),
        ({"max_masked_tokens": 0}, "max_masked_tokens must be greater than or equal to 1, but is 0"),
        ({"max_tiles": True}, "max_tiles must be a whole number, but is true"),
        ({"max_tiles": "foo"}, 'max_tiles must be a whole number, but is "foo"'),
        ({"min_tiles": 1.5}, "min_tiles must be a whole number, but is 1.5"),
        ({"token_rule": "foo"}, "token_rule must be 'coverage' or 'center', but is \"foo\""),
        ({"mask_choice": "foo"}, "mask_choice must be 'single' or 'best', but is \"foo\""),
        ({"choice_rule": None}, "choice_rule must be 'letter' or 'nearest', but is null"),
        ({"keep_best_token": 1}, "keep_best_token must be true or false, but is 1"),
        ({"coverage_threshold": float("nan")}, "coverage_threshold must be a finite number, but is NaN"),
        ({"coverage_threshold": 1}, "coverage_threshold must be less than 1, but is 1"),
        ({"stop_tokens": "ab"}, 'stop_tokens must be a list, but is "ab"'),
        ({"stop_tokens": ["a", 3]}, "stop_tokens.1 must be a text, but is 3"),
        ({"vlm_config": 7}, "vlm_config must be a PreTrainedConfig, but is 7"),
    ],
)
def test_a_setting_of_the_model_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError) as caught:
        TerraScopeConfig(**given)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tile_size": "448"}, 'tile_size must be a whole number, but is "448"'),
        ({"image_mean": 7}, "image_mean must be a list, but is 7"),
        ({"image_mean": [1, 2]}, "image_mean must be a list of at least 3, but is [1, 2]"),
        ({"sam_std": [1, 1, 1, 1]}, "sam_std must be a list of at most 3, but is [1, 1, 1, 1]"),
        ({"image_std": [0, 1, 1]}, "image_std.0 must be greater than 0, but is 0"),
        ({"resampling": "x"}, "resampling must be 'float' or 'pillow', but is \"x\""),
    ],
)
def test_a_setting_of_the_image_processor_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError) as caught:
        TerraScopeImageProcessor(**given)
    assert str(caught.value) == said


def test_settings_that_are_right_are_taken() -> None:
    config = TerraScopeConfig(max_masked_tokens=8, coverage_threshold=0, stop_tokens=("a",), view_size=64)
    assert (config.max_masked_tokens, config.coverage_threshold, config.stop_tokens) == (8, 0, ["a"])
    images = TerraScopeImageProcessor(image_mean=[0, 0.5, 1], sam_mean=None)
    assert images.image_mean == images.sam_mean == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("file", "place", "value", "said"),
    [
        ("config.json", ["max_masked_tokens"], "8", 'max_masked_tokens must be a whole number, but is "8"'),
        ("config.json", ["token_rule"], "foo", "token_rule must be 'coverage' or 'center', but is \"foo\""),
        ("processor_config.json", ["image_processor", "tile_size"], "32", 'tile_size must be a whole number'),
        ("processor_config.json", ["prompt_style"], "foo", "prompt_style must be 'described' or 'plain'"),
    ],
)  # fmt: skip
def test_a_file_of_a_checkpoint_with_a_wrong_setting(
    tiny: Loaded, tmp_path: Path, file: str, place: list[str], value: Any, said: str
) -> None:
    TerraScope(*tiny, "tiny").save_pretrained(str(tmp_path / "whole"))
    folder = Path(copytree(tmp_path / "whole", tmp_path / "model"))
    content = json.loads((folder / file).read_text())
    entry = content
    for name in place[:-1]:
        entry = entry[name]
    assert place[-1] in entry
    entry[place[-1]] = value
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(ModelError) as caught:
        load(str(folder))
    assert str(caught.value).startswith(f"model {str(folder)!r} cannot be loaded: {said}")


def test_of_several_names_the_first_and_how_many_more() -> None:
    assert first_of(["a"], "tensors") == "a"
    assert first_of(["a", "b", "c"], "tensors") == "a and 2 more tensors"
    assert first_of(["a", "b"]) == "a and 1 more"

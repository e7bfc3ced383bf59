"""Checkpoints that load, and those that do not, with what is said of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from terrascope.errors import ModelError
from terrascope.model import checkpoint, hub
from terrascope.model.checkpoint import load, locate, make_processor, take_settings
from terrascope.model.terrascope import TerraScope
from tests.model.conftest import Loaded


@pytest.fixture(scope="module")
def whole(tiny: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    TerraScope(*tiny, "tiny").save_pretrained(str(folder))
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(copytree(whole, tmp_path / "model"))


def edit_config(folder: Path, **entries: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def said(name: str | Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(str(name))
    message = str(caught.value)
    assert "\n" not in message, "one sentence"
    return message


def test_a_saved_model_loads_whole(tiny: Loaded, whole: Path) -> None:
    model, processor = load(str(whole))
    assert not model.training and model.device.type == "cpu"
    for name, value in tiny[0].state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert processor.tokenizer.get_vocab() == tiny[1].tokenizer.get_vocab()
    assert processor.system_prompt == ""
    half, _ = load(str(whole), dtype=torch.bfloat16)
    formats = {name.split(".")[0]: parameter.dtype for name, parameter in half.named_parameters()}
    bfloat16 = dict.fromkeys(("vlm", "sam", "seg_projection"), torch.bfloat16)
    assert formats == {**bfloat16, "mask_fusion": torch.float32}


def test_a_processor_takes_its_sizes_from_the_configuration(tiny: Loaded) -> None:
    processor = make_processor(tiny[0].config, tiny[1].tokenizer, image_mean=[0.5] * 3)
    sizes = processor.image_processor
    assert (sizes.tile_size, sizes.token_grid, sizes.sam_size, sizes.min_tiles, sizes.max_tiles) == (32, 4, 64, 1, 1)
    assert sizes.image_mean == [0.5] * 3 and sizes.image_std == [0.229, 0.224, 0.225]


NEW = {
    "interleave": "box",
    "similarity_threshold": 0.25,
    "random_tokens": 9,
    "merged_side": 2,
    "random_seed": 3,
    "modalities": "concatenate",
    "prompt_modalities": "optical",
    "mask_temperature": 1.5,
    "min_object_cells": 2.5,
}


def test_what_is_interleaved_is_saved_and_old_checkpoints_follow_the_paper(whole: Path, tmp_path: Path) -> None:
    model, processor = load(str(whole))
    take_settings(model.config, processor, NEW)
    model.save_pretrained(str(tmp_path / "new"))
    processor.save_pretrained(str(tmp_path / "new"))
    model, processor = load(str(tmp_path / "new"))
    assert {name: getattr(model.config, name) for name in NEW} == NEW and processor.prompt_modalities == "optical"
    for file in ("config.json", "processor_config.json"):
        path = tmp_path / "new" / file
        content = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in content.items() if name not in NEW}))
    model, processor = load(str(tmp_path / "new"))
    config = model.config
    assert (config.interleave, config.modalities, config.prompt_modalities) == ("mask", "adaptive", "all")
    assert (config.similarity_threshold, config.random_seed, config.mask_temperature) == (0.0, 0, 1.0)
    assert config.random_tokens is None and config.merged_side == 1 and config.min_object_cells == 0.0
    assert processor.prompt_modalities == "all"


def test_model_and_processor_must_show_the_same_images(folder: Path) -> None:
    edit_config(folder, prompt_modalities="optical")
    assert said(folder) == (
        f"model {str(folder)!r}: prompt_modalities is 'optical' in config.json, but 'all' in processor_config.json; "
        "let both say the same"
    )


def test_settings_are_taken_by_model_and_processor_together(whole: Path) -> None:
    model, processor = load(str(whole))
    take_settings(model.config, processor, {"prompt_modalities": "optical", "max_tiles": 4})
    assert (model.config.prompt_modalities, processor.prompt_modalities) == ("optical", "optical")
    assert (model.config.max_tiles, processor.image_processor.max_tiles) == (4, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"interleave": "boxes"},
            "interleave must be 'mask', 'box', 'random', 'similar' or 'none', but is \"boxes\"",
        ),
        ({"modalities": "both"}, "modalities must be 'adaptive', 'concatenate', 'optical' or 'sar', but is \"both\""),
        ({"prompt_modalities": "sar"}, "prompt_modalities must be 'all' or 'optical', but is \"sar\""),
        ({"mask_temperature": 0.0}, "mask_temperature must be greater than 0, but is 0.0"),
        ({"mask_temperature": float("inf")}, "mask_temperature must be a finite number, but is Infinity"),
        ({"min_object_cells": -1.0}, "min_object_cells must be greater than or equal to 0, but is -1.0"),
        ({"similarity_threshold": 1.0}, "similarity_threshold must be less than 1, but is 1.0"),
        ({"random_tokens": 0}, "random_tokens must be greater than or equal to 1, but is 0"),
        ({"random_seed": -1}, "random_seed must be greater than or equal to 0, but is -1"),
        ({"modalities": "sar", "random_seed": "1"}, 'random_seed must be a whole number, but is "1"'),
    ],
)
def test_a_wrong_value_is_named_and_nothing_is_changed(whole: Path, settings: dict[str, Any], message: str) -> None:
    model, processor = load(str(whole))
    before = model.config.to_dict()
    with pytest.raises(ModelError) as caught:
        take_settings(model.config, processor, settings)
    assert str(caught.value) == message
    assert model.config.to_dict() == before and processor.prompt_modalities == "all"


@pytest.mark.parametrize("name", ["interleaf", "sam_config", "self"])
def test_an_unknown_setting_is_refused(whole: Path, name: str) -> None:
    model, processor = load(str(whole))
    with pytest.raises(ModelError, match=f"unknown setting '{name}': choose of choice_rule, .*, view_size"):
        take_settings(model.config, processor, {name: "mask"})


@pytest.mark.parametrize("name", ["naono", "a/b/c", "/nowhere/model", "./nowhere", "~/model", "owner/"])
def test_an_unknown_name_is_refused(name: str) -> None:
    assert said(name) == f"unknown model {name!r}: give nano, a folder with a checkpoint, or a hub id (owner/name)"


def test_a_hub_id_is_left_to_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate("owner/name") == "owner/name"
    monkeypatch.setattr(hub, "hub_answers", lambda: False)
    assert said("owner/never-fetched") == (
        "owner/never-fetched: the hub cannot be reached, and this model was not fetched before; "
        "fetch it elsewhere and give its folder"
    )


@pytest.fixture
def cached(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of the hub with owner/name in it, and no network."""
    repository = tmp_path / "hub" / "models--owner--name"
    copytree(whole, repository / "snapshots" / "0123abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "hub_answers", lambda: False)
    return repository


def test_what_was_fetched_is_found_without_a_network(tiny: Loaded, cached: Path) -> None:
    model, _ = load("owner/name")
    assert torch.equal(model.state_dict()["vlm.lm_head.weight"], tiny[0].state_dict()["vlm.lm_head.weight"])
    assert TerraScope.from_pretrained("owner/name").name == "owner/name"
    (cached / "snapshots" / "0123abc" / "config.json").unlink()
    assert said("owner/name") == ("owner/name: the repository has no config.json, so it holds no model; check its name")


def test_a_name_that_the_hub_cannot_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "hub_answers", lambda: True)
    assert said("owner/na me") == "owner/na me: the hub has no such repository, or it needs a login"


def test_the_hub_is_not_asked_where_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub.hub_answers()


def test_missing_embedded_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "WEIGHTS", tmp_path)
    assert said("nano") == "model 'nano': its weights are missing from this installation; reinstall the package"
    (tmp_path / "nano").mkdir()
    (tmp_path / "nano" / "config.json").write_text("{}")
    assert locate("nano") == str(tmp_path / "nano")


def test_a_folder_without_configuration(tmp_path: Path) -> None:
    assert said(tmp_path) == (
        f"model {str(tmp_path)!r}: the folder has no config.json; give a folder written by save_pretrained"
    )


def test_a_configuration_of_another_model(folder: Path) -> None:
    edit_config(folder, model_type="internvl")
    assert (
        said(folder) == f"{folder}/config.json: model_type is 'internvl', but a TerraScope checkpoint says 'terrascope'"
    )


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "7"])
def test_a_configuration_that_is_no_json_object(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert re.fullmatch(
        rf"{re.escape(str(folder))}/config\.json: not a JSON object \(.+\); give a folder written by save_pretrained",
        said(folder),
    )


def test_a_configuration_that_is_no_text(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe\x00\x81")
    assert "config.json: not a JSON object" in said(folder)


def test_weights_that_are_cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert said(folder).startswith(f"model {str(folder)!r} cannot be loaded: ")


def test_weights_that_are_not_there(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert said(folder).startswith(f"model {str(folder)!r} cannot be loaded: ")


def test_weights_that_lack_tensors(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name in ("seg_projection.0.weight", "seg_projection.0.bias", "sam.mask_decoder.conv_s0.weight"):
        del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})
    assert said(folder) == (
        f"model {str(folder)!r}: the weights lack sam.mask_decoder.conv_s0.weight and 2 more tensors"
    )


def test_weights_of_another_size(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["seg_projection.0.bias"] = torch.zeros(5)
    save_file(tensors, path, metadata={"format": "pt"})
    assert said(folder).startswith(f"model {str(folder)!r} ")


def test_a_tokenizer_with_another_seg(tiny: Loaded, folder: Path) -> None:
    seg = tiny[1].tokenizer.convert_tokens_to_ids("[SEG]")
    edit_config(folder, seg_token_id=seg + 1)
    assert said(folder) == (
        f"model {str(folder)!r}: the tokenizer's [SEG] is {seg}, but the configuration says {seg + 1}"
    )


@pytest.mark.parametrize("name", ["tokenizer.json", "processor_config.json"])
def test_a_processor_that_is_not_whole(folder: Path, name: str) -> None:
    for path in folder.glob(name):
        path.unlink()
    assert said(folder).startswith(f"model {str(folder)!r}")


@pytest.mark.parametrize("name", ["tokenizer.json", "processor_config.json", "tokenizer_config.json"])
def test_a_processor_whose_files_are_damaged(folder: Path, name: str) -> None:
    (folder / name).write_text("{")
    assert said(folder).startswith(f"model {str(folder)!r}")


@pytest.mark.parametrize("entries", [{"vlm_config": "large"}, {"sam_config": 7}])
def test_a_configuration_with_entries_of_the_wrong_kind(folder: Path, entries: dict[str, Any]) -> None:
    edit_config(folder, **entries)
    assert said(folder).startswith(f"model {str(folder)!r}")


def test_a_field_of_a_part_that_is_no_number_is_named(folder: Path) -> None:
    vlm = json.loads((folder / "config.json").read_text())["vlm_config"]
    vlm["vision_config"]["hidden_size"] = "wide"
    edit_config(folder, vlm_config=vlm)
    assert re.search(r"cannot be loaded: .*'hidden_size'.*'wide'", said(folder))

"""Groups of parameters: which rate and which decay each part of the model has."""

from __future__ import annotations

import pytest
from torch import nn

from terrascope.training.optimization import parameter_groups, part_of
from tests.training.fake_training import make_recipe


def test_parts_of_the_model_have_rates_of_their_own() -> None:
    model = nn.ModuleDict({
        "vlm": nn.ModuleDict({"language_model": nn.Linear(2, 2), "multi_modal_projector": nn.Linear(2, 2)}),
        "sam": nn.ModuleDict({"mask_decoder": nn.Linear(2, 2)}),
        "seg_projection": nn.Linear(2, 2),
    })  # fmt: skip
    model["vlm"]["language_model"].bias.requires_grad_(False)
    settings = make_recipe(
        optimizer={"learning_rate": 1.0, "projector_rate": 2.0, "decoder_rate": 3.0, "weight_decay": 0.1}
    ).optimizer
    groups = {(group["lr"], group["weight_decay"]): len(group["params"]) for group in parameter_groups(model, settings)}
    assert groups == {(1.0, 0.1): 1, (2.0, 0.1): 1, (2.0, 0.0): 1, (3.0, 0.1): 2, (3.0, 0.0): 2}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.vlm.model.language_model.layers.0.mlp.up_proj.lora_A.default.weight", "language"),
        ("model.vlm.lm_head.weight", "language"),
        ("model.vlm.model.multi_modal_projector.linear_1.weight", "projector"),
        ("model.vlm.model.visual.merger.mlp.0.weight", "projector"),
        ("_fsdp_wrapped_module.model.sam.mask_decoder.conv_s0.weight", "decoder"),
        ("model.mask_fusion.weight", "decoder"),
    ],
)
def test_parameters_are_told_apart_by_name(name: str, part: str) -> None:
    assert part_of(name) == part

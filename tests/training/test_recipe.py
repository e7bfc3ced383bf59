"""Recipes: what the package brings, what may be changed, and how a wrong one is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from terrascope.errors import RecipeError
from terrascope.training.recipe import FOLDER, SHARDING, Recipe, list_recipes, load_recipe, quoted, write_recipe

NAMES = {
    "stage1-8b", "stage2-8b", "stage2-8b-table-b", "stage1-8b-release", "stage2-8b-release",
    "nano-stage1", "nano-stage2",
}  # fmt: skip


def test_every_recipe_is_listed_with_a_sentence() -> None:
    listed = list_recipes()
    assert listed.keys() == NAMES
    assert all(about and "\n" not in about for about in listed.values())


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_recipe_survives_the_disk(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert load_recipe(str(tmp_path / "recipe.yaml")).model_dump(mode="json") == recipe.model_dump(mode="json")


def test_the_recipes_say_what_the_paper_says() -> None:
    first, second, table = (load_recipe(name) for name in ("stage1-8b", "stage2-8b", "stage2-8b-table-b"))
    assert (first.optimizer.learning_rate, first.batch_size, first.stage) == (2e-5, 8, "grounding")
    assert (first.lora, first.data.levels) == (None, ("referring",))
    assert (second.optimizer.learning_rate, second.batch_size, second.stage) == (1e-5, 2, "instruction")
    assert second.lora is not None and "referring" not in (second.data.levels or ())
    optimizer = table.optimizer
    assert (optimizer.kind, optimizer.learning_rate, optimizer.weight_decay, optimizer.warmup, optimizer.schedule) == (
        "adam", 4e-5, 0, 0.3, "cosine",
    )  # fmt: skip
    assert (table.overall_batch, table.epochs, table.precision, table.deepspeed) == (32, 1, "bf16", "zero2")
    assert all(one.objective.loss.seg_loss_weight == 0.5 for one in (first, second, table))


def test_the_release_variants_say_what_the_released_code_does() -> None:
    recipe = load_recipe("stage2-8b-release")
    optimizer, loss, lora = recipe.optimizer, recipe.objective.loss, recipe.lora
    assert (optimizer.learning_rate, optimizer.warmup, optimizer.weight_decay) == (4e-5, 0.05, 0.05)
    assert (loss.seg_loss_weight * loss.cross_entropy, loss.seg_loss_weight * loss.dice) == (2.0, 0.5)
    assert recipe.objective.num_points == 12_544
    assert lora is not None and (lora.rank, lora.alpha, lora.embeddings) == (128, 256, "all")
    assert (recipe.overall_batch, recipe.profile) == (64, "release")


def test_values_are_changed_at_any_depth() -> None:
    changed = load_recipe(
        "stage2-8b",
        ["optimizer.learning_rate=1e-3", "data.levels=[L1]", "lora.rank=4", "read.hls.a=/data,x",
         "settings.interleave=box",
         "objective.loss.dice=2", "model=made/here", "evaluate.every=5", "gradient_checkpointing=false"],
    )  # fmt: skip
    assert changed.optimizer.learning_rate == 1e-3 and changed.optimizer.kind == "adam"
    assert changed.data.levels == ("L1",) and changed.lora is not None and changed.lora.rank == 4
    assert changed.read == {"hls.a": "/data,x"} and changed.settings == {"interleave": "box"}
    assert (changed.objective.loss.dice, changed.objective.loss.cross_entropy) == (2, 2)
    assert changed.model == "made/here" and changed.gradient_checkpointing is False
    assert changed.evaluate is not None and (changed.evaluate.every, changed.evaluate.split) == (5, "val")
    assert load_recipe("stage2-8b", ["lora=null"]).lora is None
    preset = load_recipe("nano-stage2", ["model.preset=1b"]).model
    assert not isinstance(preset, str) and preset.preset == "1b"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "optimzer.learning_rate=1",
            "there is no setting optimzer.learning_rate; did you mean optimizer.learning_rate?",
        ),
        ("learning_rate=1", "there is no setting learning_rate; did you mean optimizer.learning_rate?"),
        ("learnin_rate=1", "there is no setting learnin_rate; did you mean optimizer.learning_rate?"),
        ("lora.ranc=1", "there is no setting lora.ranc; did you mean lora.rank?"),
        ("lora={ranc: 1}", "there is no setting lora.ranc; did you mean lora.rank?"),
        ("qqq=1", "there is no setting qqq; choose among about, stage, model"),
        ("seed", "write it as KEY=VALUE, such as optimizer.learning_rate=1e-5"),
        ("seed=[", "the value is not YAML"),
        ("seed=many", "stage2-8b: seed: give a whole number, got 'many'"),
        ("optimizer.kind=sgd", "stage2-8b: optimizer.kind: choose 'adam' or 'adamw', got 'sgd'"),
        ("optimizer.warmup=3", "stage2-8b: optimizer.warmup: give less than 1, got 3"),
        ("data.levels=[L9]", "stage2-8b: levels: 'L9' is unknown"),
        ("objective.loss.dice=x", "stage2-8b: objective.loss.dice: give a number, got 'x'"),
        ("optimizer.betas=[1,2]", "stage2-8b: optimizer.betas.0: give less than 1, got 1"),
        ("objective.num_points=0", "stage2-8b: objective.num_points: give"),
        ("objective.loss_size=0", "stage2-8b: objective.loss_size: give"),
        ("objective.loss.dice=-1", "stage2-8b: objective.loss.dice: give"),
        ("objective.alignment=-1", "stage2-8b: objective.alignment: give"),
        ("lora.rank=-3", "stage2-8b: lora.rank: give"),
        ("optimizer.learning_rate=.inf", "stage2-8b: optimizer.learning_rate: input should be a finite number"),
        ("optimizer.decoder_rate=1.0e+39", "stage2-8b: optimizer.decoder_rate: give at most"),
        ("deepspeed=zero2 ", ""),
    ],
)
def test_a_wrong_change_is_refused_in_a_sentence(change: str, said: str) -> None:
    if not said:
        assert load_recipe("stage2-8b", [change]).deepspeed == "zero2"
        return
    with pytest.raises(RecipeError) as caught:
        load_recipe("stage2-8b", [change])
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["deepspeed=zero2", "fsdp=fsdp"], "deepspeed and fsdp exclude each other"),
        (["overall_batch=8", "accumulation=2"], "accumulation follows from overall_batch"),
        (["state_cache=kept"], "state_cache is for the stage grounding"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=f"^stage2-8b: {said}"):
        load_recipe("stage2-8b", changes)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("stage-2-8b", "no such recipe stage-2-8b; did you mean stage2-8b?"),
        ("own.yaml", "own.yaml: no such recipe or file; give a YAML file, or one of nano-stage1"),
    ],
)
def test_an_unknown_recipe_is_refused(name: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(name)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "text", ["a b: [c] #", 'it\'s "so" \\ ', "tab\tline\n", "ä \x7f \x85 \u2028", "\udcff", "x" * 200, "1", "null", ""]
)
def test_a_quoted_value_is_read_as_it_was(text: str) -> None:
    assert load_recipe("nano-stage1", [f"read.made={quoted(text)}"]).read["made"] == text


def test_a_quoted_path_is_its_text(tmp_path: Path) -> None:
    assert load_recipe("nano-stage1", [f"store={quoted(tmp_path / 'a, b')}"]).store == tmp_path / "a, b"


def test_a_file_of_ones_own_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("stage: all\nbatch_size: 3\n")
    assert load_recipe(str(path), ["seed=4"]) == Recipe(stage="all", batch_size=3, seed=4)
    for text, said in [
        ("batch_size: 3", "stage: is missing"),
        ("stage: all\nbatchsize: 3", "there is no setting batchsize; did you mean batch_size?"),
        ("stage: all\noptimizer: {lr: 3}", "there is no setting optimizer.lr"),
        ("- stage", "not a recipe"),
        ("stage: [", "not YAML"),
    ]:
        path.write_text(text)
        with pytest.raises(RecipeError, match=r"^[^\n]*own\.yaml: ") as caught:
            load_recipe(str(path))
        assert said in str(caught.value)


def test_what_decides_is_told_from_what_does_not() -> None:
    recipe = load_recipe("nano-stage2")
    same = load_recipe("nano-stage2", ["save_every=7", "store=elsewhere", "read.x=y", "num_workers=2", "cache_mb=9"])
    assert recipe.deciding() == same.deciding()
    assert load_recipe("nano-stage2", ["seed=7"]).deciding() != recipe.deciding()


def test_configuration_files_for_several_devices_are_there() -> None:
    assert SHARDING.keys() == {"zero2", "fsdp"}
    zero = json.loads(SHARDING["zero2"].read_text())
    assert zero["zero_optimization"]["stage"] == 2 and zero["gradient_accumulation_steps"] == "auto"
    assert json.loads(SHARDING["fsdp"].read_text())["state_dict_type"] == "FULL_STATE_DICT"
    # Nothing of a recipe is lost by YAML's own reading of numbers.
    for path in FOLDER.glob("*.yaml"):
        assert isinstance(yaml.safe_load(path.read_text())["optimizer"]["learning_rate"], float)

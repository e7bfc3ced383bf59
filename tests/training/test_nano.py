"""The whole making of `nano`, a few thousand parameters small: every stage, its result, and a checkpoint that loads."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from terrascope.errors import OutputError, RecipeError
from terrascope.landcover import TERRASCOPE
from terrascope.model import nano as sizes
from terrascope.model.checkpoint import load
from terrascope.model.terrascope import TerraScope
from terrascope.sources.synthetic import make_sample
from terrascope.training import nano
from terrascope.training import pool as pool_module
from terrascope.training.dense import MEAN, STD, DenseRecipe
from terrascope.training.nano import NanoRecipe, load_encoders, make_tokenizer, sized, train
from tests.model.conftest import tiny_config
from tests.training.conftest import SerialExecutor, tiny_sam_config
from tests.training.made_store import SIZE, SOURCE, samples_of, write_store

RECIPE = NanoRecipe(
    num_scenes=4, num_validation_scenes=1, sam_steps=1, sam_polish_steps=1, vision_steps=1, vocabulary=400,
    language_steps=2, grounding_steps=2, fusion_scenes=1,
)  # fmt: skip
READ = {"synthetic": f"8,size={SIZE}"}


@pytest.fixture(scope="module")
def patch():  # type: ignore[no-untyped-def]
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of four generated scenes."""
    path = tmp_path_factory.mktemp("samples") / "samples.parquet"
    write_store(path, [sample for key in "0123" for sample in samples_of(SOURCE.read(key))])
    return path


@pytest.fixture(scope="module")
def run(patch: pytest.MonkeyPatch, chips: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    patch.setattr(pool_module, "ProcessPoolExecutor", SerialExecutor)
    patch.setattr(nano, "ProcessPoolExecutor", SerialExecutor)
    patch.setattr(torch, "set_num_threads", lambda num: None)
    patch.setattr(sizes, "sam2_config", tiny_sam_config)
    for name, value in (("SAM_WIDTH", 32), ("VISION_SIZE", 32), ("TOKEN_GRID", 4)):
        patch.setattr(sizes, name, value)
    patch.setattr(
        sizes,
        "internvl_config",
        lambda vocab_size, image_token_id: tiny_config(vocab_size, image_token_id, 0).vlm_config,
    )
    patch.setattr(nano, "DenseRecipe", partial(DenseRecipe, batch_size=2))
    patch.setattr(nano, "LANGUAGE", (*nano.LANGUAGE, "batch_size=2"))
    folder = tmp_path_factory.mktemp("runs") / "nano"
    assert train(folder, store, READ, RECIPE, chips=chips) == folder / "nano"
    return folder


def test_every_stage_leaves_its_result(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        "made_of.json", "pool", "sam.pt", "vision.pt", "tokenizer", "scenes", "language", "states", "grounding",
        "fusion", "nano",
    }  # fmt: skip


def test_the_checkpoint_loads_and_answers(run: Path) -> None:
    model, processor = load(str(run / "nano"))
    assert processor.system_prompt == "" and processor.image_processor.image_mean == [MEAN] * 3
    assert processor.image_processor.image_std == [STD] * 3 and processor.image_processor.sam_size == 256
    assert model.config.choice_rule == "nearest" and model.config.view_size == sizes.VIEW_SIZE
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    for name, value in load_file(run / "nano" / "model.safetensors").items():
        assert value.dtype == (torch.float32 if name.startswith("mask_fusion.") else torch.bfloat16), name
    scene = make_sample(0, size=64, num_dates=1).scene
    answer = TerraScope(model, processor, "nano").segment(scene, "water")
    assert len(answer.masks) == 1 and answer.masks[0].shape == (64, 64)


def test_each_stage_moves_what_it_should_and_hands_on_the_rest(run: Path) -> None:
    sam = torch.load(run / "sam.pt", weights_only=True)["model"]
    vision = torch.load(run / "vision.pt", weights_only=True)["model"]
    language, last = (load(str(place))[0].state_dict() for place in (run / "language" / "model", run / "nano"))
    for name, value in last.items():
        begun = sam.get(name)
        if name.startswith("vlm.model.vision_tower."):
            begun = vision[f"tower.{name.removeprefix('vlm.model.vision_tower.')}"]
        if begun is not None:
            assert torch.equal(language[name], begun.bfloat16().float()), f"{name}: no mask is drawn with the language"
        moved = not torch.equal(value, language[name])
        if name.startswith(("vlm.", "sam.vision_encoder.", "sam.prompt_encoder.")):
            assert not moved, name
    for name in ("seg_projection.0.weight", "sam.mask_decoder.upscale_conv1.weight", "mask_fusion.hidden.weight"):
        assert not torch.equal(last[name], language[name]) or name.startswith("mask_fusion"), name


def test_encoders_are_put_where_they_belong(run: Path, store: Path) -> None:
    model, _ = nano.compose(nano.find_tokenizer(run, nano.open_store(store), 400))
    prompts = load_encoders(model, run)
    sam = torch.load(run / "sam.pt", weights_only=True)["model"]
    assert torch.equal(prompts, sam["class_prompts"]) and prompts.shape == (len(TERRASCOPE), 32)
    for name, value in model.sam.state_dict().items():
        assert torch.equal(value, sam[f"sam.{name}"]), name
    vision = torch.load(run / "vision.pt", weights_only=True)["model"]
    for name, value in model.vlm.model.vision_tower.state_dict().items():
        assert torch.equal(value, vision[f"tower.{name}"]), name


def test_a_second_call_trains_nothing_again(run: Path, store: Path, chips: Path) -> None:
    def times() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}

    before = times()
    train(run, store, READ, RECIPE, chips=chips)
    assert times() == before


def test_a_run_without_its_last_stage_makes_that_alone(run: Path, store: Path, chips: Path) -> None:
    (run / "nano").rename(run / "kept")
    names = ("pool/frames.json", "sam.pt", "vision.pt", "tokenizer/tokenizer.json")
    before = {name: (run / name).stat().st_mtime_ns for name in names}
    train(run, store, READ, RECIPE, chips=chips)
    assert {name: (run / name).stat().st_mtime_ns for name in names} == before
    made, kept = (load_file(run / name / "model.safetensors") for name in ("nano", "kept"))
    assert made.keys() == kept.keys() and all(torch.equal(made[name], kept[name]) for name in made)


def test_encoders_are_not_trained_in_forked_processes(
    run: Path, store: Path, chips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[SerialExecutor] = []

    def record(*settings: object, **named: object) -> SerialExecutor:
        made.append(SerialExecutor(*settings, **named))
        return made[-1]

    monkeypatch.setattr(nano, "ProcessPoolExecutor", record)
    (run / "nano").rename(run / "kept again")
    train(run, store, READ, RECIPE, chips=chips)
    context = made[0].settings[1].get("mp_context")
    assert context is not None and context.get_start_method() in ("spawn", "forkserver")


def test_the_vocabulary_covers_the_projects_wording(store: Path) -> None:
    tokenizer = make_tokenizer(nano.open_store(store), 400)
    assert len(tokenizer) <= 400
    for text in ("How much is water?", "<think>The water: [SEG] It covers some. So the answer is A.</think>"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert len(ids) <= len(text) / 2, text


@pytest.mark.parametrize(
    ("sizes", "told"),
    [({"steps": 3}, "there is no such stage; choose among num_scenes"), ({"sam_steps": 0}, "give at least 1")],
)
def test_sizes_that_there_are_not_are_refused(sizes: dict[str, int], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        sized(sizes)
    assert sized({"language_steps": 5}) == NanoRecipe(language_steps=5)


def test_a_run_of_other_sizes_or_samples_is_refused(run: Path, store: Path, chips: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    write_store(other, samples_of(SOURCE.read("5")))
    for recipe, samples, told in [
        (replace(RECIPE, language_steps=3), store, "the run there has language_steps 2, not 3; give another --out"),
        (RECIPE, other, "the run there has data '"),
    ]:
        with pytest.raises(RecipeError, match=told):
            train(run, samples, READ, recipe, chips=chips)
    (tmp_path / "pool").mkdir()
    with pytest.raises(OutputError, match=r"holds pool, but no made_of\.json of a run; give another --out"):
        train(tmp_path, store, READ, RECIPE, chips=chips)

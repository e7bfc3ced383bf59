"""Recipes carried out on a tiny model: what a run leaves, how it goes on, and how it stops."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from terrascope.errors import ModelError, OutputError, RecipeError, SampleError, TrainingError
from terrascope.model import TerraScope
from terrascope.terracot.store import open_store
from terrascope.training import run
from terrascope.training.recipe import Recipe, load_recipe, write_recipe
from terrascope.training.run import run_recipe
from terrascope.training.throughput import StepCost
from tests.model.conftest import make_tiny
from tests.training.made_store import SIZE, SOURCE, made_samples, write_store

STEPS = 2


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the tiny model, as `terrascope compose` would leave one of a large model."""
    folder = tmp_path_factory.mktemp("tiny")
    for part in make_tiny():
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of levels L1, caption and referring, some of them of the split val."""
    samples = made_samples(3)
    referring = [replace(one, id=f"{one.id}-r", level="referring") for one in samples if one.level == "L1"]
    others = [replace(one, id=f"{one.id}-v", split="val") for one in samples[:2]]
    path = tmp_path_factory.mktemp("store") / "samples.parquet"
    write_store(path, [*samples, *referring, *others])
    return path


def small(name: str, model: Path, store: Path, *changes: str) -> Recipe:
    common = [
        f"model={model}", f"store={store}", f"read.{SOURCE.name}='{SOURCE.num},size={SIZE}'", f"max_steps={STEPS}",
        "batch_size=2", "num_workers=0", "log_every=1", "save_every=1", "data.max_positions=null",
    ]  # fmt: skip
    return load_recipe(name, [*common, *changes])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("stage1-8b", []),
        ("stage2-8b", ["lora.rank=2"]),
        ("stage2-8b-table-b", ["lora.rank=2", "overall_batch=4", "deepspeed=null"]),
        ("stage1-8b-release", ["overall_batch=4", "objective.num_points=64"]),
        ("stage2-8b-release", ["lora.rank=2", "overall_batch=4", "deepspeed=null", "objective.num_points=64"]),
        ("nano-stage1", []),
        ("nano-stage2", []),
    ],
)
def test_every_recipe_makes_a_checkpoint_that_answers(
    name: str, changes: list[str], tiny_folder: Path, store: Path, tmp_path: Path
) -> None:
    recipe = small(name, tiny_folder, store, "objective.loss_size=32", *changes)
    result = run_recipe(recipe, tmp_path)
    assert (result.model, result.num_steps) == (tmp_path / "model", STEPS)
    before, after = load_file(tiny_folder / "model.safetensors"), load_file(result.model / "model.safetensors")
    # A plain checkpoint: no adapters, no rows of their own.
    assert after.keys() == before.keys()
    changed = {key for key in before if not torch.equal(before[key].bfloat16(), after[key].bfloat16())}
    assert any(key.startswith("sam.mask_decoder") for key in changed)
    assert not any("vision_encoder" in key or "vision_tower" in key for key in changed)
    assert any("language_model" in key for key in changed) == (recipe.stage == "instruction")
    if recipe.stage == "grounding":
        assert not any(key.startswith("vlm") for key in changed)
    answer = TerraScope.from_pretrained(str(result.model)).ask(
        SOURCE.read(SOURCE.index("val").entries[0].key).scene, "Is it?"
    )
    assert answer.model == str(result.model)
    assert all(value > 0 for value in (result.samples_per_s, result.tokens_per_s, result.mfu) if value is not None)
    assert result.mfu is not None


def test_a_run_leaves_its_recipe_its_log_and_its_curves(tiny_folder: Path, store: Path, tmp_path: Path) -> None:
    recipe = small("nano-stage2", tiny_folder, store, "evaluate.every=2")
    shown: list[tuple[int, int, str]] = []
    result = run_recipe(recipe, tmp_path, progress=lambda *what: shown.append(what))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoints", "data.json", "log.jsonl", "model", "recipe.yaml", "tensorboard",
    ]  # fmt: skip
    assert load_recipe(str(tmp_path / "recipe.yaml")).deciding() == recipe.deciding()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == list(result.log)
    assert [(line["step"], "others_language_loss" in line) for line in lines] == [(1, False), (2, True), (2, False)]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    curve = {event.step: event.value for event in events.Scalars("loss")}
    assert curve == pytest.approx({line["step"]: line["loss"] for line in lines if "loss" in line}, rel=1e-6)
    assert [(done, total) for done, total, _ in shown] == [(1, 2), (2, 2)]
    assert shown[1][2].startswith("loss ") and "samples/s" in shown[1][2] and "MFU" in shown[1][2]


@pytest.mark.parametrize(("weight", "draws"), [(0, False), (1, True)])
def test_operations_count_what_the_encoders_see(
    weight: int, draws: bool, tiny_folder: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[bool, bool]] = []
    count = StepCost.count

    def record(cost: StepCost, **numbers: Any) -> float:
        counted.append((numbers["num_tiles"] > 0, numbers["num_images"] > 0))
        return count(cost, **numbers)

    monkeypatch.setattr(StepCost, "count", record)
    changes = ["cache_mb=0", f"objective.loss.seg_loss_weight={weight}"]
    run_recipe(small("nano-stage2", tiny_folder, store, *changes), tmp_path)
    assert counted == [(True, draws)] * STEPS


def interrupt_at(step: int) -> Any:
    def stop(done: int, total: int, said: str) -> None:
        if done == step:
            raise KeyboardInterrupt

    return stop


def losses_in(folder: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def assert_same_model(one: Path, other: Path) -> None:
    first, second = (load_file(folder / "model" / "model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("harm", [False, True])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    harm: bool, tiny_folder: Path, store: Path, tmp_path: Path
) -> None:
    # Dropout of the adapters is drawn from random numbers, and noise on masks from the epoch.
    changes = ["max_steps=4", "lora.rank=2", "lora.dropout=0.5", "data.mask_noise=0.5", "objective.injected=noisy"]
    recipe = small("stage2-8b", tiny_folder, store, *changes)
    run_recipe(recipe, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, tmp_path / "b", progress=interrupt_at(4))
    assert [step for step, _ in losses_in(tmp_path / "b")] == [1, 2, 3]
    checkpoints = tmp_path / "b" / "checkpoints"
    if harm:
        (checkpoints / "checkpoint-3" / "trained.safetensors").write_bytes(b"cut")
    told: list[str] = []
    run_recipe(recipe, tmp_path / "b", tell=told.append)
    assert f"going on after step {2 if harm else 3}" in told
    assert any("checkpoint-3: damaged (trained.safetensors has 3 bytes" in one for one in told) == harm
    assert losses_in(tmp_path / "b") == losses_in(tmp_path / "a")
    assert_same_model(tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    tiny_folder: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    recipe = small("nano-stage2", tiny_folder, store, "max_steps=60", "save_every=5", "batch_size=1")
    # Sums over other numbers of threads differ in their last bits.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    request.addfinalizer(lambda: torch.set_num_threads(num_threads))
    run_recipe(recipe, tmp_path / "a")
    write_recipe(recipe, tmp_path / "recipe.yaml")
    command = [sys.executable, "-m", "terrascope", "train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "b")]
    process = subprocess.Popen(
        command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not (tmp_path / "b" / "checkpoints" / "checkpoint-10").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()  # type: ignore[union-attr]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "b" / "model").exists()
    run_recipe(recipe, tmp_path / "b")
    assert losses_in(tmp_path / "b") == losses_in(tmp_path / "a")
    assert_same_model(tmp_path / "a", tmp_path / "b")


def test_the_states_of_a_frozen_language_model_are_computed_once(
    tiny_folder: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small("stage1-8b", tiny_folder, store, "precision=fp32", "overall_batch=4")
    run_recipe(recipe, tmp_path / "a")
    kept = recipe.model_copy(update={"state_cache": tmp_path / "states"})
    result = run_recipe(kept, tmp_path / "b")
    assert result.log[0]["tokens_per_s"] == 0
    # Those of samples that no step takes are not computed.
    num_kept = sum(len(load_file(file)["counts"]) for file in (tmp_path / "states").rglob("*.safetensors"))
    assert 0 < num_kept <= STEPS * 4 < len(open_store(store))
    first, second = (
        [json.loads(line)["segmentation_loss"] for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in "ab"
    )
    assert first == pytest.approx(second, abs=1e-5)


def test_another_recipe_does_not_go_on_with_the_run(tiny_folder: Path, store: Path, tmp_path: Path) -> None:
    run_recipe(small("nano-stage1", tiny_folder, store), tmp_path)
    with pytest.raises(RecipeError, match=r"recipe\.yaml: the run there has seed 0, not 5; give another --out, or"):
        run_recipe(small("nano-stage1", tiny_folder, store, "seed=5"), tmp_path)
    told: list[str] = []
    run_recipe(small("nano-stage1", tiny_folder, store, "seed=5"), tmp_path, resume=False, tell=told.append)
    assert not any("going on" in one for one in told) and len(losses_in(tmp_path)) == STEPS
    # What is done already is not done again.
    again = run_recipe(small("nano-stage1", tiny_folder, store, "seed=5", "save_every=9"), tmp_path)
    assert (again.num_steps, len(losses_in(tmp_path))) == (STEPS, STEPS)


def test_memory_that_runs_out_says_what_to_lower(
    tiny_folder: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(run.Objective, "forward", fail)
    with pytest.raises(TrainingError) as caught:
        run_recipe(small("nano-stage2", tiny_folder, store), tmp_path)
    assert str(caught.value) == (
        "step 1: memory ran out on cpu; give a lower batch_size than 2, or gradient_checkpointing=true, or cache_mb=0"
    )


def test_what_is_missing_is_named(tiny_folder: Path, store: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no samples were given; name their folder with --data DIR"):
        run_recipe(small("nano-stage2", tiny_folder, store, "store=null"), tmp_path / "a")
    with pytest.raises(SampleError, match=f"scenes of {SOURCE.name} are needed"):
        run_recipe(small("nano-stage2", tiny_folder, store, "read={}"), tmp_path / "b")
    with pytest.raises(RecipeError, match=r"^--read synthetic=8,size: 'size' is no option"):
        run_recipe(small("nano-stage2", tiny_folder, store, "read.synthetic='8,size'"), tmp_path / "c")


def test_a_model_in_hand_is_trained_by_its_settings(store: Path, tmp_path: Path) -> None:
    model, processor = make_tiny()
    recipe = small("nano-stage1", Path("none"), store, "settings.max_masked_tokens=3")
    before = model.sam.mask_decoder.output_hypernetworks_mlps[0].proj_in.weight.detach().clone()
    result = run_recipe(recipe, tmp_path, model=model, processor=processor)
    assert not torch.equal(before, model.sam.mask_decoder.output_hypernetworks_mlps[0].proj_in.weight)
    assert TerraScope.from_pretrained(str(result.model)).model.config.max_masked_tokens == 3


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tiny_folder: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has ended; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("finished")
    told: list[str] = []
    run_recipe(small("nano-stage1", tiny_folder, store), folder, tell=told.append)
    # The referring samples of the split train, two at a time.
    assert any(one.startswith("2 steps, 0.") and one.endswith(" epochs of the samples") for one in told), told
    return folder


@pytest.mark.parametrize(
    ("changes", "resume", "error", "said"),
    [
        (["model={out}/model"], False, RecipeError, "model lies in the run that --no-resume removes"),
        (["settings.interleav=box"], False, ModelError, "unknown setting 'interleav'"),
        (["settings.interleave=bo"], False, ModelError, "interleave"),
        (["read={{}}"], False, SampleError, "scenes of synthetic are needed"),
        (["store={out}/none"], False, SampleError, "none"),
        (["evaluate.split=test"], False, SampleError, "no sample is left"),
        (["objective.alignment=1"], False, RecipeError, "which only terrascope train nano has; give 0"),
        (["deepspeed=zero2"], False, RecipeError, "the package deepspeed is not installed"),
        (["fsdp=nosuch.json"], False, RecipeError, "fsdp: nosuch.json is no file; give one, or a name among zero2"),
        (["overall_batch=3"], False, RecipeError, "overall_batch is 3"),
        (["seed=5"], True, RecipeError, "the run there has seed 0, not 5"),
        (["store={one}"], True, RecipeError, "other samples than the run in"),
    ],
)
def test_what_is_refused_costs_an_earlier_run_nothing(
    changes: list[str], resume: bool, error: type[Exception], said: str,
    finished: Path, tiny_folder: Path, store: Path, tmp_path: Path,
) -> None:  # fmt: skip
    one = tmp_path / "one.parquet"
    write_store(one, [replace(sample, level="referring") for sample in made_samples(1) if sample.level == "L1"])
    before = files_of(finished)
    recipe = small("nano-stage1", tiny_folder, store, *(text.format(out=finished, one=one) for text in changes))
    with pytest.raises(error) as caught:
        run_recipe(recipe, finished, resume=resume)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert files_of(finished) == before


def test_what_was_refused_may_be_corrected(tiny_folder: Path, store: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="interleav"):
        run_recipe(small("nano-stage1", tiny_folder, store, "settings.interleav=box"), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    run_recipe(small("nano-stage1", tiny_folder, store, "settings.interleave=box"), tmp_path / "new")
    assert (tmp_path / "new" / "model").is_dir()


def test_the_same_samples_may_lie_elsewhere(finished: Path, tiny_folder: Path, store: Path, tmp_path: Path) -> None:
    moved = shutil.copy(store, tmp_path / "moved.parquet")
    told: list[str] = []
    run_recipe(small("nano-stage1", tiny_folder, Path(moved)), finished, tell=told.append)
    assert f"going on after step {STEPS}" in told


@pytest.mark.parametrize("name", ["model", "checkpoints", "tensorboard", "log.jsonl"])
@pytest.mark.parametrize("resume", [True, False])
def test_a_folder_that_is_no_run_is_left_alone(
    name: str, resume: bool, tiny_folder: Path, store: Path, tmp_path: Path
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("kept")
    with pytest.raises(OutputError, match=f"holds {name}, but no recipe.yaml of a run; give another --out"):
        run_recipe(small("nano-stage1", tiny_folder, store), tmp_path, resume=resume)
    assert files_of(tmp_path) == {f"{name}/mine": b"kept"}


def test_a_finished_run_without_checkpoints_is_not_begun_anew(
    finished: Path, tiny_folder: Path, store: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(finished, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(RecipeError, match="has ended and its checkpoints are gone; give another --out, or --no-resume"):
        run_recipe(small("nano-stage1", tiny_folder, store), copy)
    assert (copy / "model" / "model.safetensors").is_file()


def test_a_model_that_cannot_be_written_is_not_half_there(tmp_path: Path) -> None:
    model, processor = make_tiny()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"model: cannot be written \(.*\); "):
            run.save_model(model, processor, Recipe(stage="all"), tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []

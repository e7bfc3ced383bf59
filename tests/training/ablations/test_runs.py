"""Runs on disk: their recipes, what is noted of them, going on after a stop, and what is done to the start weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from terrascope.errors import OutputError, RecipeError, SampleError
from terrascope.terracot.store import Store, open_store
from terrascope.training.ablations import runs
from terrascope.training.ablations.runs import (
    RUN,
    TRAINED,
    Setup,
    begin_runs,
    describe_run,
    fingerprint,
    renew_projection,
    run_folder,
    stages_of,
    train,
    trained,
)
from terrascope.training.ablations.tables import TRAININGS
from terrascope.training.recipe import Recipe
from terrascope.training.run import TrainingResult, _open_source
from tests.model.conftest import make_tiny


@pytest.fixture
def setup(data: Path, start: Path, tmp_path: Path) -> Setup:
    return Setup(store=data, start=str(start), out=tmp_path / "out", num_seeds=2, steps=7)


class Recorded:
    """Stands for `run_recipe`: notes what it is asked, and copies the model as it got it; fails where it is told to."""

    def __init__(self, failing: str | None = None) -> None:
        self.failing = failing
        self.made: list[tuple[str, str, torch.Tensor]] = []

    def __call__(self, recipe: Recipe, out: Path, *, model, processor, **how) -> TrainingResult:  # type: ignore[no-untyped-def]
        if recipe.stage == self.failing:
            raise SampleError("no sample")
        self.made.append((recipe.stage, str(recipe.model), model.seg_projection[0].weight.clone()))
        model.save_pretrained(out / "model")
        processor.save_pretrained(out / "model")
        return TrainingResult(model=out / "model", num_steps=7, log=(), samples_per_s=None, tokens_per_s=None, mfu=None)


def test_a_recipe_has_what_all_share_and_what_its_training_sets(setup: Setup, data: Path) -> None:
    (recipe,) = stages_of(setup, TRAININGS["concatenate"], 1).values()
    assert (recipe.stage, recipe.seed, recipe.max_steps, recipe.model) == ("instruction", 1, 7, setup.start)
    assert (recipe.store, recipe.read) == (data.resolve(), {"synthetic": "8"})
    assert recipe.settings["modalities"] == "concatenate"
    assert recipe.data.max_positions is None
    assert recipe.objective.injected == "truth"


def test_a_number_of_generated_scenes_is_no_folder(setup: Setup, tmp_path: Path) -> None:
    given = replace(setup, roots={"synthetic": "40"})
    assert stages_of(given, TRAININGS["full"], 0)["instruction"].read == {"synthetic": "40"}
    assert _open_source("synthetic", "40").num == 40  # type: ignore[attr-defined]


def test_two_trainings_of_one_seed_differ_only_in_what_they_are_named_for(setup: Setup) -> None:
    plain = stages_of(setup, TRAININGS["full"], 0)["instruction"].model_dump(mode="json")
    other = stages_of(setup, TRAININGS["box"], 0)["instruction"].model_dump(mode="json")
    assert other["settings"] == {**plain["settings"], "interleave": "box"}
    assert {name: value for name, value in other.items() if name != "settings"} == {
        name: value for name, value in plain.items() if name != "settings"
    }


def test_typed_overrides_hold_for_all_trainings(setup: Setup) -> None:
    typed = replace(setup, overrides=("optimizer.learning_rate=0.5", "data.max_positions=99"))
    for name in ("full", "textual", "grounded-first"):
        for recipe in stages_of(typed, TRAININGS[name], 0).values():
            assert (recipe.optimizer.learning_rate, recipe.data.max_positions) == (0.5, 99)
    with pytest.raises(RecipeError, match="there is no setting speed"):
        stages_of(replace(setup, overrides=("speed=9",)), TRAININGS["full"], 0)


def test_stage_1_goes_before_where_it_is_wanted(setup: Setup) -> None:
    stages = stages_of(setup, TRAININGS["grounded-first"], 0)
    assert [(name, recipe.stage, recipe.max_steps) for name, recipe in stages.items()] == [
        ("grounding", "grounding", 7),
        ("instruction", "instruction", 7),
    ]


def test_a_source_that_is_called_otherwise_is_read_by_its_kind(
    setup: Setup, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"name": "ponds", "kind": "synthetic", "root": "5", "options": {"size": 64, "cloudy": None}}
    given = {"name": "floods", "kind": "ombria", "root": "ombria", "options": {}}

    def opened(path: Path) -> Store:
        store = open_store(path)
        store.manifest = {"recipe": {"sources": [source, given]}}
        return store

    monkeypatch.setattr(runs, "open_store", opened)
    with pytest.raises(SampleError, match="name it with --read floods=DIR"):
        stages_of(setup, TRAININGS["full"], 0)
    recipe = stages_of(replace(setup, roots={"floods": str(tmp_path)}), TRAININGS["full"], 0)["instruction"]
    assert recipe.read == {
        "ponds:synthetic": "5,size=64,cloudy=None",
        "floods:ombria": str(tmp_path.resolve()),
    }
    ponds = _open_source("ponds:synthetic", recipe.read["ponds:synthetic"])
    assert (ponds.name, ponds.size, ponds.cloudy, ponds.num) == ("ponds", 64, None, 5)  # type: ignore[attr-defined]


def test_what_decides_a_run_is_noted_before_any_starts(setup: Setup) -> None:
    begin_runs(setup, ["full", "box"])
    noted = json.loads((run_folder(setup, "box", 1) / RUN).read_text())
    assert noted["start"] == fingerprint(setup.start)
    assert noted["stages"]["instruction"]["settings"]["interleave"] == "box"
    assert noted["stages"]["instruction"]["seed"] == 1
    assert str(setup.out.parent) not in json.dumps(noted)
    begin_runs(setup, ["full", "box"])


def test_a_run_of_other_settings_is_refused_by_the_name_of_what_differs(setup: Setup) -> None:
    begin_runs(setup, ["full"])
    with pytest.raises(OutputError, match=r"a run with other settings \(stages.instruction.max_steps\)"):
        begin_runs(replace(setup, steps=8), ["full"])


def test_other_start_weights_are_other_settings(setup: Setup, start: Path, tmp_path: Path) -> None:
    model, processor = make_tiny()
    with torch.no_grad():
        model.seg_projection[0].bias += 1
    model.save_pretrained(tmp_path / "moved")
    processor.save_pretrained(tmp_path / "moved")
    here = describe_run(setup, TRAININGS["full"], 0, start=fingerprint(str(start)), data="d")
    moved = replace(setup, start=str(tmp_path / "moved"))
    there = describe_run(moved, TRAININGS["full"], 0, start=fingerprint(moved.start), data="d")
    assert here != there
    assert {**here, "start": ""} == {**there, "start": ""}


def test_a_complete_run_is_left_as_it_is(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded()
    monkeypatch.setattr(runs, "run_recipe", recorded)
    assert trained(setup, "full", 0) is None
    place = train(setup, "full", 0)
    assert trained(setup, "full", 0) == place == run_folder(setup, "full", 0) / "instruction" / "model"
    assert train(setup, "full", 0) == place
    assert len(recorded.made) == 1
    # The other seed has its own.
    assert trained(setup, "full", 1) is None


def test_a_checkpoint_that_was_removed_is_made_again(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded()
    monkeypatch.setattr(runs, "run_recipe", recorded)
    (train(setup, "full", 0) / "config.json").unlink()
    assert trained(setup, "full", 0) is None
    train(setup, "full", 0)
    assert len(recorded.made) == 2


def test_stage_2_goes_on_from_stage_1_which_is_not_made_again(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(failing="instruction")
    monkeypatch.setattr(runs, "run_recipe", recorded)
    with pytest.raises(SampleError):
        train(setup, "grounded-first", 0)
    folder = run_folder(setup, "grounded-first", 0)
    assert list(json.loads((folder / TRAINED).read_text())) == ["grounding"]
    assert trained(setup, "grounded-first", 0) is None
    recorded.failing = None
    train(setup, "grounded-first", 0)
    assert [(stage, model) for stage, model, _ in recorded.made] == [
        ("grounding", setup.start),
        ("instruction", str(folder / "grounding" / "model")),
    ]
    # The projection is drawn anew before stage 1, and not again after it.
    assert torch.equal(recorded.made[0][2], recorded.made[1][2])


def test_a_fresh_projection_is_the_same_for_one_seed_and_both_rows_of_table_j(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Recorded()
    monkeypatch.setattr(runs, "run_recipe", recorded)
    for name, seed in (("ungrounded", 0), ("grounded-first", 0), ("ungrounded", 1), ("full", 0)):
        train(setup, name, seed)
    without, first, _, other_seed, kept = (weight for _, _, weight in recorded.made)
    assert torch.equal(without, first)
    assert not torch.equal(without, other_seed)
    assert not torch.equal(without, kept)


def test_renewing_a_projection_moves_nothing_else_and_no_other_chance() -> None:
    model, _ = make_tiny()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    state = torch.random.get_rng_state()
    renew_projection(model, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {f"seg_projection.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}

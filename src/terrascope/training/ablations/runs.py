"""The trainings of an ablation on disk: one folder for every way to train and every seed, made once and gone on with.

`runs/<training>/seed-<n>/` holds `run.json` (what decides it), the folders of its stages, and `trained.json` once it is
complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from terrascope.bench.store import GENERATED
from terrascope.errors import OutputError
from terrascope.model import hub
from terrascope.model.checkpoint import locate
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.output import written_whole
from terrascope.terracot.shard import hash_file
from terrascope.terracot.store import MANIFEST, open_store
from terrascope.training.ablations.judge import BUDGET, OwnChoice, sources_of
from terrascope.training.ablations.tables import TRAININGS, Training
from terrascope.training.recipe import Recipe, load_recipe
from terrascope.training.run import Tell, load_model, run_recipe

RUN, TRAINED = "run.json", "trained.json"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all runs of an ablation share.

    Attributes:
        store: folder of the training data.
        roots: for each of its sources the folder in which its scenes lie.
        start: the model that every training starts from: `nano`, a folder, or a hub id.
        out: folder of runs, questions and tables.
        recipe, grounding_recipe: base of every training, and of the stage 1 that goes before some, by name or file.
        overrides: `key=value`, for all trainings.
        num_seeds: trainings of each kind, by the seeds from 0 on.
        steps: optimiser steps of every stage; None for those of the recipe.
        num_questions: of each task, at most.
        split: of the data sets, on which the questions are.
        choice: how an option is chosen.
        budget: positions that may follow a prompt.
        device: on which the model is asked.
    """

    store: Path
    roots: Mapping[str, str] = field(default_factory=dict)
    start: str = "nano"
    out: Path
    recipe: str = "nano-stage2"
    grounding_recipe: str = "nano-stage1"
    overrides: Sequence[str] = ()
    num_seeds: int = 3
    steps: int | None = None
    num_questions: int = 100
    split: str = "val"
    choice: OwnChoice = "letter"
    budget: int = BUDGET
    device: str = "auto"

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(range(self.num_seeds))


Progress = Callable[[int, int], None]


class Train(Protocol):
    """Makes the run of a training and a seed, or goes on with it; returns the folder of its checkpoint."""

    def __call__(
        self, setup: Setup, name: str, seed: int, *, tell: Tell | None = None, progress: Progress | None = None
    ) -> Path: ...


def run_folder(setup: Setup, name: str, seed: int) -> Path:
    return setup.out / "runs" / name / f"seed-{seed}"


def stages_of(setup: Setup, training: Training, seed: int) -> dict[str, Recipe]:
    """The recipes of a training, in the order in which they run, by the names of their folders.

    Raises:
        RecipeError: the base recipe, or an override, is none.
        SampleError: the folder of a source is not given.
    """
    shared: dict[str, Any] = {
        "store": str(setup.store.resolve()),
        **{f"read.{name}": place for name, place in _readings(setup).items()},
        "model": setup.start,
        "scene_cache": str((setup.out / "scenes").resolve()),
        "seed": seed,
        # Variants with longer sequences would learn from fewer samples.
        "data.max_positions": None,
    }
    if setup.steps is not None:
        shared["max_steps"] = setup.steps
    common = [*_written(shared), *setup.overrides]
    stages = {}
    if training.grounding_first:
        settings = {name: value for name, value in training.fields.items() if name.startswith("settings.")}
        stages["grounding"] = load_recipe(setup.grounding_recipe, [*common, *_written(settings)])
    stages["instruction"] = load_recipe(setup.recipe, [*common, *_written(training.fields)])
    return stages


def _readings(setup: Setup) -> dict[str, str]:
    """Where the scenes of each source lie, as `terrascope train --read` takes it."""
    readings = {}
    for source in sources_of(open_store(setup.store), setup.roots):
        # Of generated scenes the root is a number, given or not.
        is_folder = source.name in setup.roots and (source.kind or source.name) != GENERATED
        root = str(source.root.resolve()) if is_folder else str(source.root)
        name = source.name if source.kind in (None, source.name) else f"{source.name}:{source.kind}"
        readings[name] = ",".join([root, *(f"{option}={value}" for option, value in source.options.items())])
    return readings


def describe_run(setup: Setup, training: Training, seed: int, *, start: str, data: str) -> dict[str, Any]:
    """What decides a run, as JSON values.

    Args:
        start: `fingerprint` of the start weights.
        data: `fingerprint_data` of the training data.
    """
    stages = {name: recipe.deciding() for name, recipe in stages_of(setup, training, seed).items()}
    for stage in stages.values():
        # Told by its fingerprint: the same weights may lie elsewhere.
        del stage["model"]
    return {
        "start": start,
        "data": data,
        "stages": stages,
        "fresh_projection": training.fresh_projection,
    }


def begin_runs(setup: Setup, names: Sequence[str]) -> None:
    """Note what decides each run before any starts, or see that the same is noted already.

    Raises:
        OutputError: a run of other settings lies in the folder.
        RecipeError: the base recipe, or an override, is none.
        ModelError: there is no such start model.
    """
    start, data = fingerprint(setup.start), fingerprint_data(setup.store)
    for name in names:
        for seed in setup.seeds:
            path = run_folder(setup, name, seed) / RUN
            wanted = json.loads(json.dumps(describe_run(setup, TRAININGS[name], seed, start=start, data=data)))
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(path, wanted)
            elif (there := json.loads(path.read_text(encoding="utf-8"))) != wanted:
                raise OutputError(
                    f"{path}: a run with other settings ({', '.join(_differing(there, wanted)[:3])}); "
                    "give another --out, or the same settings"
                )


def fingerprint(name: str) -> str:
    """SHA-256 of a model's configuration and weights.

    Raises:
        ModelError: there is no such model.
    """
    place = Path(locate(name))
    folder = place if place.is_dir() else hub.fetch(name)
    digest = hashlib.sha256()
    for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        digest.update(f"{path.name} {hash_file(path)}\n".encode())
    return digest.hexdigest()


def fingerprint_data(store: Path) -> str:
    """SHA-256 of a data set's manifest, which holds those of its shards; of a single file, its own."""
    return hash_file(store / MANIFEST if store.is_dir() else store)


def trained(setup: Setup, name: str, seed: int) -> Path | None:
    """The checkpoint of a run; None where it is not complete."""
    folder = run_folder(setup, name, seed)
    done = _stages_done(folder)
    last = [*stages_of(setup, TRAININGS[name], seed)][-1]
    return folder / done[last]["model"] if last in done else None


def train(setup: Setup, name: str, seed: int, *, tell: Tell | None = None, progress: Progress | None = None) -> Path:
    """Make a run, or go on with it; a stage that is complete is left as it is.

    Args:
        tell: called with sentences on what is trained.
        progress: called with the steps of a stage that are done, and all.

    Raises:
        TerraScopeError: the training failed for a reason that can be mended.
    """
    training, folder = TRAININGS[name], run_folder(setup, name, seed)
    done, place = _stages_done(folder), setup.start
    for number, (stage, recipe) in enumerate(stages_of(setup, training, seed).items()):
        if stage not in done:
            recipe = recipe.model_copy(update={"model": place})
            model, processor = load_model(recipe, tell)
            if training.fresh_projection and number == 0:
                renew_projection(model, seed)
            result = run_recipe(
                recipe,
                folder / stage,
                model=model,
                processor=processor,
                tell=tell,
                progress=None if progress is None else lambda steps, total, _: progress(steps, total),
            )
            made = str(result.model.resolve().relative_to(folder.resolve()))
            done[stage] = {"model": made, "num_steps": result.num_steps, "log": result.log}
            _write(folder / TRAINED, done)
        place = str(folder / done[stage]["model"])
    return Path(place)


def renew_projection(model: TerraScopeForConditionalGeneration, seed: int) -> None:
    """Draw the projection of [SEG] states anew, as it is before any training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.seg_projection:
            if isinstance(module, torch.nn.Linear):
                module.reset_parameters()


def _stages_done(folder: Path) -> dict[str, Any]:
    """The stages of a run that are complete and whose checkpoint is still there."""
    path = folder / TRAINED
    done = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {stage: made for stage, made in done.items() if (folder / made["model"] / "config.json").is_file()}


def _written(fields: Mapping[str, Any]) -> list[str]:
    """Fields as overrides of a recipe; JSON is YAML."""
    return [f"{name}={json.dumps(value)}" for name, value in fields.items()]


def _differing(there: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of what differs."""
    found = []
    for name in dict.fromkeys([*there, *wanted]):
        one, other = there.get(name), wanted.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            found += _differing(one, other, f"{prefix}{name}.")
        elif one != other:
            found.append(f"{prefix}{name}")
    return found


def _write(path: Path, values: Mapping[str, Any]) -> None:
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

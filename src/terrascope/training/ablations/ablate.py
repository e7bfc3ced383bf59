"""One table, from its trainings to its report: every run is made or taken up, judged, and compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from terrascope.bench.score import Score, score
from terrascope.bench.store import open_bench
from terrascope.errors import OutputError, TerraScopeError
from terrascope.model import TerraScope
from terrascope.model.checkpoint import take_settings
from terrascope.output import check_folder
from terrascope.terracot.store import open_store
from terrascope.training.ablations.compare import Judged, compare
from terrascope.training.ablations.judge import (
    Questions,
    ask_all,
    build_questions,
    choose_questions,
    judge_recipe,
    note_asking,
    read_answers,
    read_costs,
    sources_of,
)
from terrascope.training.ablations.report import Cost, Failure, Finding, write_report
from terrascope.training.ablations.runs import (
    RUN,
    Progress,
    Setup,
    Train,
    begin_runs,
    run_folder,
    stages_of,
    train,
    trained,
)
from terrascope.training.ablations.tables import TRAININGS, Table, Variant, table_named
from terrascope.training.recipe import Recipe

Tell = Callable[[str], None]
UNTRAINED = "start"
"""Where the start weights are judged, beside the names of trainings."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A variant under one seed: its score, and where its replies lie."""

    score: Score
    folder: Path


def ablate(
    name: str,
    setup: Setup,
    *,
    train: Train = train,
    stage: Tell | None = None,
    tell: Tell | None = None,
    progress: Progress | None = None,
) -> Finding:
    """Make a table: train what is not trained yet, judge what is not judged yet, compare, and write the report.

    A run that fails is listed in the report and tried again by the next call; the others go on.

    Args:
        name: of the table.
        train: makes one run.
        stage: called with what is done next.
        tell: called with the plan before anything is trained, then with sentences on what is trained.
        progress: called with how much of that is done, and all: steps, or questions.

    Raises:
        RecipeError: there is no such table, or a recipe or an override is none.
        SampleError: the training data cannot be used, or nothing can be asked.
        OutputError: the folder cannot be written, or holds runs of other settings.
        ModelError: the start model cannot be used.
    """
    table, say, advance = table_named(name), stage or (lambda _: None), progress or (lambda done, total: None)
    store = open_store(setup.store)
    sources = sources_of(store, setup.roots)
    _make_folder(setup.out)
    begin_runs(setup, table.trainings)
    say("building the questions")
    recipe = judge_recipe(sources, num_questions=setup.num_questions, split=setup.split)
    build_questions(recipe, store, setup.out / "questions", lambda _, done, total: advance(done, total))
    roots = {source.name: str(source.root) for source in sources}
    questions = choose_questions(open_bench(setup.out / "questions", roots), table.asked)
    if tell is not None:
        tell(plan_of(name, table, setup, questions))
    answered: dict[str, dict[int, Answered]] = {variant.name: {} for variant in table.variants}
    failures = []
    for seed in setup.seeds:
        failed = set()
        for training in table.trainings:
            say(f"training {training}, seed {seed}")
            try:
                train(setup, training, seed, tell=tell, progress=advance)
            except _FAILING as error:
                failed.add(training)
                failures.append(Failure(what=f"training {training}", seed=seed, reason=_one_line(error)))
        for variant in table.variants:
            if variant.training in failed or (variant.training is None and seed != setup.seeds[0]):
                continue
            say(f"judging {variant.name}, seed {seed}")
            try:
                answered[variant.name][seed] = _judge(setup, table, variant, seed, questions, train, advance)
            except OutputError:
                raise
            except _FAILING as error:
                failures.append(Failure(what=f"judging {variant.name}", seed=seed, reason=_one_line(error)))
    finding = _find(name, table, setup, questions, answered, tuple(failures))
    write_report(finding, setup.out / "tables" / name)
    return finding


_FAILING = (TerraScopeError, RuntimeError, MemoryError, ArithmeticError, ValueError)
"""What ends a run and not the table: what a user can mend, and what torch and what reads data raise where memory or
numbers run out or a value is not what it should be."""


def _make_folder(out: Path) -> None:
    try:
        check_folder(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made ({error.strerror}); give another folder with --out") from None


def plan_of(name: str, table: Table, setup: Setup, questions: Questions) -> str:
    """What making the table takes, in a sentence or two: trainings, steps and questions."""
    num_trainings = len(table.trainings) * setup.num_seeds
    num_there = sum(trained(setup, training, seed) is not None for training in table.trainings for seed in setup.seeds)
    num_asked = sum(1 if variant.training is None else setup.num_seeds for variant in table.variants)
    num_places = len({(sample.source, sample.place) for sample in questions.samples})
    steps = sorted({_length_of(recipe) for kind in table.trainings for recipe in _recipes(setup, kind)})
    return (
        f"{name}: {table.title}. Trainings: {len(table.trainings)} x {setup.num_seeds} (seeds) = {num_trainings}, of "
        f"which {num_there} are complete; {' or '.join(steps)} in each stage. Questions: {len(questions.samples):,}, "
        f"places: {num_places:,}, rounds of asking: {num_asked}."
    )


def _recipes(setup: Setup, training: str) -> tuple[Recipe, ...]:
    return tuple(stages_of(setup, TRAININGS[training], setup.seeds[0]).values())


def _length_of(recipe: Recipe) -> str:
    return f"epochs: {recipe.epochs:g}" if recipe.max_steps is None else f"steps: {recipe.max_steps:,}"


def _judge(
    setup: Setup,
    table: Table,
    variant: Variant,
    seed: int,
    questions: Questions,
    train: Train,
    progress: Progress,
) -> Answered:
    """The score of a variant under one seed; the model is loaded only where answers are missing."""
    base = setup.out / "runs" / UNTRAINED if variant.training is None else run_folder(setup, variant.training, seed)
    folder = base / "judged" / setup.choice / judged_name(table, variant)
    asked = replace(questions, optical_only=variant.optical_only)
    noted = note_asking(asked, choice=setup.choice, settings=variant.test, budget=setup.budget)
    replies = read_answers(asked, folder, noted)
    if replies is None:
        place = setup.start if variant.training is None else str(train(setup, variant.training, seed))
        model = TerraScope.from_pretrained(place, device=setup.device)
        take_settings(model.model.config, model.processor, variant.test)
        ask_all(
            asked,
            model,
            folder,
            choice=setup.choice,
            settings=dict(variant.test),
            budget=setup.budget,
            progress=progress,
        )
        replies = read_answers(asked, folder, noted)
        assert replies is not None
    return Answered(score=score(asked.samples, replies, run=variant.name), folder=folder)


def judged_name(table: Table, variant: Variant) -> str:
    """The folder of a variant's answers: variants of one training that are asked alike share it."""
    parts = [table.asked, *(f"{name}={value}" for name, value in sorted(variant.test.items()))]
    return "-".join([*parts, "optical"] if variant.optical_only else parts)


def _find(
    name: str,
    table: Table,
    setup: Setup,
    questions: Questions,
    answered: dict[str, dict[int, Answered]],
    failures: tuple[Failure, ...],
) -> Finding:
    judged = [
        Judged(
            name=variant.name,
            scores={seed: one.score for seed, one in answered[variant.name].items()},
            is_trained=variant.training is not None,
        )
        for variant in table.variants
        if answered[variant.name]
    ]
    paper = {variant.name: variant.paper["macro"] for variant in table.variants if "macro" in variant.paper}
    rows, order = compare(judged, table.reference, paper)
    costs = {}
    for one in judged:
        all_costs = np.concatenate([read_costs(found.folder) for found in answered[one.name].values()])
        if len(all_costs):
            positions, injected = all_costs.mean(axis=0)
            costs[one.name] = Cost(positions=float(positions), injected=float(injected))
    return Finding(
        name=name,
        table=table,
        rows=rows,
        order=order,
        costs=costs,
        failures=failures,
        num_places=len({(sample.source, sample.place) for sample in questions.samples}),
        digest=questions.digest,
        settings=_settings(setup, table),
    )


def _settings(setup: Setup, table: Table) -> dict[str, Any]:
    """Everything that decides the table, as JSON values."""
    noted = {name: run_folder(setup, name, setup.seeds[0]) / RUN for name in table.trainings}
    runs = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in noted.items()}
    return {
        "recipe": setup.recipe,
        "overrides": list(setup.overrides),
        "seeds": list(setup.seeds),
        "steps": setup.steps,
        "questions_of_each_task": setup.num_questions,
        "split": setup.split,
        "choice": setup.choice,
        "budget": setup.budget,
        "trainings": runs,
        "tests": {
            variant.name: {
                "training": variant.training,
                "settings": dict(variant.test),
                "optical_only": variant.optical_only,
            }
            for variant in table.variants
        },
    }


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

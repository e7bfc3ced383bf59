"""The questions that judge all variants, and how a model is asked them.

They are built from the data sets that the training data was built from, on places of another split, and every variant
is judged by what it writes itself: a choice by measuring its masks would hide what the language model has learned.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from terrascope.answer import Answer
from terrascope.bench import build as builder
from terrascope.bench.derived import question_id
from terrascope.bench.item_predictor import Outcome, ask_of
from terrascope.bench.items import Benchmark, Item, Shown, digest_of, show_only, shown_of
from terrascope.bench.recipe import TASKS, BenchRecipe, BenchSource
from terrascope.bench.replies import Reply
from terrascope.bench.run import Progress, run
from terrascope.bench.run_folder import read_run
from terrascope.bench.store import GENERATED, open_bench
from terrascope.choice import nearest_option
from terrascope.errors import OutputError, SampleError, TerraScopeError
from terrascope.model.generation import GenerationSettings
from terrascope.model.terrascope import TerraScope
from terrascope.predictor import Ask
from terrascope.question import LETTERS
from terrascope.sample import Sample
from terrascope.scene import Scene
from terrascope.terracot.recipe import SourceRecipe
from terrascope.terracot.store import MANIFEST, Store, read_manifest
from terrascope.training.ablations.tables import Asked

OwnChoice = Literal["letter", "nearest"]
"""`letter`: the model names the option; `nearest`: it answers freely, and the option nearest to its words counts."""

COSTS = "positions.jsonl"

BUDGET = 1024
"""Positions that may follow a prompt, visual tokens included."""

_PER_CHIP = 3
_CHIPS_PER_QUESTION = 4


def sources_of(store: Store, roots: Mapping[str, str]) -> tuple[SourceRecipe, ...]:
    """The data sets that a training data set was built from.

    Args:
        roots: for each the folder in which its scenes lie; generated scenes need none.

    Raises:
        SampleError: the data set does not say how it was built, or a folder is not given.
    """
    if store.manifest is None:
        raise SampleError(f"{store.path}: a single file; give the folder of a data set, with its {MANIFEST}")
    sources = []
    for source in store.manifest["recipe"]["sources"]:
        name, kind = source["name"], source.get("kind")
        root = roots.get(name, source["root"] if (kind or name) == GENERATED else None)
        if root is None:
            raise SampleError(f"{store.path}: the folder of {name} was not given; name it with --read {name}=DIR")
        values = {"name": name, "kind": kind, "root": root, "options": source["options"]}
        sources.append(SourceRecipe.of(values, f"{store.path}: {MANIFEST}"))
    return tuple(sources)


def judge_recipe(sources: Sequence[SourceRecipe], *, num_questions: int, split: str, seed: int = 0) -> BenchRecipe:
    """What is asked of data sets.

    Args:
        num_questions: of each task, at most; of each source, four times as many chips are looked at.
        split: on which nothing was trained.
    """
    return BenchRecipe(
        sources=tuple(BenchSource.model_validate(source.model_dump()) for source in sources),
        split=split,
        seed=seed,
        quota=dict.fromkeys(TASKS, num_questions),
        per_chip=_PER_CHIP,
        limit=_CHIPS_PER_QUESTION * num_questions,
    )


def build_questions(recipe: BenchRecipe, store: Store, folder: Path, progress: builder.Progress | None = None) -> None:
    """Build the questions, or see that those that are there are of the same recipe.

    Raises:
        OutputError: the folder holds questions of another recipe.
        SampleError: nothing can be asked, or a place is one of the training data's.
    """
    if (folder / MANIFEST).is_file():
        if read_manifest(folder)["recipe"] != json.loads(json.dumps(recipe.public())):
            raise OutputError(f"{folder}: holds other questions than those asked for now; give another --out")
    else:
        builder.build(recipe, folder, progress)
    seen = {(record.source, record.place) for record in store.chips()}
    shared = next((sample for sample in open_bench(folder).samples if (sample.source, sample.place) in seen), None)
    if shared is not None:
        raise SampleError(
            f"{store.path}: shows {shared.source}/{shared.place}, which questions of the split {recipe.split} are "
            "about; build the training data from the split train alone"
        )


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Some questions of a benchmark, as a `Benchmark`; each of them once, however many versions there are.

    Attributes:
        bench: all of them.
        places: of those that are asked.
        optical_only: their scenes are shown without SAR images.
    """

    bench: Benchmark
    places: tuple[int, ...]
    optical_only: bool = False

    @property
    def name(self) -> str:
        return self.bench.name

    @property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(self.bench.samples[place] for place in self.places)

    @property
    def digest(self) -> str:
        return digest_of(self.samples)

    def item(self, index: int) -> Item:
        item = self.bench.item(self.places[index])
        return replace(item, scene=show_only(item.scene, "optical")) if self.optical_only else item


def choose_questions(bench: Benchmark, asked: Asked) -> Questions:
    """Of each question the version that shows most: optical and SAR where the scene has both.

    Raises:
        SampleError: only those about pairs are wanted, and there is none.
    """
    versions: dict[str, dict[Shown, int]] = defaultdict(dict)
    for place, sample in enumerate(bench.samples):
        versions[question_id(sample)][shown_of(sample)] = place
    order: tuple[Shown, ...] = ("both",) if asked == "pairs" else ("both", "optical", "sar")
    chosen = [next((found[shown] for shown in order if shown in found), None) for found in versions.values()]
    places = tuple(sorted(place for place in chosen if place is not None))
    if not places:
        raise SampleError(
            f"{bench.name}: no question is about an optical and a SAR image of one place; "
            "this table needs training data with such pairs"
        )
    return Questions(bench=bench, places=places)


class OwnAnswers:
    """A model asked so that what it writes decides; what every answer costs is noted in a file.

    Attributes:
        model: which answers.
        choice: how an option is chosen.
        costs: the file, a line an answer: id, positions of the whole sequence, and visual tokens fed back.
        budget: positions that may follow a prompt.
    """

    def __init__(self, model: TerraScope, choice: OwnChoice, costs: Path, budget: int = BUDGET) -> None:
        self.model, self.choice, self.costs = model, choice, costs
        self.settings = GenerationSettings(max_new_tokens=budget, look="whole", choice_rule="letter")

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
        shown = options if self.choice == "letter" else ()
        return self._choose(self.model.ask(scene, question, options=shown, settings=self.settings), tuple(options))

    def segment(self, scene: Scene, class_name: str) -> Answer:
        return self.model.segment(scene, class_name)

    def ask_items(self, items: Iterable[Item | TerraScopeError]) -> Iterator[Outcome]:
        """As `ItemsPredictor.ask_items`."""
        asked: deque[Item | TerraScopeError] = deque()

        def asks() -> Iterator[Ask | TerraScopeError]:
            for item in items:
                asked.append(item)
                if isinstance(item, TerraScopeError):
                    yield item
                else:
                    yield ask_of(item) if self.choice == "letter" else replace(ask_of(item), options=())

        for answer in self.model.ask_many(asks(), settings=self.settings):
            item = asked.popleft()
            if isinstance(answer, TerraScopeError) or isinstance(item, TerraScopeError):
                yield answer
                continue
            chosen = self._choose(answer, item.sample.options)
            self._note(item, chosen)
            yield chosen

    def _choose(self, answer: Answer, options: tuple[str, ...]) -> Answer:
        if self.choice == "letter" or not options:
            return answer
        place = nearest_option(answer.text, options)
        return replace(answer, options=options, text=answer.text if place is None else LETTERS[place])

    def _note(self, item: Item, answer: Answer) -> None:
        shown = item.sample.options if self.choice == "letter" else ()
        cost = {"id": item.sample.id, **count_positions(self.model, answer, shown)}
        with self.costs.open("a", encoding="utf-8") as file:
            # A line begins with the break: one that a killed run has left torn takes no other with it.
            file.write(f"\n{json.dumps(cost)}")


def count_positions(model: TerraScope, answer: Answer, options: Sequence[str]) -> dict[str, int]:
    """How long the sequence of an answer was: prompt, text and end, and the visual tokens that were fed back."""
    processor = model.processor
    prompt = processor.prepare_prompt(processor.describe(answer.scene), answer.question, options)
    written = processor.tokenizer(answer.reasoning, add_special_tokens=False)["input_ids"]
    injected = sum(step.num_tokens for step in answer.steps)
    return {"positions": len(prompt.input_ids) + len(written) + 1 + injected, "injected": injected}


def ask_all(
    questions: Questions,
    model: TerraScope,
    folder: Path,
    *,
    choice: OwnChoice,
    settings: Mapping[str, Any],
    budget: int = BUDGET,
    progress: Progress | None = None,
) -> None:
    """Ask a model all questions; a run that was stopped goes on.

    Args:
        settings: of the model, as they are noted.
        budget: positions that may follow a prompt.

    Raises:
        OutputError: the folder holds another run, or cannot be written.
        ModelError: too many questions in a row failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    noted = note_asking(questions, choice=choice, settings=settings, budget=budget)
    asked = OwnAnswers(model, choice, folder / COSTS, budget)
    run(questions, asked, folder, name="ablation", settings=noted, progress=progress)


def note_asking(
    questions: Questions, *, choice: OwnChoice, settings: Mapping[str, Any], budget: int = BUDGET
) -> dict[str, Any]:
    """How a model is asked, as the run's folder keeps it."""
    return {"choice": choice, "budget": budget, "optical_only": questions.optical_only, **settings}


def read_answers(questions: Questions, folder: Path, noted: Mapping[str, Any]) -> tuple[Reply, ...] | None:
    """The replies of a run; None where it has not been begun or is not finished.

    Args:
        noted: how the model was to be asked, from `note_asking`.

    Raises:
        OutputError: it was asked otherwise.
    """
    if not (folder / "run.json").is_file():
        return None
    about, replies = read_run(folder)
    if about["settings"] != dict(noted):
        name = next(key for key in (*noted, *about["settings"]) if about["settings"].get(key) != noted.get(key))
        raise OutputError(
            f"{folder}: was asked with {name}={about['settings'].get(name)!r}, not {noted.get(name)!r}; "
            "give another --out"
        )
    wanted = {sample.id for sample in questions.samples}
    found = tuple(reply for reply in replies if reply.id in wanted)
    return found if len(found) == len(wanted) else None


def read_costs(folder: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Positions and visual tokens fed back of each answer of a run, float64 `[answers, 2]`, in the order of ids."""
    costs = {}
    path = Path(folder) / COSTS
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            cost = json.loads(line)
            costs[cost["id"]] = (cost["positions"], cost["injected"])
        except (ValueError, KeyError):
            # Empty, or torn when a run was killed: its question was asked again.
            continue
    return np.array([costs[name] for name in sorted(costs)], np.float64).reshape(-1, 2)

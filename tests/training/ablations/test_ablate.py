"""A whole table: trained, judged and reported; what is there is taken up, and what fails is listed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from terrascope.answer import Answer
from terrascope.errors import OutputError, RecipeError, TrainingError
from terrascope.model import TerraScope
from terrascope.scene import Scene
from terrascope.training.ablations import ablate as ablating
from terrascope.training.ablations.ablate import ablate, judged_name
from terrascope.training.ablations.runs import Setup, run_folder
from terrascope.training.ablations.tables import TABLES
from tests.bench.made_benchmark import answer
from tests.model.conftest import make_tiny

FEW_STEPS = ("batch_size=2", "save_every=1", "precision=fp32", "data.max_samples=6", "objective.loss_size=16")


@pytest.fixture
def setup(data: Path, start: Path, tmp_path: Path) -> Setup:
    return Setup(
        store=data,
        start=str(start),
        out=tmp_path / "out",
        overrides=FEW_STEPS,
        num_seeds=2,
        steps=2,
        num_questions=1,
        budget=8,
        device="cpu",
    )


class Fake:
    """Stands for a training: its checkpoint is the start model. It notes who was asked for, and fails where told."""

    def __init__(self, *failing: tuple[str, int]) -> None:
        self.failing = failing
        self.asked: list[tuple[str, int]] = []

    def __call__(self, setup: Setup, name: str, seed: int, **how: object) -> Path:
        self.asked.append((name, seed))
        if (name, seed) in self.failing:
            raise TrainingError("the loss is not a number | after 2 steps")
        return Path(setup.start)


class Canned(TerraScope):
    """A tiny model that answers without being run: by the question's length, with a mask of the left half."""

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = (), **how: object) -> Answer:
        half = np.zeros(scene.shape, bool)
        half[:, : scene.shape[1] // 2] = True
        letter = "AB"[len(question) % 2]
        text = f"<think>The water: [SEG] It covers 50% of the image.</think><answer>{letter}</answer>"
        return answer(scene, question, options, text, half)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Canned:
    canned = Canned(*make_tiny(), "canned")
    monkeypatch.setattr(ablating.TerraScope, "from_pretrained", lambda *given, **named: canned)
    return canned


def test_two_variants_are_trained_judged_and_compared(setup: Setup) -> None:
    """Table A with a tiny model and two steps of training each."""
    finding = ablate("A", replace(setup, num_seeds=1))
    assert [row.name for row in finding.rows] == ["similarity", "mask"]
    assert [row.seeds for row in finding.rows] == [(0,), (0,)]
    assert finding.failures == ()
    for name in ("similar", "full"):
        folder = run_folder(setup, name, 0)
        trained = json.loads((folder / "trained.json").read_text())
        assert trained["instruction"]["num_steps"] == 2
        settings = json.loads((folder / "instruction" / "model" / "config.json").read_text())
        assert settings["interleave"] == {"similar": "similar", "full": "mask"}[name]
        assert (folder / "judged" / "letter" / "all" / "replies.jsonl").is_file()
    told = json.loads((setup.out / "tables" / "A" / "table.json").read_text())
    assert told["form"] == "terrascope-ablation/1"
    assert [row["paper"]["macro"] for row in told["rows"]] == [54.6, 68.9]
    assert told["rows"][0]["verdict"] in ("yes", "no", "not told apart")
    assert told["rows"][1]["verdict"] is None
    assert sum(told["order"][name] for name in ("num_same", "num_reversed", "num_open")) == 1
    assert told["settings"]["trainings"]["similar"]["stages"]["instruction"]["settings"]["interleave"] == "similar"
    assert told["rows"][0]["cost"]["positions"] > 0


def test_the_same_call_again_trains_and_asks_nothing_and_writes_the_same(
    setup: Setup, quick: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Fake()
    ablate("A", setup, train=fake)
    files = {path.name: path.read_bytes() for path in (setup.out / "tables" / "A").iterdir()}
    assert {"table.md", "table.json"} <= set(files)

    def refuse(*given: object, **named: object) -> None:
        raise AssertionError("a model is loaded though every answer is there")

    monkeypatch.setattr(ablating.TerraScope, "from_pretrained", refuse)
    ablate("A", setup, train=fake)
    assert {path.name: path.read_bytes() for path in (setup.out / "tables" / "A").iterdir()} == files


def test_another_folder_gives_the_same_bytes(setup: Setup, quick: Canned, tmp_path: Path) -> None:
    digests = set()
    for name in ("here", "there"):
        out = tmp_path / name
        ablate("A", replace(setup, out=out, num_seeds=1), train=Fake())
        digests.add(hashlib.sha256((out / "tables" / "A" / "table.json").read_bytes()).hexdigest())
        assert str(tmp_path) not in (out / "tables" / "A" / "table.json").read_text()
    assert len(digests) == 1


def test_a_killed_ablation_goes_on_where_it_was(setup: Setup, quick: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while the second seed is judged: what was answered before is not asked again."""
    begun: list[Path] = []
    real = ablating.ask_all

    def ask_then_die(questions, model, folder, **named):  # type: ignore[no-untyped-def]
        if len(begun) == 3:
            raise KeyboardInterrupt
        begun.append(folder)
        real(questions, model, folder, **named)

    monkeypatch.setattr(ablating, "ask_all", ask_then_die)
    paths = iter(range(100))
    fake = Fake()
    with pytest.raises(KeyboardInterrupt):
        ablate("A", setup, train=fake)
    assert not (setup.out / "tables").exists()
    assert len(begun) == 3
    monkeypatch.setattr(ablating, "ask_all", lambda *given, **named: (next(paths), real(*given, **named)))
    finding = ablate("A", setup, train=fake)
    assert next(paths) == 1  # one run was left
    assert [row.seeds for row in finding.rows] == [(0, 1), (0, 1)]


def test_a_run_that_fails_is_listed_and_the_others_go_on(setup: Setup, quick: Canned) -> None:
    fake = Fake(("similar", 1))
    finding = ablate("A", setup, train=fake)
    assert [row.seeds for row in finding.rows] == [(0,), (0, 1)]
    (failure,) = finding.failures
    assert (failure.what, failure.seed) == ("training similar", 1)
    page = (setup.out / "tables" / "A" / "table.md").read_text()
    assert "| training similar | 1 | the loss is not a number \\| after 2 steps |" in page
    # The next call tries it again.
    fake.failing = ()
    assert ablate("A", setup, train=fake).failures == ()


def test_a_variant_of_which_every_run_failed_has_no_row(setup: Setup, quick: Canned) -> None:
    finding = ablate("A", setup, train=Fake(("full", 0), ("full", 1)))
    (row,) = finding.rows
    assert (row.name, row.difference.num, row.verdict) == ("similarity", 0, None)
    assert finding.order.verdict is None


def test_a_value_that_is_wrong_ends_one_training_and_not_the_ablation(setup: Setup, quick: Canned) -> None:
    fake = Fake()

    def broken(setup: Setup, name: str, seed: int, **how: object) -> Path:
        if (name, seed) == ("similar", 0):
            raise ValueError("cannot reshape")
        return fake(setup, name, seed)

    finding = ablate("A", setup, train=broken)
    assert [(failure.what, failure.seed, failure.reason) for failure in finding.failures] == [
        ("training similar", 0, "cannot reshape")
    ]
    assert [row.seeds for row in finding.rows] == [(1,), (0, 1)]


def test_the_plan_is_told_before_anything_is_trained(setup: Setup, quick: Canned) -> None:
    told: list[str] = []
    before: list[int] = []
    fake = Fake()

    def note(setup: Setup, name: str, seed: int, **how: object) -> Path:
        before.append(len(told))
        return fake(setup, name, seed)

    finding = ablate("2", setup, train=note, tell=told.append)
    assert told == [
        "2: What is interleaved with the reasoning. Trainings: 5 x 2 (seeds) = 10, of which 0 are complete; steps: 2 "
        f"in each stage. Questions: {finding.rows[0].num_questions}, places: {finding.num_places}, "
        "rounds of asking: 11."
    ]
    assert min(before) == 1


def test_a_folder_that_cannot_be_made_is_told(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *given: object, **named: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        OutputError, match=r"cannot be made \(No such file or directory\); give another folder with --out"
    ):
        ablate("A", setup)


def test_a_failure_that_no_one_foresaw_ends_the_ablation(setup: Setup, quick: Canned) -> None:
    def broken(setup: Setup, name: str, seed: int, **how: object) -> Path:
        raise TypeError("a fault of the program")

    with pytest.raises(TypeError):
        ablate("A", setup, train=broken)


def test_start_weights_are_judged_once_and_trained_variants_for_every_seed(setup: Setup, quick: Canned) -> None:
    fake = Fake()
    finding = ablate("2", setup, train=fake)
    assert finding.rows[0].name == "original"
    assert finding.rows[0].seeds == ()
    assert all(row.seeds == (0, 1) for row in finding.rows[1:])
    assert {path.name for path in (setup.out / "runs").iterdir()} == {
        "start", "textual", "segmentation", "random", "box", "full"
    }  # fmt: skip
    assert "| original | 33.8 % |" in (setup.out / "tables" / "2" / "table.md").read_text()


def test_tables_share_the_runs_of_the_same_training(setup: Setup, quick: Canned) -> None:
    small = replace(setup, num_seeds=1)
    ablate("A", small, train=Fake())
    replies = run_folder(small, "full", 0) / "judged" / "letter" / "all" / "replies.jsonl"
    before = replies.stat().st_mtime_ns
    finding = ablate("6", small, train=Fake())
    assert replies.stat().st_mtime_ns == before
    assert finding.order.verdict is None


def test_another_choice_asks_anew_and_another_budget_is_refused(setup: Setup, quick: Canned) -> None:
    small = replace(setup, num_seeds=1)
    ablate("6", small, train=Fake())
    judged = run_folder(small, "full", 0) / "judged"
    ablate("6", replace(small, choice="nearest"), train=Fake())
    about = {kind: json.loads((judged / kind / "all" / "run.json").read_text()) for kind in ("letter", "nearest")}
    assert {kind: one["settings"]["choice"] for kind, one in about.items()} == {
        "letter": "letter",
        "nearest": "nearest",
    }
    with pytest.raises(OutputError, match=r"was asked with budget=\d+, not 77; give another --out"):
        ablate("6", replace(small, budget=77), train=Fake())


def test_table_3_asks_one_training_with_and_without_sar(setup: Setup, quick: Canned) -> None:
    ablate("3", replace(setup, num_seeds=1), train=Fake())
    judged = run_folder(setup, "optical", 0) / "judged" / "letter"
    assert {path.name for path in judged.iterdir()} == {"pairs", "pairs-optical"}
    for name, alone in (("pairs", False), ("pairs-optical", True)):
        about = json.loads((judged / name / "run.json").read_text())
        assert about["settings"]["optical_only"] is alone


def test_the_name_of_a_folder_tells_variants_apart() -> None:
    names = {(variant.training, judged_name(table, variant)) for table in TABLES.values() for variant in table.variants}
    # "full" is asked all questions in six tables, and the pairs in three: two folders.
    assert sum(training == "full" for training, _ in names) == 2


def test_an_unknown_table_or_a_folder_that_is_a_file_is_refused_at_once(setup: Setup) -> None:
    with pytest.raises(RecipeError, match="there is no table"):
        ablate("Z", setup)
    setup.out.write_text("in the way")
    with pytest.raises(OutputError, match="a file stands where the output folder should be"):
        ablate("A", setup)

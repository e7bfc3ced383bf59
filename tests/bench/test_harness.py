"""What is handed to the harnesses of others, read back as they read it: `datasets` and the YAML's functions, pandas."""

from __future__ import annotations

import ast
import base64
import importlib.util
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from terrascope.bench import lmms_task
from terrascope.bench.external.benchmark import ExternalBenchmark, make_sample
from terrascope.bench.harness import Handed, export_harness
from terrascope.bench.parsing import read_choice
from terrascope.bench.prompts import make_turns
from terrascope.errors import OutputError, SampleError, TerraScopeError
from terrascope.rasters.overlay import to_bytes
from terrascope.rasters.sensors import render
from terrascope.sample import Sample, SampleImage
from terrascope.scene import Scene
from terrascope.sources.chips import ChipError
from tests.oracle import make_scene

OPTICAL = SampleImage(number=1, modality="optical", sensor="rgb")
LATER = SampleImage(number=2, modality="optical", sensor="rgb")


def question(number: int, **values: Any) -> Sample:
    told: dict[str, Any] = {"task": "coverage", "question": "What share is water?", "options": ("10%", "30%"),
                            "truth": "30%", "images": (OPTICAL,), "key": "a"}  # fmt: skip
    return make_sample(name="My Bench", number=number, **told | values)


def scene_of(sample: Sample) -> Scene:
    """One date or two, of which the second is the first upside down; `key` broken cannot be read."""
    if sample.key == "broken":
        raise ChipError("broken: not a readable picture", reason="unreadable image")
    scene = make_scene()
    if sample.num_dates == 1:
        return scene
    first = scene.pairs[0].optical
    assert first is not None
    turned = type(first)(**{**vars(first), "pixels": np.asarray(first.pixels)[:, ::-1]})
    return Scene.of(optical=[first, turned])


def benchmark(*samples: Sample) -> ExternalBenchmark:
    return ExternalBenchmark(name="My Bench", samples=samples, skipped={}, read=scene_of)


def pictures_of(sample: Sample) -> list[np.ndarray]:
    return [to_bytes(render(image)) for image in scene_of(sample).observations]


ONE = question(0)
TWO_DATES = question(
    1, task="change", images=(OPTICAL, LATER), question='What "changed"?\nLook\twell.', options=("None", "12", "true"),
    truth="12",
)  # fmt: skip
AGAIN = question(2, task="change", images=(OPTICAL, LATER), options=("yes", "no"), truth="yes", question="Did it?")
FREE = question(3, options=(), truth="30%")
BROKEN = question(4, key="broken")
FIVE = question(5, options=("0", "1", "2", "3", "more"), truth="more", task="count", question="How many?")
ALL = (ONE, TWO_DATES, AGAIN, FREE, BROKEN, FIVE)


# ---------------------------------------------------------------------------------------------------------------------
# lmms-eval


class Task:
    """A task as lmms-eval 0.7 opens it: functions from the file beside the YAML, rows by `datasets`."""

    def __init__(self, path: Path, cache: Path) -> None:
        self.functions = load_module(path.with_name("utils.py"))
        loader = type("Loader", (yaml.FullLoader,), {})
        loader.add_constructor("!function", lambda _, node: getattr(self.functions, node.value.removeprefix("utils.")))
        self.config = yaml.load(path.read_text(encoding="utf-8"), loader)
        files = {split: str(path.parent / name) for split, name in self.config["dataset_kwargs"]["data_files"].items()}
        loaded = datasets.load_dataset(self.config["dataset_path"], data_files=files, cache_dir=str(cache))
        self.rows = loaded[self.config["test_split"]]

    def score(self, answers: Sequence[str]) -> dict[str, float]:
        results = [self.config["process_results"](row, [said]) for row, said in zip(self.rows, answers, strict=True)]
        return {
            metric["metric"]: metric["aggregation"]([r[metric["metric"]] for r in results if metric["metric"] in r])
            for metric in self.config["metric_list"]
        }


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("utils", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lmms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Handed, Path]:
    out = tmp_path_factory.mktemp("lmms")
    return export_harness(benchmark(*ALL), out, "lmms-eval"), out


def test_a_task_folder_holds_both_forms(lmms: tuple[Handed, Path]) -> None:
    handed, out = lmms
    assert set(handed.files) == {"my_bench.parquet", "utils.py", "my_bench.yaml", "my_bench_side_by_side.yaml"}
    assert {path.name for path in out.iterdir()} == set(handed.files)
    assert handed.num_questions == 4
    assert handed.left_out == {"free question": 1, "unreadable image": 1}


def test_rows_have_the_pictures_that_our_runner_shows(lmms: tuple[Handed, Path], tmp_path: Path) -> None:
    task = Task(lmms[1] / "my_bench.yaml", tmp_path)
    assert task.config["task"] == "my_bench" and len(task.rows) == 4
    for row, sample in zip(task.rows, (ONE, TWO_DATES, AGAIN, FIVE), strict=True):
        shown = [np.asarray(picture) for picture in task.config["doc_to_visual"](row)]
        assert len(shown) == len(sample.images)
        assert all((a == b).all() for a, b in zip(shown, pictures_of(sample), strict=True))
        assert row[task.config["doc_to_target"]] == sample.answer and row["id"] == sample.id
    text = task.config["doc_to_text"](task.rows[0])
    assert text.endswith(
        "What share is water?\nA. 10%\nB. 30%\n"
        "Please respond with only the option letter (A or B) corresponding to your answer."
    )
    assert task.config["doc_to_text"](task.rows[0], {"pre_prompt": "<", "post_prompt": ">"}) == f"<{text}>"


def test_side_by_side_is_one_picture_of_the_same_rows(lmms: tuple[Handed, Path], tmp_path: Path) -> None:
    task = Task(lmms[1] / "my_bench_side_by_side.yaml", tmp_path)
    assert task.config["task"] == "my_bench_side_by_side"
    (alone,) = task.config["doc_to_visual"](task.rows[0])
    assert (np.asarray(alone) == pictures_of(ONE)[0]).all()
    (joined,) = task.config["doc_to_visual"](task.rows[1])
    ours = make_turns(scene_of(TWO_DATES), TWO_DATES.question, TWO_DATES.options, several="side-by-side")[0].pictures[0]
    assert (np.asarray(joined) == ours).all()
    assert (ours[:, : alone.width] == pictures_of(TWO_DATES)[0]).all()
    assert "side by side" in task.config["doc_to_text"](task.rows[1])
    assert "side by side" not in task.config["doc_to_text"](task.rows[0])


def test_scores_of_known_answers(lmms: tuple[Handed, Path], tmp_path: Path) -> None:
    task = Task(lmms[1] / "my_bench.yaml", tmp_path)
    # coverage: right; change: wrong, right; count: no letter of its options.
    scores = task.score(["B", "C", "<think>B</think><answer>A</answer>", "none of them"])
    assert scores == {
        "macro_accuracy": pytest.approx((1 + 0.5 + 0) / 3), "micro_accuracy": 0.5, "unparsable": 0.25,
        "accuracy_coverage": 1.0, "accuracy_change": 0.5, "accuracy_count": 0.0,
    }  # fmt: skip
    assert task.score(["B", "B", "A", "E"])["macro_accuracy"] == 1.0
    assert task.score(["C", "D", "C", "F"])["unparsable"] == 1.0, "letters of options that are not there"


def test_the_functions_need_nothing_of_ours(lmms: tuple[Handed, Path]) -> None:
    tree = ast.parse((lmms[1] / "utils.py").read_text())
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in named} - set(sys.stdlib_module_names) == {"PIL"}


@given(st.text(alphabet="ABCDEab .:()<>/nswerthik", max_size=40), st.integers(2, 5))
def test_letters_are_read_by_the_papers_rule(text: str, num_options: int) -> None:
    options = [str(number) for number in range(num_options)]
    assert lmms_task.read_letter(text, "ABCDE"[:num_options]) == read_choice(text, options, "paper")


@pytest.mark.parametrize(
    ("text", "letter"),
    [("B", "B"), ("(C) 12%", "C"), ("A large lake, so B", "A"), ("b", None), ("", None), ("E", None),
     ("<think>A or B</think> <answer>D</answer>", "D"), ("<think>A</think> it is C", "C")],
)  # fmt: skip
def test_a_letter_of_an_answer(text: str, letter: str | None) -> None:
    assert lmms_task.read_letter(text, "ABCD") == letter


# ---------------------------------------------------------------------------------------------------------------------
# VLMEvalKit


def read_table(path: Path) -> tuple[pd.DataFrame, list[list[np.ndarray]]]:
    """A table and the pictures of its rows, with references to earlier rows followed as the kit does."""
    table = pd.read_csv(path, sep="\t")
    cells = {str(index): str(cell) for index, cell in zip(table["index"], table["image"], strict=True)}
    cells |= {index: cells[cell] for index, cell in cells.items() if len(cell) <= 64}
    lists = [ast.literal_eval(cell) if cell.startswith("[") else [cell] for cell in cells.values()]
    return table, [[np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in each] for each in lists]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("LMUData")
    handed = export_harness(benchmark(*ALL), out, "vlmevalkit")
    assert handed.files == ("my_bench.tsv", "my_bench_side_by_side.tsv") and handed.num_questions == 4
    return out


def test_a_table_as_pandas_reads_it(tables: Path) -> None:
    table, pictures = read_table(tables / "my_bench.tsv")
    assert table["index"].tolist() == [0, 1, 2, 3]
    assert table["answer"].tolist() == ["B", "B", "A", "E"]
    assert table["category"].tolist() == ["coverage", "change", "change", "count"]
    for row, shown, sample in zip(table.to_dict("records"), pictures, (ONE, TWO_DATES, AGAIN, FIVE), strict=True):
        assert len(shown) == len(sample.images)
        assert all((a == b).all() for a, b in zip(shown, pictures_of(sample), strict=True))
        options = [row[letter] for letter in "ABCDE" if not pd.isna(row[letter])]
        assert [str(option).strip() for option in options] == list(sample.options)
        assert all(isinstance(option, str) for option in options), "neither numbers nor nothing"
        assert row["question"].endswith(sample.question) and "Please respond" not in row["question"]


def test_pictures_of_a_scene_are_written_once(tables: Path) -> None:
    table = pd.read_csv(tables / "my_bench.tsv", sep="\t", dtype=str)
    assert table["image"][2] == "1" and table["image"][3] == "0"
    assert table["image_path"].tolist() == ["0_1.png", "['1_1.png', '1_2.png']", "['1_1.png', '1_2.png']", "0_1.png"]


def test_the_other_table_shows_dates_side_by_side(tables: Path) -> None:
    table, pictures = read_table(tables / "my_bench_side_by_side.tsv")
    assert [len(shown) for shown in pictures] == [1, 1, 1, 1]
    first, second = pictures_of(TWO_DATES)
    assert (pictures[1][0][:, : first.shape[1]] == first).all()
    assert (pictures[1][0][:, -second.shape[1] :] == second).all()
    assert (pictures[0][0] == pictures_of(ONE)[0]).all()
    assert "side by side" in table["question"][1] and "side by side" not in table["question"][0]


def test_a_benchmark_of_single_images_is_one_table(tmp_path: Path) -> None:
    handed = export_harness(benchmark(ONE), tmp_path, "vlmevalkit")
    assert handed.files == ("my_bench.tsv",)
    assert "image_path" not in pd.read_csv(tmp_path / "my_bench.tsv", sep="\t").columns
    assert export_harness(benchmark(ONE), tmp_path, "lmms-eval").files == (
        "my_bench.parquet", "utils.py", "my_bench.yaml",
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Both


def test_progress_counts_every_question(tmp_path: Path) -> None:
    told: list[int] = []
    export_harness(benchmark(*ALL), tmp_path, "vlmevalkit", told.append)
    assert told == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("kind", ["lmms-eval", "vlmevalkit"])
def test_what_cannot_be_handed_over_leaves_the_folder_as_it_was(kind: str, tmp_path: Path) -> None:
    for samples, says in ((FREE,), "no question has options"), ((BROKEN,), "the images of no question can be read"):
        with pytest.raises(SampleError, match=says):
            export_harness(benchmark(*samples), tmp_path, kind)
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError, match="a file stands where the output folder should be"):
        export_harness(benchmark(ONE), file, kind)


def test_an_unknown_harness(tmp_path: Path) -> None:
    with pytest.raises(TerraScopeError, match="unknown harness 'helm'; choose one of lmms-eval, vlmevalkit"):
        export_harness(benchmark(ONE), tmp_path, "helm")

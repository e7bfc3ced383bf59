"""Predictors by the names that are typed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from terrascope.bench.baselines import (
    Blanked,
    ChangedMasks,
    Forest,
    OracleMasks,
    RandomGuess,
    box_of,
    shifted,
)
from terrascope.bench.predictors import Means, open_predictor
from terrascope.errors import ModelError, SampleError
from terrascope.rasters.sensors import render
from terrascope.sample import arrow_schema
from tests.bench.baselines.test_forest import make_chip
from tests.bench.made_benchmark import Scripted, make_benchmark, make_scene


def test_models_are_opened_by_who_was_given_for_them() -> None:
    opened: list[tuple[str, str]] = []

    def opens(kind: str):  # type: ignore[no-untyped-def]
        def load(name: str) -> Scripted:
            opened.append((kind, name))
            return Scripted()

        return load

    means = Means(load_model=opens("model"), load_vlm=opens("vlm"), load_endpoint=opens("endpoint"))
    for name in (
        "nano",
        "./folder",
        "sy1998/TerraScope",
        "vlm:OpenGVLab/InternVL3-8B-hf",
        "endpoint:gpt:4",
        "vlm:./a:b",
    ):
        assert isinstance(open_predictor(name, means), Scripted)
    assert opened == [
        ("model", "nano"),
        ("model", "./folder"),
        ("model", "sy1998/TerraScope"),
        ("vlm", "OpenGVLab/InternVL3-8B-hf"),
        ("endpoint", "gpt:4"),
        ("vlm", "./a:b"),
    ]


def test_baselines_are_what_they_are_called() -> None:
    assert isinstance(open_predictor("oracle", Means()), OracleMasks)
    guess = open_predictor("random", Means(seed=7))
    assert isinstance(guess, RandomGuess) and guess.seed == 7
    pytest.importorskip("sklearn", reason="the forest needs scikit-learn, which comes with the dev extra")
    forest = open_predictor("forest", Means(chips=lambda: [make_chip()], seed=3))
    assert isinstance(forest, Forest) and forest.seed == 3


def test_what_stands_before_a_colon_is_taken_from_what_follows() -> None:
    means = Means(load_model=lambda name: Scripted(), seed=2)
    box = open_predictor("box:nano", means)
    assert isinstance(box, ChangedMasks) and isinstance(box.inner, Scripted) and box.change is box_of
    assert box.name == "box:nano"
    moved = open_predictor("random-mask:oracle", means)
    assert isinstance(moved, ChangedMasks) and (moved.change, moved.seed) == (shifted, 2)
    both = open_predictor("box:blank-sar:nano", means)
    assert isinstance(both, ChangedMasks) and isinstance(both.inner, Blanked)
    assert both.inner.modalities == {"sar"} and both.inner.name == "blank-sar:nano"
    blank = open_predictor("blank:random", means)
    assert isinstance(blank, Blanked) and blank.modalities == {"optical", "sar"}
    only = open_predictor("blank-optical:nano", means)
    assert isinstance(only, Blanked) and only.modalities == {"optical"}


def test_a_blank_asks_about_a_blank() -> None:
    blank = open_predictor("blank:nano", Means(load_model=lambda name: Scripted()))
    answer = blank.ask(make_scene(), "How much is water?", options=["1%", "20%"])
    np.testing.assert_allclose(render(answer.scene.observations[0]), 0.5, atol=1e-6)


def test_majority_learns_from_the_first_level_of_a_data_set(tmp_path: Path) -> None:
    """Level 1 says that the third of four shares is right; what other levels say does not count."""
    sample = make_benchmark(1).items[0].sample
    options = ("40%", "5%", "60%", "20%")
    rows = [
        replace(sample, id=f"{level}/{n}", level=level, options=options, truth=truth).to_row()
        for level, truth, num in (("L1", "40%", 3), ("L1", "5%", 2), ("L2", "60%", 9))
        for n in range(num)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema()), tmp_path / "train.parquet")
    majority = open_predictor("majority", Means(training=tmp_path / "train.parquet"))
    answer = majority.ask(make_scene(), "How much of the image is water?", options=["90%", "70%", "80%", "10%"])
    assert (answer.text, answer.option) == ("C", "80%")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("majority", "majority needs a training data set"),
        ("forest", "forest needs labelled training chips"),
        ("box:majority", "majority needs a training data set"),
        ("nano", "'nano' cannot be opened here; choose one of random, majority, forest, oracle"),
        ("vlm:a/b", "'vlm:a/b' cannot be opened here"),
        ("vlm:", "'vlm:' names no model"),
        ("box:", "'' names no model"),
        ("", "'' names no model"),
    ],
)
def test_what_cannot_be_opened_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        open_predictor(name, Means())


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"manifest\.json: not found"):
        open_predictor("majority", Means(training=tmp_path))

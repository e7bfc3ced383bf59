"""Batches on Ray: the same results as in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from terrascope.batch.asking import ask_scenes
from terrascope.batch.ray_engine import ask_on_ray
from terrascope.batch.result import Result
from terrascope.errors import ModelError, SampleError
from terrascope.predictor import Predictor
from tests.batch.made_manifests import load_oracle, make_plan
from tests.oracle import Oracle


def broken() -> Predictor:
    raise ModelError("unknown model 'nanoo'")


def told(result: Result) -> tuple[object, ...]:
    row = {name: value for name, value in result.row.items() if name != "seconds"}
    return result.id, row, dict(result.files)


def test_ray_is_asked_for_by_name_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        SampleError, match=r"--engine ray needs Ray; install it with: pip install 'terrascope-eo\[ray\]'"
    ):
        list(ask_on_ray(load_oracle, make_plan(tmp_path).scenes))


@pytest.mark.slow
def test_ray_gives_the_same_and_says_why_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    # Otherwise its processes only get the time that nobody else wants.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    scenes = make_plan(tmp_path).scenes
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        results = sorted(ask_on_ray(load_oracle, scenes), key=lambda result: result.id)
        assert [told(result) for result in results] == [told(result) for result in ask_scenes(Oracle(), scenes)]
        with pytest.raises(ModelError, match="unknown model 'nanoo'"):
            list(ask_on_ray(broken, scenes))
    finally:
        ray.shutdown()

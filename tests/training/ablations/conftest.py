"""A small data set of drawn scenes, and a tiny random model to start from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from terrascope.errors import ModelError
from terrascope.predictor import Predictor
from terrascope.sources import generated
from terrascope.terracot.build import build
from terrascope.terracot.recipe import Recipe
from terrascope.terracot.toolbox import open_tools
from tests.bench.drawn_scenes import make_sample
from tests.model.conftest import make_tiny


def _no_model(name: str) -> Predictor:
    raise ModelError(f"no model labels these scenes, and {name} was asked for")


@pytest.fixture(scope="package", autouse=True)
def _drawn() -> Iterator[None]:
    """Generated scenes are the drawn ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generated, "make_sample", make_sample)
        yield


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory, _drawn: None) -> Path:
    """Samples of all levels about eight training scenes of 64 pixels."""
    folder = tmp_path_factory.mktemp("data") / "store"
    recipe = Recipe.of({"sources": [{"name": "synthetic", "root": 8}]})
    build(recipe, folder, open_tools=partial(open_tools, load=_no_model))
    return folder


@pytest.fixture(scope="package")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a tiny random model."""
    folder = tmp_path_factory.mktemp("start") / "tiny"
    model, processor = make_tiny()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder

"""Questions about scenes larger than the model's view: first look, sweep, and the reasoning over both."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from terrascope import scene as scenes
from terrascope.model import reasoner as reasoners
from terrascope.model.generation import GenerationSettings
from terrascope.model.reasoner import SceneReasoner, reduce_scene
from terrascope.model.selection import select_tokens
from terrascope.model.sweep import Query, Swept
from terrascope.model.terrascope import TerraScope
from terrascope.scene import Scene
from terrascope.sources.synthetic import make_sample
from tests.model.conftest import Loaded


@pytest.fixture(scope="module")
def front(tiny: Loaded) -> TerraScope:
    return TerraScope(*tiny, "tiny")


@pytest.fixture(scope="module")
def large() -> Scene:
    """150 x 150 pixels and two dates; the tiny model sees 64 at once."""
    scene = make_sample(7, size=150, kind="country", num_dates=2, cloudy=False).scene
    return Scene(tuple(replace(pair, sar=None) for pair in scene.pairs))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, large: Scene) -> list[list[Query]]:
    """Sweeps that find the upper left quarter on the first date and one pixel on the second; the queries of each."""
    calls: list[list[Query]] = []
    masks = [np.zeros(large.shape, bool), np.zeros(large.shape, bool)]
    masks[0][:75, :75] = masks[1][140, 3] = True

    def find(model, processor, scene, asked, settings, progress):  # type: ignore[no-untyped-def]
        yield from ()
        calls.append(list(asked))
        assert scene is large and (settings.view, settings.overlap) == (64, 16)
        return [Swept(masks[query.pair], 0.75) for query in asked], None

    monkeypatch.setattr(reasoners, "sweep", find)
    return calls


def test_every_step_gets_its_mask_of_the_sweep(front: TerraScope, large: Scene, known: list[list[Query]]) -> None:
    answer = front.segment(large, "water")
    assert [len(call) for call in known] == [2]
    assert [query.pair for query in known[0]] == [0, 1]
    assert [int(mask.sum()) for mask in answer.masks] == [75 * 75, 1]
    assert [step.confidence for step in answer.steps] == [0.75, 0.75]
    grid = (4, 4)
    assert [step.num_tokens for step in answer.steps] == [
        len(select_tokens(torch.from_numpy(mask), grid)) for mask in answer.masks
    ]
    assert [step.num_tokens for step in answer.steps] == [4, 1]
    assert answer.notes[0] == (
        "The words come from a look at the whole scene, reduced 3 times; the masks from views of 64 x 64 pixels at "
        "full resolution."
    )


@pytest.mark.parametrize(
    ("settings", "num_tokens"),
    [
        # A quarter of the scene is 4 of 16 cells, one pixel its best; the box of the first mask is the mask itself.
        ({"interleave": "box"}, [(4, 0), (1, 0)]),
        ({"interleave": "random"}, [(4, 0), (1, 0)]),
        ({"interleave": "none"}, [(0, 0), (0, 0)]),
        ({"interleave": "similar", "similarity_threshold": -1.0}, [(16, 0), (16, 0)]),
        ({"modalities": "concatenate"}, [(4, 0), (1, 0)]),
    ],
)
def test_a_large_scene_keeps_to_what_is_interleaved(
    front: TerraScope, large: Scene, known: list[list[Query]], monkeypatch, settings, num_tokens
) -> None:  # type: ignore[no-untyped-def]
    for name, value in settings.items():
        monkeypatch.setattr(front.model.config, name, value)
    answer = front.segment(large, "water")
    assert [int(mask.sum()) for mask in answer.masks] == [75 * 75, 1]
    assert [(step.num_optical_tokens, step.num_sar_tokens) for step in answer.steps] == num_tokens
    replayed = front.ground(large, "Where is the water?", answer.reasoning)
    assert [len(indices) for indices in replayed.injected] == [sum(pair) for pair in num_tokens]
    assert [int(mask.sum()) for mask in replayed.masks] == [75 * 75, 1]


def test_a_step_that_the_first_look_did_not_foresee_is_swept_too(
    front: TerraScope, large: Scene, known: list[list[Query]]
) -> None:
    state = torch.zeros(32)
    reasoner = SceneReasoner(front.model, front.processor, large, GenerationSettings())
    for text in ("<think>The water: [SEG]", "<think>The water: [SEG] It covers 2%. The tree: [SEG]"):
        mask, confidence = front.engine.run(partial(reasoner._ground, 0, state, text))
        assert int(mask.sum()) == 75 * 75 and confidence == 0.75
    assert [len(call) for call in known] == [1, 1]
    # The same words after another finding ask for the same.
    front.engine.run(partial(reasoner._ground, 0, state, "<think>The water: [SEG] It covers 80%. The tree: [SEG]"))
    front.engine.run(partial(reasoner._ground, 1, state, "<think>The water: [SEG]"))
    assert [len(call) for call in known] == [1, 1, 1]


def test_a_scene_as_large_as_the_view_is_not_swept(front: TerraScope, known: list[list[Query]]) -> None:
    scene = make_sample(3, size=64, kind="country", num_dates=1, cloudy=False).scene
    answer = front.segment(scene, "water")
    assert known == [] and answer.notes == ()


def test_the_whole_look_says_what_it_misses(front: TerraScope, large: Scene, known: list[list[Query]]) -> None:
    answer = front.segment(large, "water", settings=GenerationSettings(look="whole"))
    assert known == [] and answer.masks[0].shape == large.shape
    assert answer.notes[0] == "The model saw the scene reduced 2 times: what is narrower than 5 pixels may be missing."


def test_masks_of_a_whole_look_are_enlarged_by_blocks(
    front: TerraScope, large: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reasoners, "OVERVIEW_SIDE", 30)
    monkeypatch.setattr(scenes.Observation.overview, "__defaults__", (30, None))
    small = reduce_scene(large)
    assert small.shape == (30, 30) and len(small.pairs) == 2
    answer = front.segment(large, "water", settings=GenerationSettings(look="whole"))
    for mask in answer.masks:
        assert mask.shape == (150, 150)
        assert np.array_equal(mask, np.kron(mask[::5, ::5], np.ones((5, 5), bool)))


def test_progress_counts_views(front: TerraScope, large: Scene) -> None:
    seen: list[tuple[int, int]] = []
    front.segment(large, "water", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 9), (3, 9), (6, 9), (9, 9)]

"""The embedded model on scenes that it was not trained on: masks, numbers, letters, and what it must not do."""

from __future__ import annotations

import numpy as np
import pytest

from terrascope.landcover import TERRASCOPE
from terrascope.masks import iou
from terrascope.model import TerraScope
from terrascope.scene import Scene
from terrascope.sources.synthetic import DEMO_SEED, demo_scene, make_sample

pytestmark = pytest.mark.weights
WATER = TERRASCOPE.id_of("water")


@pytest.fixture(scope="module")
def nano() -> TerraScope:
    return TerraScope.from_pretrained("nano")


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return make_sample(DEMO_SEED, kind="country", num_dates=1, cloudy=True).labels[0].mask(WATER)


def test_the_demo_finds_the_lake_under_the_clouds_and_reads_its_share(nano: TerraScope, truth: np.ndarray) -> None:
    answer = nano.ask(demo_scene(), "What percentage of the scene is covered by water?")
    assert len(answer.steps) == 1
    assert iou(answer.masks[0], truth) > 0.8
    step = answer.steps[0]
    assert abs(step.measurement.coverage - truth.mean()) < 0.05
    assert step.measurement.area_m2 == pytest.approx(answer.masks[0].sum() * 100, rel=0.002), "10 m pixels in UTM"
    assert answer.text.endswith("%") and abs(float(answer.text.rstrip("%")) - 100 * truth.mean()) < 6


def test_sar_sees_the_ground_that_clouds_hide(nano: TerraScope, truth: np.ndarray) -> None:
    sample = make_sample(DEMO_SEED, kind="country", num_dates=1, cloudy=True)
    pair, cloud = sample.scene.pairs[0], sample.clouds[0]
    hidden = truth & cloud
    assert hidden.sum() > 500
    both = nano.segment(Scene.of(optical=[pair.optical], sar=[pair.sar]), "water").masks[0]
    optical = nano.segment(Scene.of(optical=[pair.optical]), "water").masks[0]
    assert (both & hidden).sum() / hidden.sum() > (optical & hidden).sum() / hidden.sum() + 0.3


def test_choices_get_the_letter_of_the_nearest_share(nano: TerraScope, truth: np.ndarray) -> None:
    share = round(100 * truth.mean())
    options = [f"{share + 40}%", f"{share}%", f"{max(share - 20, 1)}%", f"{share + 20}%"]
    answer = nano.ask(demo_scene(), "What percentage of the image is covered by water?", options=options)
    assert answer.text == "B" and answer.option == options[1]


def test_two_dates_are_told_apart(nano: TerraScope) -> None:
    sample = next(
        s
        for s in (make_sample(seed, kind="country", num_dates=2, cloudy=False) for seed in range(3_000_000, 3_000_040))
        if 0.1 < s.labels[1].mask(TERRASCOPE.id_of("flood")).mean() < 0.5
    )
    answer = nano.ask(sample.scene, "How much of the image is flooded?")
    assert [step.image for step in answer.steps] == [2]
    assert iou(answer.masks[0], sample.labels[1].mask(TERRASCOPE.id_of("flood"))) > 0.6


def test_the_same_question_gets_the_same_answer(nano: TerraScope) -> None:
    first, second = (nano.ask(demo_scene(), "Does water border grass?") for _ in range(2))
    assert first.reasoning == second.reasoning
    assert all(np.array_equal(a, b) for a, b in zip(first.masks, second.masks, strict=True))

"""Which images of a pool scene a sample shows, and that its questions are about them."""

from __future__ import annotations

import numpy as np
import pytest

from terrascope.landcover import TERRASCOPE
from terrascope.training.pool import Pool
from terrascope.training.questions import CLOUD, RARE, TRAINING_TASKS, ask_pool_scene, choose_scene

SOURCES = ("synthetic", "hls", "ombria")


def scenes_of(pool: Pool, source: str, num_dates: int) -> list[list[int]]:
    return [frames for frames in pool.scenes("train", source) if len(frames) == num_dates]


@pytest.mark.parametrize(
    ("kind", "names"), [("optical", ("optical",)), ("sar", ("sar",)), ("both", ("optical", "sar"))]
)
def test_the_kind_decides_the_images(pool: Pool, kind: str, names: tuple[str, ...]) -> None:
    (frames,) = pool.scenes("train", "ombria")
    scene = choose_scene(pool, frames, np.random.default_rng(0), kind=kind)
    assert [tuple(images) for images in scene.images] == [names, names]
    for frame, images in zip(frames, scene.images, strict=True):
        for name, (index, view) in images.items():
            assert index == frame
            assert view == {"optical": 1, "sar": 2}[name], "OMBRIA has false colour only"


def test_a_chip_without_radar_is_shown_in_colour_whatever_is_wished(pool: Pool) -> None:
    frames = pool.scenes("train", "hls")[0]
    views = []
    for seed in range(40):
        scene = choose_scene(pool, frames, np.random.default_rng(seed), kind="both")
        assert [tuple(images) for images in scene.images] == [("optical",)]
        views.append(scene.images[0]["optical"][1])
    assert set(views) == {0, 1} and views.count(0) > views.count(1)


def test_kinds_are_drawn_in_their_shares(pool: Pool) -> None:
    (frames,) = pool.scenes("train", "ombria")
    rng = np.random.default_rng(0)
    drawn = [tuple(choose_scene(pool, frames, rng).images[0]) for _ in range(400)]
    share = {names: drawn.count(names) / 400 for names in set(drawn)}
    assert share == pytest.approx({("optical",): 0.4, ("sar",): 0.25, ("optical", "sar"): 0.35}, abs=0.08)


def test_ombria_keeps_both_dates_and_other_scenes_sometimes_show_only_the_first(pool: Pool) -> None:
    rng = np.random.default_rng(0)
    (flood,) = pool.scenes("train", "ombria")
    assert {len(choose_scene(pool, flood, rng).images) for _ in range(30)} == {2}
    frames = scenes_of(pool, "synthetic", 2)[0]
    counts = []
    for _ in range(200):
        scene = choose_scene(pool, frames, rng)
        counts.append(len(scene.images))
        assert scene.labelled.num_dates == len(scene.images)
        assert next(index for images in scene.images for index, _ in images.values()) == frames[0]
    assert counts.count(1) / 200 == pytest.approx(0.4, abs=0.1)


def test_the_scale_is_that_of_the_prompt_and_of_the_truth(pool: Pool) -> None:
    frames = pool.scenes("train", "synthetic")[0]
    stated = pool.frames[frames[0]].gsd_m
    rng = np.random.default_rng(0)
    factors = []
    for _ in range(100):
        scene = choose_scene(pool, frames, rng, scaled=True)
        assert scene.gsd_m is not None and scene.labelled.pixel_size is not None
        assert scene.labelled.pixel_size.area_m2[0] == pytest.approx(scene.gsd_m**2)
        assert float(f"{scene.gsd_m:.3g}") == scene.gsd_m
        factors.append(np.log(scene.gsd_m / stated))
    assert np.std(factors) == pytest.approx(0.5, abs=0.12)
    unscaled = choose_scene(pool, frames, rng, scaled=False)
    assert unscaled.gsd_m is None and unscaled.labelled.pixel_size is None
    drawn = [choose_scene(pool, frames, rng).gsd_m is not None for _ in range(300)]
    assert np.mean(drawn) == pytest.approx(0.85, abs=0.07)


def test_clouds_are_land_cover_only_where_nothing_else_sees_through_them(pool: Pool) -> None:
    cloudy = [f for f in pool.scenes("train", "synthetic") if pool.clouds[f[0]].any()]
    assert cloudy, "some of the generated scenes must be cloudy for this test to mean something"
    rng = np.random.default_rng(0)
    frames = cloudy[0]
    clouds = np.array(pool.clouds[frames[0]])
    optical = choose_scene(pool, frames, rng, kind="optical").labelled.labels[0]
    np.testing.assert_array_equal(optical.mask(CLOUD), clouds)
    np.testing.assert_array_equal(optical.ids[~clouds], pool.ids[frames[0]][~clouds])
    assert CLOUD in optical.class_ids_known
    for kind in ("sar", "both"):
        ground = choose_scene(pool, frames, rng, kind=kind).labelled.labels[0]
        np.testing.assert_array_equal(ground.ids, pool.ids[frames[0]])
        assert CLOUD not in ground.class_ids_known
    chip = choose_scene(pool, pool.scenes("train", "hls")[0], rng, kind="optical").labelled.labels[0]
    assert CLOUD not in chip.class_ids_known, "of real chips nothing is known of clouds"


def test_all_of_a_pool_scene_is_measured(pool: Pool) -> None:
    scene = choose_scene(pool, pool.scenes("train", "hls")[0], np.random.default_rng(0))
    assert scene.labelled.valid.shape == (256, 256) and scene.labelled.valid.all()
    assert not scene.labelled.measured(0)[255, 0], "but not where there is no label"


@pytest.mark.parametrize("source", SOURCES)
def test_the_same_generator_asks_the_same(pool: Pool, source: str) -> None:
    frames = pool.scenes("train", source)[0]
    for seed in range(6):
        asked = []
        for _ in range(2):
            rng = np.random.default_rng(seed)
            scene = choose_scene(pool, frames, rng)
            asked.append((scene.images, scene.gsd_m, ask_pool_scene(scene, rng)))
        first, again = asked
        assert first[:2] == again[:2]
        if first[2] is None:
            assert again[2] is None
            continue
        assert (first[2].text, first[2].options, first[2].truth) == (again[2].text, again[2].options, again[2].truth)
        for a, b in zip(first[2].trace.grounded_steps, again[2].trace.grounded_steps, strict=True):
            assert a.text == b.text and a.image == b.image
            np.testing.assert_array_equal(a.mask, b.mask)


def test_a_task_can_be_named_and_options_wished(pool: Pool) -> None:
    frames = pool.scenes("train", "hls")[0]
    scene = choose_scene(pool, frames, np.random.default_rng(1), scaled=True)
    for task in ("coverage", "area"):
        free = ask_pool_scene(scene, np.random.default_rng(0), task=task, with_options=False)
        chosen = ask_pool_scene(scene, np.random.default_rng(0), task=task, with_options=True)
        assert free is not None and chosen is not None
        assert free.task == chosen.task == task
        assert free.options == () and len(chosen.options) == TRAINING_TASKS[task].num_options
    assert ask_pool_scene(scene, np.random.default_rng(0), task="building_change") is None, "one date, no buildings"


def test_masks_of_a_question_are_masks_of_its_labels(pool: Pool) -> None:
    frames = pool.scenes("train", "hls")[0]
    scene = choose_scene(pool, frames, np.random.default_rng(1), kind="optical", scaled=True)
    question = ask_pool_scene(scene, np.random.default_rng(0), task="coverage", with_options=False)
    assert question is not None
    (step,) = question.trace.grounded_steps
    class_id = TERRASCOPE.id_of(step.text.removeprefix("The ").rstrip(":"))
    np.testing.assert_array_equal(step.mask, pool.ids[frames[0]] == class_id)
    measured = scene.labelled.measured(0)
    assert question.value == pytest.approx(100 * step.mask.sum() / measured.sum())


def test_rare_tasks_are_tried_first_more_often(pool: Pool) -> None:
    assert set(RARE) <= set(TRAINING_TASKS)
    tried: list[str] = []

    class Silent:
        num_options = 4

        def __init__(self, name: str) -> None:
            self.name = name

        def ask(self, *settings: object, **named: object) -> None:
            tried.append(self.name)

    with pytest.MonkeyPatch.context() as patch:
        for name in TRAINING_TASKS:
            patch.setitem(TRAINING_TASKS, name, Silent(name))
        scene = choose_scene(pool, pool.scenes("train", "hls")[0], np.random.default_rng(0))
        rng, first = np.random.default_rng(0), []
        for _ in range(600):
            tried.clear()
            assert ask_pool_scene(scene, rng) is None
            assert sorted(tried) == sorted(TRAINING_TASKS), "every task is tried once"
            first.append(tried[0])
    weights = {name: RARE.get(name, 1.0) for name in TRAINING_TASKS}
    for name, weight in weights.items():
        assert first.count(name) / 600 == pytest.approx(weight / sum(weights.values()), abs=0.06)

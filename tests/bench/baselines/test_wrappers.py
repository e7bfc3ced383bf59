"""What is taken from a predictor: the form of its masks, the place of its masks, its images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from terrascope.answer import Answer
from terrascope.bench.baselines import Blanked, ChangedMasks, RandomGuess, box_of, changed_masks, random_box, shifted
from terrascope.bench.baselines.blank import blank
from terrascope.bench.baselines.changed_masks import takes_masks
from terrascope.bench.item_predictor import Outcome, ask_items, one_by_one
from terrascope.bench.items import Item
from terrascope.errors import QuestionError, SceneError, TerraScopeError
from terrascope.predictor import Ask
from terrascope.rasters.sensors import render
from terrascope.scene import Scene
from terrascope.sources.chips import ChipError
from tests.bench.made_benchmark import SIZE, Scripted, answer, make_benchmark, make_scene

RNG = np.random.default_rng(0)
MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


class TestBox:
    @given(MASKS)
    def test_it_is_the_smallest_rectangle_around_the_mask(self, mask: np.ndarray) -> None:
        expected = np.zeros_like(mask)
        places = np.argwhere(mask)
        if len(places):
            (top, left), (bottom, right) = places.min(0), places.max(0)
            expected[top : bottom + 1, left : right + 1] = True
        np.testing.assert_array_equal(box_of(mask, RNG), expected)


class TestShifted:
    @given(MASKS, st.integers(0, 99))
    def test_it_is_the_mask_moved_around_the_edges(self, mask: np.ndarray, seed: int) -> None:
        moved = shifted(mask, np.random.default_rng(seed))
        rolls = [np.roll(mask, shift, (0, 1)) for shift in np.ndindex(mask.shape)]
        assert any(np.array_equal(moved, roll) for roll in rolls)

    def test_places_differ(self) -> None:
        mask = np.zeros((40, 40), bool)
        mask[:5, :5] = True
        rng = np.random.default_rng(0)
        assert len({shifted(mask, rng).tobytes() for _ in range(20)}) > 15


class TestRandomBox:
    @given(MASKS, st.integers(0, 99))
    def test_it_is_a_rectangle_whatever_the_mask(self, mask: np.ndarray, seed: int) -> None:
        box = random_box(mask, np.random.default_rng(seed))
        assert box.any() and box.shape == mask.shape
        np.testing.assert_array_equal(box, box_of(box, RNG))
        np.testing.assert_array_equal(box, random_box(~mask, np.random.default_rng(seed)))

    def test_sizes_differ_widely(self) -> None:
        rng = np.random.default_rng(0)
        shares = [random_box(np.zeros((50, 50), bool), rng).mean() for _ in range(200)]
        assert min(shares) < 0.02 and max(shares) > 0.6 and 0.08 < np.mean(shares) < 0.15


L_SHAPE = np.zeros((SIZE, SIZE), bool)
L_SHAPE[:, :2] = L_SHAPE[-2:, :10] = True
"""56 pixels, 14 %; its box is 200, 50 %."""


class Reasoner:
    """Says what share of the image its mask covers; takes masks to reason with, as our models do."""

    name = "reasoner"

    def __init__(self) -> None:
        self.given: list[Any] = []

    def ask(
        self, scene: Scene, question: str, *, options: Sequence[str] = (), masks: Sequence[np.ndarray] | None = None
    ) -> Answer:
        self.given.append(masks)
        mask = L_SHAPE if masks is None else masks[0]
        letter = "A" if mask.mean() < 0.3 else "B"
        text = f"<think>The water: [SEG] It covers {round(100 * mask.mean())}% of the image.</think>"
        return answer(scene, question, options, f"{text}<answer>{letter}</answer>", mask)

    def segment(self, scene: Scene, class_name: str) -> Answer:
        return answer(scene, "Where?", (), "The water: [SEG]", L_SHAPE)


class Pointer:
    """Points at the same mask, and does not take any."""

    name = "pointer"

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
        return Reasoner().ask(scene, question, options=options)

    def segment(self, scene: Scene, class_name: str) -> Answer:
        return Reasoner().segment(scene, class_name)


class TestChangedMasks:
    QUESTION, OPTIONS = "How much of the image is water?", ("14%", "50%")

    def test_a_model_that_takes_masks_reasons_again_with_the_boxes(self) -> None:
        reasoner = Reasoner()
        boxed = ChangedMasks(reasoner, box_of, "box:reasoner")
        given_answer = boxed.ask(make_scene(), self.QUESTION, options=self.OPTIONS)
        assert reasoner.given[0] is None
        np.testing.assert_array_equal(reasoner.given[1][0], box_of(L_SHAPE, RNG))
        assert (given_answer.text, "covers 50%" in given_answer.reasoning) == ("B", True)

    def test_any_other_is_measured_by_the_boxes(self) -> None:
        boxed = ChangedMasks(Pointer(), box_of, "box:pointer")
        given_answer = boxed.ask(make_scene(), self.QUESTION, options=self.OPTIONS)
        assert Pointer().ask(make_scene(), self.QUESTION, options=self.OPTIONS).text == "A"
        assert given_answer.text == "B" and given_answer.model == "box:pointer"
        np.testing.assert_array_equal(given_answer.masks[0], box_of(L_SHAPE, RNG))

    def test_random_masks_are_the_same_for_a_sample_and_others_for_another(self) -> None:
        moved = ChangedMasks(Pointer(), shifted, "random-mask:pointer", seed=5)
        items = make_benchmark(4).items
        drawn = [moved.ask_item(item).masks[0].tobytes() for item in items]
        assert drawn == [moved.ask_item(item).masks[0].tobytes() for item in items]
        assert len(set(drawn)) == 4
        other = ChangedMasks(Pointer(), shifted, "random-mask:pointer", seed=6)
        assert other.ask_item(items[0]).masks[0].tobytes() != drawn[0]

    def test_who_points_at_nothing_has_no_masks_to_change(self) -> None:
        with pytest.raises(QuestionError, match="random points at nothing"):
            ChangedMasks(RandomGuess(), box_of, "box:random").ask(make_scene(), self.QUESTION, options=self.OPTIONS)

    def test_masks_reach_a_model_through_a_blank(self) -> None:
        reasoner = Reasoner()
        assert takes_masks(Blanked(reasoner, ("optical",), "blank")) and not takes_masks(
            Blanked(Pointer(), ("optical",), "blank")
        )
        boxed = ChangedMasks(Blanked(reasoner, ("optical",), "blank:reasoner"), box_of, "box:blank:reasoner")
        assert boxed.ask(make_scene(), self.QUESTION, options=self.OPTIONS).text == "B"
        assert [masks is None for masks in reasoner.given] == [True, False]

    def test_segmentation_is_left_alone(self) -> None:
        boxed = ChangedMasks(Pointer(), box_of, "box:pointer")
        np.testing.assert_array_equal(boxed.segment(make_scene(), "water").masks[0], L_SHAPE)


class TestBlank:
    @pytest.mark.parametrize(
        ("modalities", "constant"),
        [(("optical", "sar"), (True, True)), (("optical",), (True, False)), (("sar",), (False, True))],
    )
    def test_the_modalities_that_are_named_are_of_one_gray(self, modalities: Any, constant: tuple[bool, ...]) -> None:
        scene = make_scene(2, sar=True)
        blanked = blank(scene, modalities)
        for pair, before in zip(blanked.pairs, scene.pairs, strict=True):
            for image, original, is_constant in zip(pair.observations, before.observations, constant, strict=True):
                picture = render(image)
                if is_constant:
                    np.testing.assert_allclose(picture, 0.5, atol=1e-6)
                else:
                    np.testing.assert_array_equal(picture, render(original))
                assert (image.shape, image.bands, image.sensor) == (original.shape, original.bands, original.sensor)
        assert render(scene.pairs[0].observations[0]).std() > 0.1

    def test_what_is_not_valid_stays_so(self) -> None:
        scene = make_scene()
        scene.pairs[0].optical.valid[:3] = False  # type: ignore[union-attr]
        image = blank(scene).observations[0]
        assert not image.valid[:3].any() and image.valid[3:].all()

    def test_the_predictor_sees_nothing_else(self) -> None:
        seen: list[Scene] = []

        class Watcher(Scripted):
            def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
                seen.append(scene)
                return super().ask(scene, question, options=options)

        item = make_benchmark(1).items[0]
        blanked = Blanked(Watcher(), ("optical",), "blank-optical:scripted")
        blanked.ask_item(item)
        blanked.ask(item.scene, item.sample.question, options=item.sample.options)
        assert [render(scene.observations[0]).std() < 1e-6 for scene in seen] == [True, True]
        assert render(item.scene.observations[0]).std() > 0.01


class Together(Reasoner):
    """Takes all that it is asked before it answers the first; questions with a 3 cannot be used."""

    def __init__(self) -> None:
        super().__init__()
        self.scenes: list[Scene] = []

    def ask(
        self, scene: Scene, question: str, *, options: Sequence[str] = (), masks: Sequence[np.ndarray] | None = None
    ) -> Answer:
        raise AssertionError("it is asked for one alone")

    def ask_many(self, asks: Iterable[Ask | TerraScopeError]) -> Iterator[Answer | TerraScopeError]:
        for ask in list(asks):
            if isinstance(ask, TerraScopeError):
                yield ask
            elif "(3)" in ask.question:
                yield QuestionError("three")
            else:
                self.scenes.append(ask.scene)
                yield Reasoner.ask(self, ask.scene, ask.question, options=ask.options, masks=ask.masks)


def told(outcomes: Iterable[Outcome]) -> list[tuple[str, bytes]]:
    return [
        (o.reasoning, b"".join(mask.tobytes() for mask in o.masks)) if isinstance(o, Answer) else (str(o), b"")
        for o in outcomes
    ]


class TestManyAtOnce:
    @pytest.mark.parametrize("at_once", [2, 64])
    @pytest.mark.parametrize("inner", [Together, Pointer])
    def test_changed_masks_are_those_of_one_after_the_other(
        self, inner: type[Together | Pointer], at_once: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(changed_masks, "_AT_ONCE", at_once)
        asked: list[Item | TerraScopeError] = [*make_benchmark(6).items]
        asked.insert(2, ChipError("a.tif: truncated", reason="corrupt image"))
        alone = ChangedMasks(Reasoner() if inner is Together else Pointer(), shifted, "random-mask:x", seed=5)
        expected = told(one_by_one(alone.ask_item, asked))
        if inner is Together:
            expected[4] = ("three", b"")
        assert len({mask for _, mask in expected if mask}) == len([mask for _, mask in expected if mask]) >= 5
        assert told(ask_items(ChangedMasks(inner(), shifted, "random-mask:x", seed=5), asked)) == expected

    def test_an_answer_without_masks_is_not_asked_for_again(self) -> None:
        class Silent(Together):
            def ask_many(self, asks: Iterable[Ask | TerraScopeError]) -> Iterator[Answer | TerraScopeError]:
                for ask in asks:
                    assert isinstance(ask, Ask) and ask.masks is None
                    yield answer(ask.scene, ask.question, ask.options, "<think>No.</think><answer>A</answer>")

        found = ask_items(ChangedMasks(Silent(), box_of, "box:silent"), make_benchmark(3).items)
        assert [one.text for one in found if isinstance(one, Answer)] == ["A"] * 3

    def test_questions_about_one_scene_see_one_blank(self) -> None:
        inner = Together()
        items: list[Item | TerraScopeError] = [*make_benchmark(3).items, SceneError("no image")]
        items.append(replace(make_benchmark(1).items[0], scene=make_scene()))
        outcomes = list(ask_items(Blanked(inner, ("optical",), "blank:together"), items))
        assert [type(outcome) for outcome in outcomes] == [Answer, Answer, Answer, SceneError, Answer]
        assert [inner.scenes[0] is scene for scene in inner.scenes] == [True, True, True, False]
        assert all(render(scene.observations[0]).std() < 1e-6 for scene in inner.scenes)

    def test_boxes_of_a_blanked_model_reach_it_through_the_blank(self) -> None:
        inner = Together()
        boxed = ChangedMasks(Blanked(inner, ("optical",), "blank:together"), box_of, "box:blank:together")
        assert [one.text for one in ask_items(boxed, make_benchmark(2).items) if isinstance(one, Answer)] == ["B", "B"]
        assert [masks is None for masks in inner.given] == [True, True, False, False]
        assert all(render(scene.observations[0]).std() < 1e-6 for scene in inner.scenes)

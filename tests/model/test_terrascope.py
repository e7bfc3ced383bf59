"""The front door, with a tiny random model: what it promises whatever the weights say."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from terrascope.answer import Answer
from terrascope.errors import ModelError, QuestionError, ScaleError, SceneError, TerraScopeError
from terrascope.events import Drew, Wrote
from terrascope.georeference import Georeference
from terrascope.model.answers import FINISH_NOTES, choose_nearest
from terrascope.model.engine import engine as engines
from terrascope.model.engine.passes import Piece
from terrascope.model.generation import GenerationSettings, Reasoning
from terrascope.model.reasoner import SceneReasoner
from terrascope.model.terrascope import TerraScope
from terrascope.predictor import Ask, ManyPredictor, StreamingPredictor
from terrascope.scene import Scene
from terrascope.sources.synthetic import make_sample
from tests.model.conftest import Loaded, make_exact, make_tiny
from tests.model.engine.made_programs import out_of_memory, watched


@pytest.fixture(scope="module")
def front(tiny: Loaded) -> TerraScope:
    return TerraScope(*tiny, "tiny")


@pytest.fixture(scope="module")
def one_date(two_dates) -> Scene:  # type: ignore[no-untyped-def]
    return Scene(two_dates.scene.pairs[:1])


def prefer(front: TerraScope, token: str) -> TerraScope:
    """The same model with a head that always chooses one token."""
    model = front.model
    vocabulary = model.get_input_embeddings().weight
    choice = torch.zeros(len(vocabulary)).index_fill(
        0, torch.tensor([front.processor.tokenizer.convert_tokens_to_ids(token)]), 5.0
    )
    model.vlm.lm_head.weight = torch.nn.Parameter(torch.zeros_like(vocabulary))
    model.vlm.lm_head.bias = torch.nn.Parameter(choice)
    return front


def without_scale(scene: Scene) -> Scene:
    return Scene(
        tuple(
            replace(
                pair,
                optical=pair.optical and replace(pair.optical, georeference=Georeference()),
                sar=pair.sar and replace(pair.sar, georeference=Georeference()),
            )
            for pair in scene.pairs
        )
    )


def test_segment_gives_one_mask_per_date(front: TerraScope, two_dates, one_date: Scene) -> None:  # type: ignore[no-untyped-def]
    both = front.segment(two_dates.scene, "water")
    assert [step.image for step in both.steps] == [1, 2]
    assert len(both.masks) == 2 and all(mask.shape == (64, 64) and mask.dtype == bool for mask in both.masks)
    assert both.reasoning.count("[SEG]") == 2 and both.text == "water" and both.model == "tiny"
    single = front.segment(one_date, "water")
    assert [step.image for step in single.steps] == [1]
    assert single.reasoning == "<think>The water: [SEG]</think><answer>water</answer>"
    assert single.question == "Where is the water?"


@pytest.mark.parametrize(
    ("word", "name"), [("forest", "tree"), ("  Lake ", "water"), ("destroyed buildings", "destroyed building")]
)
def test_segment_takes_aliases_and_plurals(front: TerraScope, one_date: Scene, word: str, name: str) -> None:
    answer = front.segment(one_date, word)
    assert answer.text == name and answer.steps[0].text == f"The {name}:"


def test_segment_refuses_an_unknown_class(front: TerraScope, one_date: Scene) -> None:
    with pytest.raises(QuestionError, match=r"unknown class 'unicorn': choose one of water, tree, "):
        front.segment(one_date, "unicorn")


def test_segment_gives_one_mask_per_date_of_a_long_series(
    front: TerraScope, one_date: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "terrascope.model.terrascope.GenerationSettings", partial(GenerationSettings, max_new_tokens=100)
    )
    everywhere = (torch.ones(64, 64, dtype=torch.bool), 1.0)
    monkeypatch.setattr(engines, "ground_all", lambda model, asked: [everywhere] * len(asked))
    series = Scene(one_date.pairs * 5)
    assert len(front.segment(series, "water").masks) == 5


def test_an_area_question_needs_a_scale(front: TerraScope, one_date: Scene) -> None:
    unscaled = without_scale(one_date)
    for question in ("What is the area of the water in km2?", "How far is the water from the trees?"):
        with pytest.raises(ScaleError, match="give --gsd METRES"):
            front.ask(unscaled, question)
    settings = GenerationSettings(max_new_tokens=2)
    assert front.ask(unscaled, "What percentage is water?", settings=settings).question == "What percentage is water?"
    assert front.ask(one_date, "What is the area of the water in km2?", settings=settings).model == "tiny"


def test_empty_questions_and_bad_options_are_refused(front: TerraScope, one_date: Scene) -> None:
    with pytest.raises(QuestionError, match="the question is empty"):
        front.ask(one_date, " \n ")
    for options in (["10%"], ["1", "2", "3", "4", "5", "6"], ["10%", "10%"], ["10%", ""]):
        with pytest.raises(QuestionError):
            front.ask(one_date, "How much is water?", options=options)


def test_every_seg_is_a_step_with_its_mask(two_dates) -> None:  # type: ignore[no-untyped-def]
    front = prefer(TerraScope(*make_tiny(max_masks=3), "tiny"), "[SEG]")
    answer = front.ask(two_dates.scene, "How much is water?")
    assert answer.reasoning.count("[SEG]") == len(answer.steps) == len(answer.masks) == 3
    assert FINISH_NOTES["masks"] in answer.notes
    for step in answer.steps:
        assert step.image == 1 and 0 <= step.confidence <= 1
        assert step.measurement.coverage == pytest.approx(step.mask.mean())
        assert step.num_tokens == step.num_optical_tokens + step.num_sar_tokens <= 16


def test_a_reasoning_that_never_ends_is_cut_and_says_so(one_date: Scene) -> None:
    front = prefer(TerraScope(*make_tiny(), "tiny"), "a")
    answer = front.ask(one_date, "How much is water?", settings=GenerationSettings(max_new_tokens=7))
    assert answer.reasoning == "a" * 7 and answer.steps == ()
    assert FINISH_NOTES["length"] in answer.notes


def test_the_budget_of_segment_has_room_for_both_tokens_of_a_cell(two_dates, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    front = TerraScope(*make_tiny(max_masked_tokens=16, modalities="concatenate"), "tiny")  # type: ignore[arg-type]
    everywhere = (torch.ones(64, 64, dtype=torch.bool), 1.0)
    monkeypatch.setattr(engines, "ground_all", lambda model, asked: [everywhere] * len(asked))
    answer = front.segment(two_dates.scene, "water")
    assert [(step.num_optical_tokens, step.num_sar_tokens) for step in answer.steps] == [(16, 16)] * 2
    replayed = front.ground(two_dates.scene, "Where is the water?", answer.reasoning)
    assert [indices.tolist() for indices in replayed.injected] == [[*range(16)] * 2] * 2


@pytest.mark.parametrize("cap", [1, 4])
def test_a_text_whose_last_mask_uses_up_its_tokens_was_not_cut_off(two_dates, cap: int) -> None:  # type: ignore[no-untyped-def]
    """The budget of `segment` is what its words and all masks may take, and here every mask takes the cap."""
    front = TerraScope(*make_tiny(max_masked_tokens=cap), "tiny")
    front.model.config.keep_best_token = front.model.config.first_token_if_empty = True
    front.model.config.coverage_threshold = 0
    whole = np.ones((64, 64), bool)
    for scene in (two_dates.scene, Scene(two_dates.scene.pairs[:1])):
        step = "The water: [SEG]"
        text = " ".join([step] * len(scene.pairs))
        forced = front.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        budget = GenerationSettings(max_new_tokens=len(forced) + cap * len(scene.pairs))
        reasoner = SceneReasoner(front.model, front.processor, scene, budget)
        write = partial(reasoner.write, "Q?", forced_ids=forced, masks=[whole] * len(scene.pairs))
        reasoning = front.engine.run(write)
        assert [one.num_optical_tokens + one.num_sar_tokens for one in reasoning.groundings] == [cap] * len(scene.pairs)
        assert reasoning.finish_reason == "end" and reasoning.token_ids == tuple(forced)
        shorter = GenerationSettings(max_new_tokens=budget.max_new_tokens - 1)
        cut = SceneReasoner(front.model, front.processor, scene, shorter)
        write = partial(cut.write, "Q?", forced_ids=forced, masks=[whole] * len(scene.pairs))
        assert front.engine.run(write).finish_reason == "length"


@pytest.mark.parametrize(
    ("part", "dtype", "said"),
    [
        ("vlm.lm_head", "float32", r"not finite in float32; its weights are damaged: look with terrascope doctor"),
        ("sam.mask_decoder.conv_s0", "float32", r"not finite in float32; its weights are damaged"),
        ("vlm.lm_head", "bfloat16", r"not finite in bfloat16; give --dtype float32; if that does not help, its"),
    ],
)
def test_numbers_that_are_none_are_no_answer(one_date: Scene, part: str, dtype: str, said: str) -> None:
    model, processor = make_tiny()
    with torch.no_grad():
        model.get_submodule(part).weight.fill_(float("nan"))
    front = TerraScope(model.to(getattr(torch, dtype)), processor, "tiny")
    front.model.mask_fusion.float()
    with pytest.raises(ModelError, match=said):
        front.ground(one_date, "Q?", "The lake: [SEG]")
    if part == "vlm.lm_head":
        with pytest.raises(ModelError, match=said):
            front.ask(one_date, "How much is water?")


def test_an_end_right_away_is_an_answer_without_words(one_date: Scene) -> None:
    front = prefer(TerraScope(*make_tiny(), "tiny"), "<|im_end|>")
    answer = front.ask(one_date, "How much is water?")
    assert (answer.reasoning, answer.text, answer.steps) == ("", "", ())
    assert answer.notes == ("The reasoning ended without an answer.",)


def test_options_are_given_back_without_letters(front: TerraScope, one_date: Scene) -> None:
    answer = front.ask(
        one_date, "How  much is water?", options=["A. 10%", "B. 20%"], settings=GenerationSettings(max_new_tokens=1)
    )
    assert answer.options == ("10%", "20%") and answer.question == "How much is water?"


def test_the_same_question_gets_the_same_answer(front: TerraScope, two_dates) -> None:  # type: ignore[no-untyped-def]
    settings = GenerationSettings(max_new_tokens=12)
    answers = [front.ask(two_dates.scene, "How much is water?", settings=settings) for _ in range(2)]
    assert answers[0].reasoning == answers[1].reasoning
    one, two = (front.segment(two_dates.scene, "tree") for _ in range(2))
    for first, again in zip(one.masks, two.masks, strict=True):
        np.testing.assert_array_equal(first, again)


def test_masks_keep_to_what_was_measured(front: TerraScope, one_date: Scene) -> None:
    valid = np.zeros((64, 64), bool)
    valid[10:20, 10:30] = True
    (pair,) = one_date.pairs
    assert pair.optical is not None
    scene = Scene.of(optical=[replace(pair.optical, valid=valid)])
    for name in ("water", "tree", "crop", "cloud"):
        (mask,) = front.segment(scene, name).masks
        assert not (mask & ~valid).any()


def test_a_saved_model_answers_the_same(front: TerraScope, two_dates, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    front.save_pretrained(str(tmp_path))
    again = TerraScope.from_pretrained(str(tmp_path))
    assert again.name == str(tmp_path)
    ours, theirs = (t.segment(two_dates.scene, "water") for t in (front, again))
    for mine, other in zip(ours.steps, theirs.steps, strict=True):
        np.testing.assert_array_equal(mine.mask, other.mask)
        assert mine.confidence == pytest.approx(other.confidence, abs=1e-6)
    with pytest.raises(ModelError, match=r"unknown model 'naono'"):
        TerraScope.from_pretrained("naono")


def test_given_masks_take_the_place_of_the_models_own(two_dates, half_masks) -> None:  # type: ignore[no-untyped-def]
    front = prefer(TerraScope(*make_tiny(max_masks=3), "tiny"), "[SEG]")
    answer = front.ask(two_dates.scene, "How much is water?", masks=half_masks[:2])
    assert np.array_equal(answer.masks[0], half_masks[0]) and np.array_equal(answer.masks[1], half_masks[1])
    assert [step.confidence for step in answer.steps[:2]] == [1.0, 1.0]
    assert answer.steps[0].measurement.coverage == 0.5


def test_a_free_answer_becomes_the_letter_of_its_nearest_option() -> None:
    text = "<think>The water: [SEG] It covers 27% of the image.</think><answer>27%</answer>"
    free = Reasoning(text, (), (), "end")
    chosen = choose_nearest(free, ("60%", "30%", "5%"))
    assert chosen is not None
    assert chosen.text == "<think>The water: [SEG] It covers 27% of the image.</think><answer>B</answer>"
    assert choose_nearest(free, ("3 ha", "5 ha")) is None
    assert choose_nearest(replace(free, text=text.removesuffix("</answer>")), ("60%", "30%")) is None


# ---------------------------------------------------------------------------------------------------------------------
# Many questions at once, and one that is told of while it is answered.

SHORT = GenerationSettings(max_new_tokens=40)
QUESTIONS = ("How much is water?", "Where are the trees, and how many of them stand there?", "Is it flooded?")


@pytest.fixture(scope="module")
def drawing() -> TerraScope:
    """A model that writes a few [SEG]s in each of its reasonings, among other words, and no end."""
    model, processor = make_exact()
    seg, end = processor.tokenizer.convert_tokens_to_ids(["[SEG]", "<|im_end|>"])
    bias = torch.zeros(len(model.get_input_embeddings().weight), dtype=torch.float64)
    bias[seg], bias[end] = 3, -9
    model.vlm.lm_head.bias = torch.nn.Parameter(bias)
    return TerraScope(model, processor, "tiny")


@pytest.fixture
def plain_engine(drawing: TerraScope) -> Iterator[TerraScope]:
    """The same, with its own engine again at the end of the test."""
    engine = drawing.engine
    yield drawing
    drawing.engine = engine


@pytest.fixture(scope="module")
def large() -> Scene:
    """Larger than the tiny model's view: it is covered by views."""
    return make_sample(5, size=160, kind="country", num_dates=1, cloudy=False).scene


def check_same(found: Any, expected: Answer) -> None:
    assert isinstance(found, Answer)
    assert (found.reasoning, found.text, found.options) == (expected.reasoning, expected.text, expected.options)
    assert (found.question, found.notes, found.model) == (expected.question, expected.notes, expected.model)
    assert len(found.masks) == len(expected.masks)
    for mine, other in zip(found.steps, expected.steps, strict=True):
        np.testing.assert_array_equal(mine.mask, other.mask)
        assert (mine.image, mine.num_tokens) == (other.image, other.num_tokens)
        assert mine.confidence == pytest.approx(other.confidence, abs=1e-5)


class TestAskMany:
    def test_each_answer_is_the_one_that_ask_gives(self, drawing: TerraScope, two_dates: Any, one_date: Scene) -> None:
        assert isinstance(drawing, ManyPredictor) and isinstance(drawing, StreamingPredictor)
        asks = [Ask(scene=two_dates.scene, question=question) for question in QUESTIONS]
        asks += [Ask(scene=one_date, question=question, options=("10%", "20%")) for question in QUESTIONS]
        asks.append(Ask(scene=two_dates.scene, question=QUESTIONS[0]))
        answers = list(drawing.ask_many(asks, settings=SHORT))
        assert len(answers) == len(asks)
        for answer, ask in zip(answers, asks, strict=True):
            check_same(answer, drawing.ask(ask.scene, ask.question, options=ask.options, settings=SHORT))
        assert sum(len(answer.masks) for answer in answers if isinstance(answer, Answer)) > len(asks)

    def test_what_cannot_be_answered_is_told_in_its_place(self, drawing: TerraScope, one_date: Scene) -> None:
        unreadable = SceneError("b.tif: truncated")
        asks: list[Ask | TerraScopeError] = [
            Ask(scene=one_date, question=QUESTIONS[0]),
            unreadable,
            Ask(scene=one_date, question=" "),
            Ask(scene=without_scale(one_date), question="What is the area of the water in km2?"),
            Ask(scene=one_date, question=QUESTIONS[1], options=("10%", "10%")),
            Ask(scene=one_date, question=QUESTIONS[2]),
        ]
        first, *failed, last = drawing.ask_many(asks, settings=SHORT)
        assert failed[0] is unreadable
        assert [type(one) for one in failed[1:]] == [QuestionError, ScaleError, QuestionError]
        check_same(first, drawing.ask(one_date, QUESTIONS[0], settings=SHORT))
        check_same(last, drawing.ask(one_date, QUESTIONS[2], settings=SHORT))

    def test_both_encoders_see_a_scene_once_for_questions_that_follow_each_other(
        self, drawing: TerraScope, two_dates: Any, one_date: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[str, int]] = []
        for name in ("encode_tiles", "encode_for_masks"):
            plain = getattr(drawing.model, name)
            monkeypatch.setattr(
                drawing.model,
                name,
                lambda pixels, name=name, plain=plain: (seen.append((name, len(pixels))), plain(pixels))[1],
            )
        asks = [Ask(scene=scene, question=question) for scene in (two_dates.scene, one_date) for question in QUESTIONS]
        assert len(list(drawing.ask_many(asks, settings=SHORT))) == 6
        assert seen == [("encode_tiles", 4), ("encode_for_masks", 4), ("encode_tiles", 2), ("encode_for_masks", 2)]

    def test_masks_that_are_given_take_the_place_of_the_models_own(
        self, drawing: TerraScope, one_date: Scene, half_masks: list[np.ndarray]
    ) -> None:
        asks = [Ask(scene=one_date, question=QUESTIONS[1], masks=(half_masks[number],)) for number in (0, 4)] + [
            Ask(scene=one_date, question=QUESTIONS[1])
        ]
        left, block, own = drawing.ask_many(asks, settings=SHORT)
        assert isinstance(left, Answer) and isinstance(block, Answer) and isinstance(own, Answer)
        np.testing.assert_array_equal(left.masks[0], half_masks[0])
        np.testing.assert_array_equal(block.masks[0], half_masks[4])
        check_same(own, drawing.ask(one_date, QUESTIONS[1], settings=SHORT))

    def test_memory_that_runs_out_is_a_sentence_in_the_place_of_each(
        self, plain_engine: TerraScope, one_date: Scene
    ) -> None:
        def run_out(pieces: Sequence[Piece]) -> None:
            raise out_of_memory()

        plain_engine.engine, language = watched(plain_engine.model, run_out)
        failed = list(plain_engine.ask_many([Ask(scene=one_date, question=question) for question in QUESTIONS]))
        assert [type(one) for one in failed] == [ModelError] * 3
        assert all("memory ran out on cpu" in str(one) for one in failed) and language.open_slots == []

    def test_who_stops_listening_ends_what_runs(self, plain_engine: TerraScope, one_date: Scene) -> None:
        taken: list[int] = []

        def asks() -> Iterator[Ask]:
            for number in range(50):
                taken.append(number)
                yield Ask(scene=one_date, question=f"{QUESTIONS[0]} {number}")

        plain_engine.engine, language = watched(plain_engine.model, max_rows=3)
        answers = plain_engine.ask_many(asks(), settings=SHORT)
        assert taken == []
        next(answers)
        answers.close()  # type: ignore[attr-defined]
        assert language.open_slots == [] and len(taken) <= 5 and not plain_engine.engine.step()

    def test_a_large_scene_is_covered_by_views_for_each(self, drawing: TerraScope, large: Scene) -> None:
        answer, other = drawing.ask_many(
            [Ask(scene=large, question=QUESTIONS[1]), Ask(scene=Scene(large.pairs), question=QUESTIONS[2])],
            settings=SHORT,
        )
        check_same(answer, drawing.ask(large, QUESTIONS[1], settings=SHORT))
        check_same(other, drawing.ask(large, QUESTIONS[2], settings=SHORT))
        assert isinstance(answer, Answer) and answer.masks[0].shape == (160, 160)

    def test_questions_about_one_large_scene_do_not_get_each_others_masks(
        self, drawing: TerraScope, large: Scene
    ) -> None:
        answers = drawing.ask_many([Ask(scene=large, question=question) for question in QUESTIONS], settings=SHORT)
        for answer, question in zip(answers, QUESTIONS, strict=True):
            check_same(answer, drawing.ask(large, question, settings=SHORT))


class TestStream:
    @pytest.mark.parametrize("question", QUESTIONS)
    def test_it_tells_of_every_word_and_mask_and_of_the_answer_at_last(
        self, drawing: TerraScope, two_dates: Any, question: str
    ) -> None:
        *events, answer = drawing.stream(two_dates.scene, question, settings=SHORT)
        check_same(answer, drawing.ask(two_dates.scene, question, settings=SHORT))
        texts = [event.text for event in events if isinstance(event, Wrote)]
        assert len(texts) > 5 and texts[-1] == answer.reasoning
        # Of a letter of several bytes, what is written first reads as a mark for something unknown.
        assert all(later.startswith(earlier.rstrip("\ufffd")) for earlier, later in pairwise(texts))
        drawn = [event.grounding for event in events if isinstance(event, Drew)]
        assert len(drawn) == len(answer.masks) > 0
        for grounding, step in zip(drawn, answer.steps, strict=True):
            np.testing.assert_array_equal(grounding.mask, step.mask)
            assert (grounding.image, grounding.confidence) == (step.image, step.confidence)
        # A mask is told of right after the [SEG] that it is of.
        for before, event in pairwise(events):
            is_seg = isinstance(before, Wrote) and before.text.endswith("[SEG]")
            assert is_seg == isinstance(event, Drew)

    def test_a_large_scene_is_told_of_with_the_masks_of_its_views(self, drawing: TerraScope, large: Scene) -> None:
        *events, answer = drawing.stream(large, QUESTIONS[1], settings=SHORT)
        check_same(answer, drawing.ask(large, QUESTIONS[1], settings=SHORT))
        assert [event.text for event in events if isinstance(event, Wrote)][-1] == answer.reasoning
        drawn = [event.grounding.mask for event in events if isinstance(event, Drew)]
        assert len(drawn) == len(answer.masks) and drawn[0].shape == (160, 160)
        assert all(np.array_equal(mine, other) for mine, other in zip(drawn, answer.masks, strict=True))

    def test_what_ran_out_of_memory_and_began_again_is_told_once(
        self, plain_engine: TerraScope, one_date: Scene
    ) -> None:
        def tell(question: str) -> list[Any]:
            return list(plain_engine.stream(one_date, question, settings=SHORT))

        expected = tell(QUESTIONS[1])
        plain_engine.engine, language = watched(plain_engine.model)

        def run_out(pieces: Sequence[Piece]) -> None:
            if len(pieces) > 1 and len(language.fed) > 12:
                raise out_of_memory()

        language.before_feed = run_out
        other = plain_engine.stream(one_date, QUESTIONS[0], settings=SHORT)
        next(other)
        *events, answer = tell(QUESTIONS[1])
        assert plain_engine.engine.max_rows == 1
        check_same(answer, expected[-1])
        assert [type(event) for event in events] == [type(event) for event in expected[:-1]]
        for mine, theirs in zip(events, expected, strict=False):
            if isinstance(mine, Wrote):
                assert mine == theirs
            else:
                np.testing.assert_array_equal(mine.grounding.mask, theirs.grounding.mask)
        check_same(list(other)[-1], plain_engine.ask(one_date, QUESTIONS[0], settings=SHORT))

    def test_who_stops_listening_ends_it(self, plain_engine: TerraScope, one_date: Scene) -> None:
        plain_engine.engine, language = watched(plain_engine.model)
        events = plain_engine.stream(one_date, QUESTIONS[0], settings=SHORT)
        next(events)
        assert len(language.open_slots) == 1
        events.close()  # type: ignore[attr-defined]
        assert language.open_slots == [] and not plain_engine.engine.step()

    def test_it_refuses_what_ask_refuses(self, drawing: TerraScope, one_date: Scene) -> None:
        with pytest.raises(QuestionError, match="the question is empty"):
            list(drawing.stream(one_date, " "))
        with pytest.raises(ScaleError, match="give --gsd METRES"):
            list(drawing.stream(without_scale(one_date), "What is the area of the water in km2?"))

    def test_memory_that_runs_out_is_a_sentence(self, plain_engine: TerraScope, one_date: Scene) -> None:
        def run_out(pieces: Sequence[Piece]) -> None:
            if len(language.fed) > 5:
                raise out_of_memory()

        plain_engine.engine, language = watched(plain_engine.model, run_out)
        events = plain_engine.stream(one_date, QUESTIONS[0], settings=SHORT)
        assert isinstance(next(events), Wrote)
        with pytest.raises(ModelError, match="memory ran out on cpu"):
            list(events)


class TestScenesThatStayEncoded:
    @pytest.fixture
    def seen(self, drawing: TerraScope, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Numbers of images that the mask encoder saw, a call each."""
        seen: list[int] = []
        plain = drawing.model.encode_for_masks
        monkeypatch.setattr(
            drawing.model, "encode_for_masks", lambda images: (seen.append(len(images)), plain(images))[1]
        )
        return seen

    @pytest.fixture
    def keeping(self, drawing: TerraScope) -> TerraScope:
        front = TerraScope(drawing.model, drawing.processor, "tiny")
        front.encoded.max_scenes = 2
        return front

    def test_a_later_question_about_the_same_scene_is_answered_as_the_first_would_be(
        self, keeping: TerraScope, drawing: TerraScope, one_date: Scene, large: Scene, seen: list[int]
    ) -> None:
        for scene in (one_date, large):
            expected = [drawing.ask(scene, question, settings=SHORT) for question in QUESTIONS]
            seen.clear()
            answers = [list(keeping.stream(scene, question, settings=SHORT))[-1] for question in QUESTIONS]
            for answer, one in zip(answers, expected, strict=True):
                check_same(answer, one)
            # The views of a large scene go through the encoder as well, several at once.
            assert seen.count(2) == 1 and (len(seen) == 1) == (scene is one_date)

    def test_none_do_unless_that_is_wanted(self, drawing: TerraScope, one_date: Scene, seen: list[int]) -> None:
        for _ in range(2):
            drawing.ask(one_date, QUESTIONS[0], settings=SHORT)
        assert seen == [2, 2]

    def test_the_one_that_was_asked_about_longest_ago_goes_first(
        self, keeping: TerraScope, one_date: Scene, seen: list[int]
    ) -> None:
        first, second, third = (replace(one_date, notes=(name,)) for name in "abc")
        for scene in (first, second, first, third, first, second):
            keeping.ask(scene, QUESTIONS[0], settings=SHORT)
        # a, b, (a), c in the place of b, (a), b
        assert seen == [2, 2, 2, 2]

    def test_they_go_with_the_scene_itself_and_so_does_what_the_engine_keeps(
        self, keeping: TerraScope, one_date: Scene, seen: list[int]
    ) -> None:
        scene = replace(one_date, notes=("its own",))
        keeping.engine, language = watched(keeping.model)
        list(keeping.stream(scene, QUESTIONS[0], settings=SHORT))
        gc.collect()
        assert keeping.encoded.find(scene) is not None and language.num_prefixes == 1
        gone = weakref.ref(scene)
        del scene
        gc.collect()
        assert gone() is None and language.num_prefixes == 0

    def test_where_memory_runs_out_they_are_let_go_of_for_good_and_nothing_else_suffers(
        self, keeping: TerraScope, drawing: TerraScope, one_date: Scene, seen: list[int]
    ) -> None:
        expected = drawing.ask(one_date, QUESTIONS[1], settings=SHORT)
        failures = [True]
        told: list[str] = []

        def run_out(pieces: Sequence[Piece]) -> None:
            if len(language.fed) > 5 and failures:
                failures.pop()
                raise out_of_memory()

        keeping.engine, language = watched(keeping.model, run_out, make_room=keeping.encoded.give_up, tell=told.append)
        num_rows = keeping.engine.max_rows
        check_same(keeping.ask(one_date, QUESTIONS[1], settings=SHORT), expected)
        assert keeping.encoded.max_scenes == 0 and keeping.encoded.find(one_date) is None
        assert keeping.engine.max_rows == num_rows
        assert told == ["Memory ran out; from now on no scene stays encoded from one question to the next."]

    @pytest.mark.parametrize("fails", ["encode_for_masks", "encode_tiles"])
    def test_a_scene_that_finds_no_room_beside_them_is_encoded_without_them(
        self, keeping: TerraScope, drawing: TerraScope, one_date: Scene, monkeypatch: pytest.MonkeyPatch, fails: str
    ) -> None:
        expected = drawing.ask(one_date, QUESTIONS[1], settings=SHORT)
        other = replace(one_date, notes=("another",))
        keeping.ask(other, QUESTIONS[1], settings=SHORT)
        plain = getattr(keeping.model, fails)

        def encode(pixels: torch.Tensor) -> Any:
            if keeping.encoded.find(other) is not None:
                raise out_of_memory()
            return plain(pixels)

        monkeypatch.setattr(keeping.model, fails, encode)
        check_same(keeping.ask(one_date, QUESTIONS[1], settings=SHORT), expected)

    def test_memory_that_runs_out_again_is_a_sentence(self, keeping: TerraScope, one_date: Scene) -> None:
        def run_out(pieces: Sequence[Piece]) -> None:
            if len(language.fed) > 5:
                raise out_of_memory()

        keeping.engine, language = watched(keeping.model, run_out, make_room=keeping.encoded.give_up)
        with pytest.raises(ModelError, match="memory ran out on cpu"):
            keeping.ask(one_date, QUESTIONS[0], settings=SHORT)


def test_classes_are_segmented_together_as_one_by_one(two_dates) -> None:  # type: ignore[no-untyped-def]
    front = TerraScope(*make_tiny(), "tiny")
    names = ["water", "no such class", "tree", "building"]
    seen: list[int] = []
    plain = front.model.encode_tiles
    front.model.encode_tiles = lambda tiles: (seen.append(len(tiles)), plain(tiles))[1]
    together = list(front.segment_many(two_dates.scene, names))
    assert seen == [4], "two dates of optical and SAR images, each a tile, encoded once"
    with pytest.raises(QuestionError) as refused:
        front.segment(two_dates.scene, names[1])
    assert isinstance(together[1], QuestionError) and str(together[1]) == str(refused.value)
    for name, answer in zip(names, together, strict=True):
        if name == "no such class":
            continue
        assert isinstance(answer, Answer)
        alone = front.segment(two_dates.scene, name)
        assert answer.reasoning == alone.reasoning and answer.question == alone.question
        assert [(s.image, s.num_tokens) for s in answer.steps] == [(s.image, s.num_tokens) for s in alone.steps]
        for one, other in zip(answer.masks, alone.masks, strict=True):
            assert (one != other).mean() < 0.001

"""The front door, with a tiny random model: what it promises whatever the weights say."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from terrascope.errors import ModelError, QuestionError, ScaleError
from terrascope.georeference import Georeference
from terrascope.model.engine import engine as engines
from terrascope.model.generation import GenerationSettings, Reasoning
from terrascope.model.reasoner import SceneReasoner
from terrascope.model.terrascope import FINISH_NOTES, TerraScope, choose_nearest
from terrascope.scene import Scene
from tests.model.conftest import Loaded, make_tiny


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

"""The tables are whole: what they name exists, and what they set are fields of recipes and settings of the model."""

from __future__ import annotations

import json

import pytest

from terrascope.errors import RecipeError
from terrascope.model.checkpoint import take_settings
from terrascope.training.ablations.tables import (
    PAPER_RECIPE,
    TABLES,
    TRAININGS,
    Variant,
    list_tables,
    table_named,
)
from terrascope.training.recipe import load_recipe
from tests.model.conftest import make_tiny

VARIANTS = [(name, variant) for name, table in TABLES.items() for variant in table.variants]


def variant_of(table: str, name: str) -> Variant:
    return next(variant for variant in TABLES[table].variants if variant.name == name)


def overrides(values: dict[str, object]) -> list[str]:
    return [f"{name}={json.dumps(value)}" for name, value in values.items()]


@pytest.mark.parametrize("name", TRAININGS)
def test_every_training_is_a_recipe_and_sets_what_it_says(name: str) -> None:
    training = TRAININGS[name]
    recipe = load_recipe("nano-stage2", overrides(training.fields))
    plain = recipe.model_dump(mode="json")
    for field, value in training.fields.items():
        found = plain
        for part in field.split("."):
            found = found[part]
        assert found == value, field


@pytest.mark.parametrize("name", TRAININGS)
def test_every_training_is_a_model(name: str) -> None:
    model, processor = make_tiny()
    settings = {
        field.removeprefix("settings."): value
        for field, value in TRAININGS[name].fields.items()
        if field.startswith("settings.")
    }
    assert len(settings) == (5 if name == "random" else 4)
    take_settings(model.config, processor, settings)
    for setting, value in settings.items():
        assert getattr(model.config, setting) == value
    assert processor.prompt_modalities == model.config.prompt_modalities


def test_no_two_trainings_are_the_same() -> None:
    told = [
        json.dumps([training.fields, training.fresh_projection, training.grounding_first])
        for training in TRAININGS.values()
    ]
    assert len(set(told)) == len(told)


def test_full_is_the_papers_training() -> None:
    assert TRAININGS["full"].fields == PAPER_RECIPE
    assert PAPER_RECIPE["objective.injected"] == "truth"
    assert (PAPER_RECIPE["settings.interleave"], PAPER_RECIPE["settings.modalities"]) == ("mask", "adaptive")


@pytest.mark.parametrize("name", TABLES)
def test_a_table_names_trainings_and_a_reference_that_exist(name: str) -> None:
    table = TABLES[name]
    names = [variant.name for variant in table.variants]
    assert len(set(names)) == len(names)
    assert table.reference in names
    assert set(table.trainings) <= set(TRAININGS)
    assert variant_of(name, table.reference).training is not None


def test_random_tokens_tell_nothing_of_a_mask() -> None:
    """Their number is the same whatever the mask is, and no mask is learned (paper, Sec. 5.2)."""
    fields = TRAININGS["random"].fields
    assert (fields["settings.interleave"], fields["settings.random_tokens"]) == ("random", 64)
    assert fields["objective.loss.seg_loss_weight"] == 0.0


def test_every_training_stands_in_a_table() -> None:
    assert {variant.training for _, variant in VARIANTS} - {None} == set(TRAININGS)


def test_settings_of_tests_are_settings_of_the_model() -> None:
    for _, variant in VARIANTS:
        model, processor = make_tiny()
        take_settings(model.config, processor, variant.test)


def test_the_papers_orders() -> None:
    assert TABLES["2"].paper_order == (
        "mask",
        "box",
        "textual CoT with segmentation",
        "textual CoT without segmentation",
        "random mask",
        "original",
    )
    assert TABLES["3"].paper_order == (
        "concatenation",
        "adaptive in training and test",
        "no fusion",
        "adaptive at test only",
    )
    assert TABLES["K"].paper_order[:2] == ("both, concatenated", "both, adaptive")
    assert TABLES["K"].paper_order[-1] == "optical, optical"
    assert TABLES["I"].paper_order == ("captions + L1 + L2", "captions + L1", "captions")
    assert TABLES["exposure"].paper_order == ()


def test_averages_of_table_3_are_those_of_its_five_tasks() -> None:
    paper = variant_of("3", "adaptive at test only").paper
    assert paper["macro"] == pytest.approx((72.3 + 69.0 + 66.7 + 78.8 + 63.6) / 5)


def test_table_3_shows_sar_only_at_test_to_what_was_trained_without() -> None:
    plain, at_test = variant_of("3", "no fusion"), variant_of("3", "adaptive at test only")
    assert plain.training == at_test.training == "optical"
    assert (plain.optical_only, at_test.optical_only) == (True, False)


def test_the_list_says_what_a_table_costs() -> None:
    said = list_tables(2)
    assert "2: What is interleaved with the reasoning (Table 2)" in said
    # Five trainings and the start weights, which are asked once.
    assert "  costs 10 trainings and 11 times all questions, with 2 seeds" in said
    assert "optical and SAR pairs" in said


def test_an_unknown_table_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(RecipeError, match="there is no table 'Z'; choose one of 1, 2, 3"):
        table_named("Z")

"""The prompts, filled in, and the schemas of their replies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from openai import pydantic_function_tool

from terracot.known_chip import IDS, LATER_IDS, make_chip
from terrascope.sources.chips import GivenQuestion
from terrascope.terracot import level1, prompts, recompute
from terrascope.terracot.marks import number_regions


def test_the_caption_prompt_is_the_papers_with_the_regions() -> None:
    chip = make_chip()
    marks = number_regions(chip.labelled, min_share=0.01, max_per_date=8)
    prompt = prompts.word_caption_prompt(chip, marks)
    assert "- Segmentation labels: {crop, tree, water}\n" in prompt
    assert "location: in Austria, date: 2024-05-01]\n" in prompt and "[resolution: 10 m, " in prompt
    assert marks.describe() in prompt
    assert '"The crop: [SEG:1 crop] It covers about 50% of the image."' in prompt
    for line in (
        "1. Analyze the spatial distribution of each land cover type shown in the segmentation masks",
        "- Explicitly mentions each segmented region",
        "- Describes spatial relationships between different land cover types",
        "- Estimates approximate coverage or area for major land cover classes",
        "- Notes any significant patterns or features",
        "3. Provide a final comprehensive caption summarizing the image",
    ):
        assert f"{line}\n" in prompt


def test_the_prompt_for_composed_questions_is_the_papers_with_pairs_and_rules() -> None:
    chip = make_chip(IDS, LATER_IDS)
    marks = number_regions(chip.labelled, min_share=0.01, max_per_date=8)
    pairs = level1.ask(chip, np.random.default_rng(1))
    assert pairs
    prompt = prompts.word_deep_prompt(chip, marks, "A {flood} came.", pairs)
    assert "- Image caption with spatial information: A {flood} came.\n" in prompt
    for pair in pairs:
        assert f"  Q: {pair.text} A: {pair.truth}\n" in prompt
    assert "- Available land cover classes: {crop, tree, water}\n" in prompt
    assert "date: 2024-05-01, 2024-05-02]" in prompt
    assert "4. Spatial reasoning questions must involve precise geometric analysis\n" in prompt
    for rule in prompts.RULES:
        assert f'- "{rule}": ' in prompt


def test_every_rule_but_one_can_be_computed_again() -> None:
    assert set(prompts.RULES) - set(recompute.RULES) == {prompts.NO_RULE}


def test_the_schemas_are_strict() -> None:
    """A strict schema knows no defaults: every field of every object is required, and no other is taken."""
    for schema in (prompts.CaptionDraft, prompts.DeepDrafts):
        own = schema.model_json_schema()
        strict = pydantic_function_tool(schema)["function"]["parameters"]
        for name, part in {"": own, **own.get("$defs", {})}.items():
            wanted = strict["$defs"][name] if name else strict
            assert part["required"] == wanted["required"] == list(part["properties"])
            assert part["additionalProperties"] is False


def test_what_the_data_set_says_of_a_scene_is_passed_on_shortened() -> None:
    question = GivenQuestion(kind="change", text="What burnt?", answer="The mill.")
    chip = replace(make_chip(), captions=("A valley\nwith a {mill}.", "x" * 5000), questions=(question,))
    said = prompts.word_metadata(chip)
    first, second, known = said.split(", described as: ")[1:] + [said.split(", known: ")[1]]
    assert first == "A valley with a {mill}." and second.startswith("x" * 600 + ", known")
    assert known == "What burnt? The mill."

"""Every setting in which the profiles differ: documented, switched alone, and taken from a profile by its name."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from terrascope.errors import ModelError
from terrascope.model.checkpoint import take_profile
from terrascope.model.encoding import embed_prompt, encode_scene
from terrascope.model.generation import GenerationSettings, reason
from terrascope.model.injection import weigh_pairs
from terrascope.model.profiles import PROFILES
from terrascope.model.terrascope import TerraScope
from terrascope.sources.synthetic import make_sample
from tests.model.conftest import Loaded, make_tiny

PARTS = ("model", "processor", "image_processor")
SWITCHES = [(base, part, setting) for base in PROFILES for part in PARTS for setting in getattr(PROFILES[base], part)]
TEXT = "<think>The water: [SEG] It covers. The tree: Image: 2 [SEG][SEG] So Image: 1 [SEG]</think><answer>A</answer>"


def set_alone(tiny: Loaded, base: str, part: str, setting: str) -> object:
    """Give a model the settings of one profile but for one, and return that one's value."""
    take_profile(tiny[0].config, tiny[1], base)
    (other,) = PROFILES.keys() - {base}
    value = getattr(PROFILES[other], part)[setting]
    owner = {"model": tiny[0].config, "processor": tiny[1], "image_processor": tiny[1].image_processor}[part]
    setattr(owner, setting, value)
    return value


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """A model of its own, whose settings change."""
    return make_tiny()


@pytest.mark.parametrize(("base", "part", "setting"), SWITCHES)
def test_with_one_setting_switched_the_loop_is_still_one_uncached_pass(
    loaded: Loaded, two_dates, half_masks, base: str, part: str, setting: str
) -> None:  # type: ignore[no-untyped-def]
    model, processor = loaded
    set_alone(loaded, base, part, setting)
    with torch.inference_mode():
        encoded = encode_scene(model, processor.image_processor.prepare_scene(two_dates.scene))
    prompt = processor.prepare_prompt(processor.describe(two_dates.scene), "How much is water?")
    ids = processor.tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    given = [half_masks[place] for place in (0, 1, 2)]
    result = reason(
        model, processor, encoded, prompt, GenerationSettings(), forced_ids=ids, forced_masks=given, keep_record=True
    )
    record = result.record
    assert record is not None
    with torch.no_grad():
        pairs = [{kind: encoded.context[place] for kind, place in pair.items()} for pair in encoded.pairs]
        visual = weigh_pairs(model, pairs, encoded.inputs.layouts, prompt)
        pieces, number = [embed_prompt(model, prompt, encoded.context)], 0
        for token in ids:
            pieces.append(model.get_input_embeddings()(torch.tensor([token])))
            if token == model.config.seg_token_id:
                pieces.append(visual[result.groundings[number].image - 1].gather(record.injected[number])[0])
                number += 1
        sequence = torch.cat(pieces)
        logits = model(inputs_embeds=sequence[None]).logits[0]
    assert torch.allclose(torch.cat(record.embeddings), sequence, atol=1e-6)
    for position, step in zip(record.positions, record.logits, strict=True):
        assert torch.allclose(step, logits[position - 1], atol=1e-4)
    config = model.config
    expected = [1, 2, 1, 2] if config.routing == "round_robin" else [1, 2, 2, 1]
    assert [grounding.image for grounding in result.groundings] == expected
    left, pixel, nothing, drawn = record.injected
    assert left.tolist() == [0, 1, 4, 5, 8, 9, 12, 13] and len(drawn) <= config.max_masked_tokens
    # The one pixel (40, 50) lies in no cell's centre (24 + 16 i, ...) and covers none by half.
    assert pixel.tolist() == ([11] if config.keep_best_token else [0] if config.first_token_if_empty else [])
    assert nothing.tolist() == ([0] if config.first_token_if_empty else [])


@pytest.mark.parametrize(("part", "setting"), [switch[1:] for switch in SWITCHES if switch[0] == "paper"])
def test_each_setting_changes_what_the_model_does(loaded: Loaded, part: str, setting: str) -> None:
    """One text, replayed by the paper's rules and with one of them switched: something differs."""
    model, processor = loaded
    # Larger than the mask decoder's input, so that resizing in two steps is another thing.
    scene = make_sample(3, size=96, kind="country", num_dates=2, cloudy=True).scene
    everything, bar, nothing, pixel = np.zeros((4, 96, 96), bool)
    everything[:], pixel[60, 70] = True, True
    # It holds the centres of two cells of 24 x 24 pixels, and covers neither by half.
    bar[32:40, 32:64] = True
    given = [everything, bar, nothing, pixel]
    text = TEXT.replace("covers.", "covers. The tree: [SEG]")

    def run() -> list[object]:
        inputs = processor.image_processor.prepare_scene(scene)
        with torch.inference_mode():
            encoded = encode_scene(model, inputs)
        prompt = processor.prepare_prompt(processor.describe(scene), "How much is water?")
        ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        result = reason(model, processor, encoded, prompt, forced_ids=ids, forced_masks=given, keep_record=True)
        assert result.record is not None
        injected = [indices.tolist() for indices in result.record.injected]
        last = result.groundings[-1]
        images = [grounding.image for grounding in result.groundings]
        pixels = inputs.tiles.numpy().tobytes() + inputs.sam_images.numpy().tobytes()
        return [injected, images, last.confidence, prompt.input_ids.tolist(), pixels, model.config.stop_tokens]

    take_profile(model.config, processor, "paper")
    if setting == "thinning":
        model.config.max_masked_tokens = 8
    before = run()
    if setting == "thinning":
        model.config.thinning = "first"
    else:
        set_alone(loaded, "paper", part, setting)
    if setting == "max_masked_tokens":
        assert len(before[0][0]) == 16 and len(run()[0][0]) == 8  # type: ignore[index]
    assert run() != before


def test_a_profile_is_taken_whole_and_by_name(loaded: Loaded, tmp_path: Path) -> None:
    TerraScope(*loaded, "tiny").save_pretrained(str(tmp_path / "tiny"))
    for name, profile in PROFILES.items():
        front = TerraScope.from_pretrained(str(tmp_path / "tiny"), profile=name)
        owners = (front.model.config, front.processor, front.processor.image_processor)
        for owner, part in zip(owners, PARTS, strict=True):
            for setting, value in getattr(profile, part).items():
                assert getattr(owner, setting) == (list(value) if isinstance(value, tuple) else value), setting
    with pytest.raises(ModelError, match="unknown profile 'best': choose one of paper, release"):
        TerraScope.from_pretrained("nano", profile="best")


def documented() -> Iterator[tuple[str, list[str]]]:
    """Setting -> values for `paper` and `release`, as the table says."""
    path = Path(__file__).resolve().parents[2] / "docs" / "profiles.md"
    for line in path.read_text(encoding="utf-8").splitlines():
        # In a table, code with a bar is written in HTML.
        plain = [re.sub(r"<code>(.*?)</code>", r"`\1`", cell.strip()) for cell in line.strip("|").split("|")]
        cells = [html.unescape(cell) for cell in plain]
        if re.fullmatch(r"`[a-z_]+`", cells[0]) and len(cells) == 5:
            yield cells[0].strip("`"), cells[1:3]


def test_the_documented_settings_are_those_of_the_profiles() -> None:
    def words(value: object) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, tuple):
            return ", ".join(f"`{item}`" for item in value) or "none"
        return str(value) if isinstance(value, int) else f"`{value}`"

    expected = {
        setting: [words(getattr(PROFILES[name], part)[setting]) for name in ("paper", "release")]
        for part in PARTS
        for setting in getattr(PROFILES["paper"], part)
    }
    assert dict(documented()) == expected

"""What the model is told of a scene, token by token, and what it is shown of it, number by number."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from pyproj import CRS
from transformers import AutoProcessor

from terrascope.errors import QuestionError
from terrascope.georeference import Georeference
from terrascope.model.checkpoint import make_processor
from terrascope.model.processing import (
    IMAGE_START,
    IMAGE_TOKEN,
    SYSTEM_PROMPT,
    Prompt,
    PromptStyle,
    SceneFacts,
    TerraScopeImageProcessor,
    TerraScopeProcessor,
    scene_scale,
)
from terrascope.model.tiles import TileLayout
from terrascope.scene import Observation, Scene
from tests.model.conftest import Loaded, make_tiny

IMAGE = "<img>" + "<IMG_CONTEXT>" * 16 + "</img>"


def picture(
    modality: str = "optical",
    *,
    shape: tuple[int, int] = (64, 64),
    gsd_m: float | None = None,
    day: str | None = None,
    value: float = 51.0,
    valid: np.ndarray | None = None,
) -> Observation:
    """A constant 8-bit image; 51 is shown as 0.2."""
    bands = ("red", "green", "blue") if modality == "optical" else ("backscatter",)
    return Observation(
        pixels=np.full((len(bands), *shape), value, np.float32),
        bands=bands,
        modality=modality,  # type: ignore[arg-type]
        sensor="rgb" if modality == "optical" else "sar-8bit",
        valid=np.ones(shape, bool) if valid is None else valid,
        georeference=Georeference(gsd_m=gsd_m),
        date=datetime.date.fromisoformat(day) if day else None,
    )


def text_of(processor: TerraScopeProcessor, prompt: Prompt) -> str:
    return processor.tokenizer.decode(prompt.input_ids)


def asked(processor: TerraScopeProcessor, scene: Scene, question: str, options: tuple[str, ...] = ()) -> Prompt:
    return processor.prepare_prompt(processor.describe(scene), question, options)


def test_prompt_of_one_optical_image_with_a_scale(tiny: Loaded) -> None:
    _, processor = tiny
    # 64 x 64 pixels of 10 m: one percent is 4096 m2, and the image is 640 m wide.
    prompt = asked(processor, Scene.of(optical=[picture(gsd_m=10.0)]), "How much is water?")
    assert text_of(processor, prompt) == (
        f"<|im_start|>user\nImage: 1 optical {IMAGE}\nOne percent is 4100 m2. The image is 640 m wide.\n"
        "How much is water?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert prompt.num_options == 0


def test_prompt_of_two_dates_with_both_modalities(tiny: Loaded) -> None:
    _, processor = tiny
    days = ("2021-03-04", "2021-09-30")
    scene = Scene.of(optical=[picture(day=day) for day in days], sar=[picture("sar", day=day) for day in days])
    assert text_of(processor, asked(processor, scene, "What changed?")) == (
        f"<|im_start|>user\nImage: 1 2021-03-04 optical {IMAGE} sar {IMAGE}\n"
        f"Image: 2 2021-09-30 optical {IMAGE} sar {IMAGE}\nWhat changed?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_prompt_may_show_the_optical_images_alone(tiny: Loaded) -> None:
    processor = make_processor(tiny[0].config, tiny[1].tokenizer)
    processor.system_prompt, processor.prompt_modalities = "", "optical"
    days = ("2021-03-04", "2021-09-30")
    optical, radar = [picture(day=day) for day in days], [picture("sar", day=day) for day in days]
    prompt = asked(processor, Scene.of(optical=optical, sar=radar), "What changed?")
    assert text_of(processor, prompt) == (
        f"<|im_start|>user\nImage: 1 2021-03-04 optical {IMAGE}\nImage: 2 2021-09-30 optical {IMAGE}\n"
        "What changed?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert (prompt.images, prompt.modalities) == ((0, 2), "optical")
    # Where there is no optical image, SAR is shown.
    alone = asked(processor, Scene.of(sar=radar), "What changed?")
    assert f"Image: 1 2021-03-04 sar {IMAGE}\nImage: 2 2021-09-30 sar {IMAGE}\n" in text_of(processor, alone)
    assert (alone.images, alone.modalities) == ((0, 1), "optical")
    mixed = SceneFacts(modalities=(("sar",), ("sar", "optical"), ("optical",)), num_tokens=16, dates=(None,) * 3)
    prompt = processor.prepare_prompt(mixed, "What changed?")
    assert f"Image: 1 sar {IMAGE}\nImage: 2 optical {IMAGE}\nImage: 3 optical {IMAGE}\n" in text_of(processor, prompt)
    assert prompt.images == (0, 2, 3)


@pytest.mark.parametrize("style", ["described", "plain"])
@pytest.mark.parametrize("num_tokens", [1, 37])
def test_a_prompt_is_what_the_tokenizer_makes_of_it_written_out(style: PromptStyle, num_tokens: int) -> None:
    """The text with every image token in it, tokenised at once."""
    _, processor = make_tiny()
    processor.system_prompt, processor.prompt_style = "Answer in [SEG].", style
    facts = SceneFacts(modalities=(("optical", "sar"), ("sar",)), num_tokens=num_tokens, dates=("2020-01-02", None))
    prompt = processor.prepare_prompt(facts, "Is <b> water?\n", ("no", "yes"))
    told = processor.tokenizer.decode(prompt.input_ids)
    assert told.count(IMAGE_TOKEN * num_tokens) == told.count(IMAGE_START) == 3
    assert processor.tokenizer(told, add_special_tokens=False)["input_ids"] == prompt.input_ids.tolist()
    assert processor.tokenizer.decode(prompt.input_ids[prompt.question]) == "Is <b> water?\nA. no\nB. yes"
    assert len(prompt.question) == len(prompt.input_ids) and prompt.input_ids.dtype == torch.int64


def test_prompt_of_radar_alone_with_options(tiny: Loaded) -> None:
    _, processor = tiny
    prompt = asked(processor, Scene.of(sar=[picture("sar")]), "  How much is water?\n", ("10%", "20%"))
    assert text_of(processor, prompt) == (
        f"<|im_start|>user\nImage: 1 sar {IMAGE}\nHow much is water?\nA. 10%\nB. 20%<|im_end|>\n<|im_start|>assistant\n"
    )
    assert prompt.num_options == 2


def test_the_papers_system_prompt_is_the_first_turn(tiny: Loaded) -> None:
    model, plain = tiny
    processor = make_processor(model.config, plain.tokenizer)
    assert processor.system_prompt == SYSTEM_PROMPT
    text = text_of(processor, asked(processor, Scene.of(optical=[picture()]), "How much is water?"))
    assert text.startswith(f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n<|im_start|>user\nImage: 1 optical <img>")


@pytest.mark.parametrize("options", [(), ("10%", "20%"), ("1", "2", "3", "4", "5")])
@pytest.mark.parametrize("question", ["How much is water?", "Wie groß ist der See?\nUnd der Wald?", "user"])
def test_the_question_is_its_words_and_options_and_no_more(
    tiny: Loaded, question: str, options: tuple[str, ...]
) -> None:
    _, processor = tiny
    prompt = asked(processor, Scene.of(optical=[picture(gsd_m=10.0)]), question, options)
    words = "\n".join([question, *(f"{letter}. {text}" for letter, text in zip("ABCDE", options, strict=False))])
    assert processor.tokenizer.decode(prompt.input_ids[prompt.question]) == words
    places = prompt.question.nonzero()[:, 0]
    assert torch.equal(places, torch.arange(int(places[0]), int(places[-1]) + 1)), "in one piece"
    after = processor.tokenizer.decode(prompt.input_ids[int(places[-1]) + 1 :])
    assert after == "<|im_end|>\n<|im_start|>assistant\n"


def test_a_question_that_is_a_word_of_the_template_is_found_where_it_was_asked(tiny: Loaded) -> None:
    _, processor = tiny
    prompt = asked(processor, Scene.of(optical=[picture()]), "assistant")
    last = int(prompt.question.nonzero()[-1])
    assert processor.tokenizer.decode(prompt.input_ids[last + 1 :]) == "<|im_end|>\n<|im_start|>assistant\n"


def test_every_image_has_as_many_places_as_visual_tokens(tiny: Loaded) -> None:
    model, processor = tiny
    token = processor.tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    for scene, num_images in (
        (Scene.of(optical=[picture()]), 1),
        (Scene.of(optical=[picture()], sar=[picture("sar")]), 2),
        (Scene.of(optical=[picture()] * 3, sar=[picture("sar")] * 3), 6),
    ):
        prompt = asked(processor, scene, "What?")
        assert int((prompt.input_ids == token).sum()) == num_images * 16
        assert processor.image_processor.prepare_scene(scene).tiles.shape == (num_images, 3, 32, 32)
    assert model.config.token_grid**2 == 16


def test_a_tiled_image_counts_its_thumbnail(tiny: Loaded) -> None:
    _, plain = tiny
    image_processor = TerraScopeImageProcessor(tile_size=32, token_grid=4, sam_size=64, min_tiles=1, max_tiles=6)
    processor = TerraScopeProcessor(image_processor, plain.tokenizer)
    wide = Scene.of(optical=[picture(shape=(64, 192))])
    assert image_processor.layout_of(wide.shape, 1) == TileLayout(1, 3, 4)
    assert processor.describe(wide).num_tokens == 4 * 16
    assert image_processor.prepare_scene(wide).tiles.shape == (4, 3, 32, 32)
    two = Scene.of(optical=[picture(shape=(64, 192))] * 2)
    assert processor.describe(two).num_tokens == 16, "several dates are never tiled"
    assert image_processor.prepare_scene(two).tiles.shape == (2, 3, 32, 32)


@pytest.mark.parametrize("question", ["", "   ", "\n"])
def test_an_empty_question_is_refused(tiny: Loaded, question: str) -> None:
    with pytest.raises(QuestionError, match="the question is empty: ask something"):
        asked(tiny[1], Scene.of(optical=[picture()]), question)


@pytest.mark.parametrize("num", [1, 6])
def test_one_or_six_options_are_refused(tiny: Loaded, num: int) -> None:
    with pytest.raises(QuestionError, match=rf"{num} choices given: give 2 to 5, or none"):
        asked(tiny[1], Scene.of(optical=[picture()]), "How much?", tuple("123456"[:num]))


@pytest.mark.parametrize("word", ["<IMG_CONTEXT>", "[SEG]", "<|im_end|>"])
def test_control_tokens_in_a_question_are_refused_or_plain_text(tiny: Loaded, word: str) -> None:
    _, processor = tiny
    control = processor.tokenizer.convert_tokens_to_ids(word)
    plain = asked(processor, Scene.of(optical=[picture()]), "What is it?")
    try:
        prompt = asked(processor, Scene.of(optical=[picture()]), f"What is {word}?")
    except QuestionError:
        return
    assert int((prompt.input_ids == control).sum()) == int((plain.input_ids == control).sum())


def test_the_scale_counts_valid_pixels_and_the_middle_row() -> None:
    valid = np.ones((64, 64), bool)
    valid[:, :32] = False
    assert scene_scale(Scene.of(optical=[picture(gsd_m=10.0, valid=valid)])) == pytest.approx((2048.0, 640.0))
    assert scene_scale(Scene.of(optical=[picture()])) == (None, None)
    # Radar fills the gap: what one of the two images measured counts.
    both = Scene.of(optical=[picture(gsd_m=10.0, valid=valid)], sar=[picture("sar", gsd_m=10.0)])
    assert scene_scale(both) == pytest.approx((4096.0, 640.0))
    degrees = Georeference(crs=CRS.from_epsg(4326), transform=Affine(0.001, 0, 10, 0, -0.001, 60))
    base = picture()
    scene = Scene.of(
        optical=[
            Observation(
                pixels=base.pixels, bands=base.bands, modality="optical", sensor="rgb", valid=base.valid,
                georeference=degrees,
            )
        ]
    )  # fmt: skip
    area, width = scene_scale(scene)
    size = degrees.pixel_size(64, 64)
    assert area == pytest.approx(size.area_m2.sum() * 64 / 100) and width == pytest.approx(size.width_m[32] * 64)
    assert width == pytest.approx(64 * 0.001 * 111_320 * 0.5, rel=0.01), "half an equatorial degree at 60 degrees north"


def test_facts_without_a_scale_state_none(tiny: Loaded) -> None:
    facts = tiny[1].describe(Scene.of(optical=[picture()]))
    assert facts == SceneFacts(modalities=(("optical",),), num_tokens=16, dates=(None,))
    assert "percent" not in text_of(tiny[1], tiny[1].prepare_prompt(facts, "What?"))


def test_pixels_are_normalised_channel_by_channel() -> None:
    processor = TerraScopeImageProcessor(image_mean=(0.1, 0.2, 0.3), image_std=(0.5, 0.25, 2.0))
    pixels = torch.tensor([0.6, 0.7, 0.5])[:, None, None].expand(3, 4, 5)
    expected = torch.tensor([1.0, 2.0, 0.1])[:, None, None].expand(3, 4, 5)
    assert torch.allclose(processor.normalize_pixels(pixels), expected, atol=1e-6)
    batch = processor.normalize_pixels(pixels[None].expand(2, 3, 4, 5))
    assert batch.shape == (2, 3, 4, 5) and torch.allclose(batch[1], expected, atol=1e-6)


def test_a_constant_image_is_the_same_number_in_tiles_and_for_sam(tiny: Loaded) -> None:
    processor = tiny[1].image_processor
    inputs = processor.prepare_scene(Scene.of(optical=[picture(shape=(48, 80))]))
    expected = (0.2 - torch.tensor(processor.image_mean)) / torch.tensor(processor.image_std)
    assert inputs.tiles.shape == (1, 3, 32, 32) and inputs.sam_images.shape == (1, 3, 64, 64)
    for pixels in (inputs.tiles, inputs.sam_images):
        assert torch.allclose(pixels, expected[:, None, None].expand_as(pixels[0]), atol=1e-5)


def test_unmeasured_pixels_are_shown_black(tiny: Loaded) -> None:
    processor = tiny[1].image_processor
    valid = np.ones((64, 64), bool)
    valid[:32, :32] = False
    inputs = processor.prepare_scene(Scene.of(optical=[picture(valid=valid, value=200.0)]))
    black, bright = (
        (v - torch.tensor(processor.image_mean)) / torch.tensor(processor.image_std) for v in (0.0, 200 / 255)
    )
    assert torch.allclose(inputs.sam_images[0, :, :32, :32], black[:, None, None].expand(3, 32, 32), atol=1e-6)
    assert torch.allclose(inputs.sam_images[0, :, 32:], bright[:, None, None].expand(3, 32, 64), atol=1e-6)
    assert torch.allclose(inputs.tiles[0, :, :12, :12], black[:, None, None].expand(3, 12, 12), atol=1e-5)
    assert torch.equal(inputs.valid[0], torch.from_numpy(valid))


def test_images_stand_in_the_order_of_the_prompt(tiny: Loaded) -> None:
    processor = tiny[1].image_processor
    scene = Scene.of(
        optical=[picture(value=10.0), picture(value=20.0)],
        sar=[picture("sar", value=110.0), picture("sar", value=120.0)],
    )
    inputs = processor.prepare_scene(scene)
    shown = inputs.sam_images * torch.tensor(processor.image_std)[:, None, None]
    shown = (shown + torch.tensor(processor.image_mean)[:, None, None]) * 255
    assert torch.allclose(shown.mean((1, 2, 3)), torch.tensor([10.0, 110.0, 20.0, 120.0]), atol=1e-3)
    assert inputs.modalities == (("optical", "sar"), ("optical", "sar"))
    assert inputs.layouts == (TileLayout(1, 1, 4),) * 2 and len(inputs.valid) == 4


def test_calling_the_processor_gives_the_same_tensors(tiny: Loaded) -> None:
    _, processor = tiny
    scene = Scene.of(optical=[picture()])
    features = processor(scene, "How much?", ("1", "2"))
    inputs = processor.image_processor.prepare_scene(scene)
    assert set(features) == {"input_ids", "pixel_values", "sam_pixel_values"}
    assert torch.equal(features["input_ids"][0], asked(processor, scene, "How much?", ("1", "2")).input_ids)
    assert torch.equal(features["pixel_values"], inputs.tiles)
    assert torch.equal(features["sam_pixel_values"], inputs.sam_images)


@pytest.mark.parametrize("system_prompt", ["", "Be brief."])
def test_processor_tokenizer_and_template_survive_the_disk(tiny: Loaded, tmp_path: Path, system_prompt: str) -> None:
    model, plain = tiny
    processor = make_processor(model.config, plain.tokenizer, image_mean=[0.3] * 3, image_std=[0.25] * 3)
    processor.system_prompt = system_prompt
    model.config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    scene = Scene.of(optical=[picture(gsd_m=10.0)])
    for again in (AutoProcessor.from_pretrained(tmp_path), TerraScopeProcessor.from_pretrained(tmp_path)):
        assert isinstance(again, TerraScopeProcessor) and again.system_prompt == system_prompt
        for name in ("tile_size", "token_grid", "sam_size", "min_tiles", "max_tiles", "image_mean", "image_std"):
            assert getattr(again.image_processor, name) == getattr(processor.image_processor, name), name
        assert again.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
        assert again.tokenizer.chat_template == processor.tokenizer.chat_template
        ours, theirs = (asked(p, scene, "How much is water?", ("1%", "2%")) for p in (processor, again))
        assert torch.equal(ours.input_ids, theirs.input_ids) and torch.equal(ours.question, theirs.question)
        assert torch.equal(
            processor.image_processor.prepare_scene(scene).tiles, again.image_processor.prepare_scene(scene).tiles
        )


def test_polarisations_are_shown_in_the_order_asked_for(tiny: Loaded, two_dates) -> None:  # type: ignore[no-untyped-def]
    pair = two_dates.scene.pairs[0]
    processor = TerraScopeImageProcessor(sar_order="vh_vv")
    assert torch.equal(processor.show(pair.sar), TerraScopeImageProcessor().show(pair.sar)[[1, 0, 2]])
    assert torch.equal(processor.show(pair.optical), TerraScopeImageProcessor().show(pair.optical))

"""A hub model as a predictor: tiny random ones of two families, saved to a folder and loaded without torchvision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForImageTextToText,
    GotOcr2ImageProcessorPil,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessorPil,
)

from terrascope.bench.foreign import CUT_OFF
from terrascope.bench.prompts import guidance
from terrascope.errors import ModelError, QuestionError
from terrascope.model import vlm
from terrascope.model.vlm import VisionLanguageModel
from tests.model.families import VLMS, spread, tokenizer_for

QUESTION, OPTIONS = "Which is larger in image 2, water or crops?", ("water", "crop")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}MARK{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKS = {"internvl3": "<IMG_CONTEXT>\n", "qwen25vl": "<|vision_start|><|image_pad|><|vision_end|>"}


def save_tiny(family: str, folder: Path) -> Path:
    """A model of random weights as the hub would have it: weights, tokenizer, image settings, chat template."""
    words = tokenizer_for(VLMS[family](64))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words.backend_tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    tokenizer.chat_template = TEMPLATE.replace("MARK", MARKS[family])
    config = VLMS[family](len(tokenizer))
    mark = "<IMG_CONTEXT>" if family == "internvl3" else "<|image_pad|>"
    config.image_token_id = tokenizer.convert_tokens_to_ids(mark)
    model = AutoModelForImageTextToText.from_config(config)
    spread(model)
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if family == "internvl3":
        images = GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, crop_to_patches=True, max_patches=4)
        (folder / "processor_config.json").write_text(json.dumps({"image_seq_length": 16}))
    else:
        images = Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, min_pixels=64, max_pixels=1024)
    images.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["internvl3", "qwen25vl"])
def tiny_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def spied(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A loaded model, and what its processor was given: the prompt, and the pictures."""
    model = VisionLanguageModel.from_pretrained(str(tiny_folder), device="cpu", max_new_tokens=6)
    seen: dict[str, Any] = {}

    class Spy:
        def __init__(self, processor: Any) -> None:
            self.processor = processor

        def __getattr__(self, name: str) -> Any:
            return getattr(self.processor, name)

        def __call__(self, text: list[str], images: list[Any], **how: Any) -> Any:
            seen.update(text=text[0], images=images)
            seen["inputs"] = self.processor(text=text, images=images, **how)
            return seen["inputs"]

    model.processor = Spy(model.processor)
    return model, seen


@pytest.mark.parametrize(
    ("several", "num_pictures", "num_turns"), [("images", 4, 1), ("side-by-side", 1, 1), ("one-by-one", 4, 4)]
)
def test_images_reach_the_model_in_the_way_that_was_chosen(spied, two_dates, several, num_pictures, num_turns) -> None:  # type: ignore[no-untyped-def]
    model, seen = spied
    model.several = several
    answer = model.ask(two_dates.scene, QUESTION, options=OPTIONS)
    assert len(seen["images"]) == num_pictures
    assert seen["text"].count("<|im_start|>user") == num_turns
    assert seen["text"].endswith(f"{QUESTION}\nA. water\nB. crop\n{guidance(2)}<|im_end|>\n<|im_start|>assistant\n")
    assert answer.steps == () and answer.options == OPTIONS and answer.model == model.name
    assert answer.reasoning


def test_the_words_are_those_of_the_library_itself(spied, two_dates) -> None:  # type: ignore[no-untyped-def]
    """Greedy, step by step with the plain forward pass, on the very inputs that the processor made."""
    model, seen = spied
    answer = model.ask(two_dates.scene, QUESTION, options=OPTIONS)
    inputs = dict(seen["inputs"])
    start = inputs["input_ids"].shape[1]
    with torch.inference_mode():
        for _ in range(6):
            logits = model.model(**inputs, use_cache=False).logits
            new = logits[:, -1].argmax(-1, keepdim=True)
            inputs["input_ids"] = torch.cat([inputs["input_ids"], new], 1)
            inputs["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(new)], 1)
            if "mm_token_type_ids" in inputs:
                inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(new)], 1)
    expected = model.processor.tokenizer.decode(inputs["input_ids"][0, start:], skip_special_tokens=True).strip()
    assert answer.reasoning == expected


def test_pictures_are_brought_to_the_format_of_the_weights(tiny_folder: Path, two_dates) -> None:  # type: ignore[no-untyped-def]
    model = VisionLanguageModel.from_pretrained(str(tiny_folder), device="cpu", dtype="bfloat16", max_new_tokens=3)
    assert model.model.dtype == torch.bfloat16
    assert model.ask(two_dates.scene, QUESTION, options=OPTIONS).reasoning


def test_pictures_matter(spied, two_dates) -> None:  # type: ignore[no-untyped-def]
    model, seen = spied
    model.ask(two_dates.scene, QUESTION, options=OPTIONS)
    shown = [np.asarray(picture) for picture in seen["images"]]
    assert all(picture.shape == (64, 64, 3) and picture.std() > 1 for picture in shown)
    assert not np.array_equal(shown[0], shown[2])


def test_a_seg_that_a_foreign_model_writes_is_a_word(spied, two_dates, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    model, _ = spied
    monkeypatch.setattr(model, "_complete", lambda turns: ("The water: [SEG] It is B.", False))
    answer = model.ask(two_dates.scene, QUESTION, options=OPTIONS)
    assert (answer.text, answer.option, answer.masks) == ("B", "crop", ())


@pytest.mark.parametrize(("limit", "ends", "cut_off"), [(6, False, True), (6, True, False), (7, True, False)])
def test_an_answer_that_the_limit_ended_says_so(
    spied, two_dates, monkeypatch: pytest.MonkeyPatch, limit: int, ends: bool, cut_off: bool
) -> None:  # type: ignore[no-untyped-def]
    model, _ = spied
    model.max_new_tokens = limit
    monkeypatch.setattr(model.model.generation_config, "eos_token_id", [5, 7])

    def write(input_ids: torch.Tensor, **_: object) -> torch.Tensor:
        return torch.cat([input_ids, torch.tensor([[9, 9, 9, 9, 9, 7 if ends else 9]])], 1)

    monkeypatch.setattr(model.model, "generate", write)
    answer = model.ask(two_dates.scene, QUESTION, options=OPTIONS)
    assert (CUT_OFF in answer.notes) == cut_off


def test_it_makes_no_masks(spied, two_dates) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(QuestionError, match="makes no masks"):
        spied[0].segment(two_dates.scene, "water")


def test_memory_that_runs_out_is_told_in_words(spied, two_dates, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    model, _ = spied

    def runs_out(**_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(model.model, "generate", runs_out)
    with pytest.raises(ModelError, match="memory ran out on cpu"):
        model.ask(two_dates.scene, QUESTION, options=OPTIONS)


def test_what_cannot_be_asked_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "a_model_of_its_own", "auto_map": {"x": "y.Z"}}))
    with pytest.raises(ModelError, match=f"{tmp_path.name}: its image processor or tokenizer cannot be loaded"):
        VisionLanguageModel.from_pretrained(str(tmp_path), device="cpu")


def test_a_base_model_without_a_template_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    for file in tiny_folder.iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match="has no chat template"):
        vlm._load_processor(tmp_path, "base")


def test_an_unknown_way_of_showing_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(QuestionError, match="'mosaic'; choose one of images, side-by-side, one-by-one"):
        VisionLanguageModel.from_pretrained("no/such", several="mosaic")

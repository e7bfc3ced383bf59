"""Any vision-language model of the hub that the library itself knows, as a predictor: it answers in words alone.

Asked as the paper asks its baselines (`terrascope.bench.prompts`), greedily, without any code of the repository. Most
processors of the library also take videos and then want torchvision, which we do without: such a processor is put
together from its image processor and its tokenizer, and shown images only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from terrascope.answer import Answer
from terrascope.bench.foreign import answer_in_words
from terrascope.bench.prompts import MAX_SIDE, Several, Turn, check_several, make_turns
from terrascope.errors import ModelError, QuestionError
from terrascope.model import hub
from terrascope.model.devices import choose_device, choose_dtype, placement
from terrascope.model.memory import memory_errors_in_words
from terrascope.question import check_question
from terrascope.scene import Scene

MAX_NEW_TOKENS = 1024
"""Longest answer; models that think aloud need most of it, and the others end after a letter."""

_VIDEO = "video_processor"


class VisionLanguageModel:
    """A model with its processor, as a `terrascope.predictor.Predictor` that makes no masks.

    Args:
        model, processor: of the library.
        name: by which answers call it.
        several: how several images are shown.
        max_side: longest side of a picture that is shown, in pixels.
        max_new_tokens: longest answer.

    Raises:
        QuestionError: `several` is no such way.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        name: str,
        *,
        several: str = "images",
        max_side: int = MAX_SIDE,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> None:
        self.model, self.processor, self.name = model, processor, name
        self.several: Several = check_several(several)
        self.max_side, self.max_new_tokens = max_side, max_new_tokens

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        several: str = "images",
        max_side: int = MAX_SIDE,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> VisionLanguageModel:
        """Load a folder or a hub repository, such as "OpenGVLab/InternVL3-8B-hf" or "Qwen/Qwen2.5-VL-7B-Instruct".

        Args:
            device, dtype: as in `TerraScope.from_pretrained`.
            several, max_side, max_new_tokens: of the object.

        Raises:
            ModelError: there is no such model, the library has no vision-language model of its kind, or it does not
                fit into memory.
            QuestionError: `several` is no such way.
        """
        check_several(several)
        place = choose_device(device)
        folder = Path(name) if Path(name).is_dir() else hub.fetch(name)
        processor = _load_processor(folder, name)
        with memory_errors_in_words(place):
            model = _load_model(folder, name, place, dtype)
        return cls(model, processor, name, several=several, max_side=max_side, max_new_tokens=max_new_tokens)

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
        """As `Predictor.ask`.

        Raises:
            QuestionError: the question is empty, or its options cannot be used.
            ScaleError: the answer is a length or an area, and the scene does not know its scale.
            ModelError: memory ran out, or the model does not take the images in this way.
        """
        question, texts = check_question(scene, question, options)
        turns = make_turns(scene, question, texts, several=self.several, max_side=self.max_side)
        with memory_errors_in_words(self.model.device):
            text, cut_off = self._complete(turns)
        return answer_in_words(scene, question, texts, text, self.name, cut_off=cut_off)

    def segment(self, scene: Scene, class_name: str) -> Answer:
        raise QuestionError(f"{self.name} answers in words and makes no masks; ask one of our models")

    @torch.inference_mode()
    def _complete(self, turns: Sequence[Turn]) -> tuple[str, bool]:
        """What the model writes next, its own tags included and the tokens that end a turn left out; and whether the
        limit of its length ended it."""
        messages = [
            {
                "role": turn.role,
                "content": [*({"type": "image"} for _ in turn.pictures), {"type": "text", "text": turn.text}],
            }
            for turn in turns
        ]
        pictures = [Image.fromarray(picture) for turn in turns for picture in turn.pictures]
        try:
            prompt = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            inputs = self.processor(text=[prompt], images=pictures, return_tensors="pt").to(self.model.device)
            for key, value in inputs.items():
                if torch.is_tensor(value) and value.is_floating_point():
                    inputs[key] = value.to(self.model.dtype)
            written = self.model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=self.max_new_tokens)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ModelError(
                f"{self.name} does not take {len(pictures)} images shown {self.several!r} ({_short(error)}); "
                "try another way of showing them"
            ) from error
        new = written[0, inputs["input_ids"].shape[1] :]
        tokenizer = self.processor.tokenizer
        text: str = tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        cut_off = len(new) == self.max_new_tokens and int(new[-1]) not in ends
        return text.strip(), cut_off


def _load_model(folder: Path, name: str, device: torch.device, dtype: str | torch.dtype) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        stored = getattr(config, "dtype", None) or getattr(config.get_text_config(), "dtype", None) or torch.float32
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        chosen = choose_dtype(dtype, device, stored, size // stored.itemsize)
        model = AutoModelForImageTextToText.from_pretrained(
            folder,
            config=config,
            dtype=chosen,
            trust_remote_code=False,
            use_safetensors=True,
            **placement(device, None, None),
        )
    except (ValueError, KeyError, OSError, ImportError, AttributeError) as error:
        raise ModelError(
            f"{name}: not a vision-language model that the installed transformers knows ({_short(error)}); "
            "give one that runs without code of its own, often named -hf"
        ) from error
    return model.to(device).eval()


def _load_processor(folder: Path, name: str) -> Any:
    try:
        try:
            processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
        except (ImportError, ValueError) as error:
            if "torchvision" not in str(error).lower():
                raise
            processor = _images_only(folder)
    except (ValueError, KeyError, OSError, ImportError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{name}: its image processor or tokenizer cannot be loaded ({_short(error)}); "
            "give a model that runs without code of its own, often named -hf"
        ) from error
    if not getattr(processor, "chat_template", None):
        raise ModelError(f"{name}: has no chat template, so it cannot be asked; give the instruction-tuned version")
    return processor


def _images_only(folder: Path) -> Any:
    """The processor of a folder without the part that reads videos."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    whole = PROCESSOR_MAPPING[type(config)]

    class ImagesOnly(whole):  # type: ignore[misc, valid-type]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name == _VIDEO:
                return None
            return super().check_argument_for_proper_class(argument_name, argument)

    parts = {
        "image_processor": AutoImageProcessor.from_pretrained(folder, trust_remote_code=False),
        "tokenizer": AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
        _VIDEO: None,
    }
    settings, _ = whole.get_processor_dict(folder)
    return ImagesOnly.from_args_and_dict([parts[name] for name in whole.get_attributes()], settings)


def _short(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]

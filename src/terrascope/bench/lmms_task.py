"""A benchmark of TerraScope as lmms-eval asks it: pictures, prompt, and the score of each answer.

This file is copied as it is into the folder of the task, where its YAML files find it under the name `utils.py`; so it
needs nothing but Pillow. A row has `prompt` and `prompt_side_by_side`, the options `A`, `B`, ... (null where there are
fewer), `answer` (a letter), `category`, and the pictures `image_1`, `image_2`, ... (null where there are fewer).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

LETTERS = "ABCDE"
GAP_PX = 8

_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|(?=<answer>|<think>)|\Z)", re.S)
_THOUGHT = re.compile(r"<think>.*?</think>", re.S)
_TAG = re.compile(r"</?(?:think|answer)>")


def doc_to_visual(doc: Mapping[str, Any]) -> list[Image.Image]:
    """The pictures of a row, in order."""
    names = sorted((name for name in doc if re.fullmatch(r"image_\d+", name)), key=lambda name: int(name[6:]))
    return [doc[name].convert("RGB") for name in names if doc[name] is not None]


def doc_to_visual_side_by_side(doc: Mapping[str, Any]) -> list[Image.Image]:
    """The pictures of a row from left to right in one, white between them."""
    pictures = doc_to_visual(doc)
    width = sum(picture.width for picture in pictures) + GAP_PX * (len(pictures) - 1)
    joined = Image.new("RGB", (width, max(picture.height for picture in pictures)), (255, 255, 255))
    left = 0
    for picture in pictures:
        joined.paste(picture, (left, 0))
        left += picture.width + GAP_PX
    return [joined]


def doc_to_text(doc: Mapping[str, Any], lmms_eval_specific_kwargs: Mapping[str, str] | None = None) -> str:
    """The prompt, with what the settings of a model put before and after it."""
    return _around(doc["prompt"], lmms_eval_specific_kwargs)


def doc_to_text_side_by_side(doc: Mapping[str, Any], lmms_eval_specific_kwargs: Mapping[str, str] | None = None) -> str:
    """The prompt for pictures that are joined into one."""
    return _around(doc["prompt_side_by_side"], lmms_eval_specific_kwargs)


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """One entry for every metric that the row counts for."""
    letters = "".join(letter for letter in LETTERS if doc.get(letter) is not None)
    chosen = read_letter(results[0], letters)
    right = float(chosen == doc["answer"])
    return {
        "macro_accuracy": {"category": doc["category"], "right": right},
        "micro_accuracy": right,
        "unparsable": float(chosen is None),
        f"accuracy_{doc['category']}": right,
    }


def mean(entries: Sequence[float]) -> float:
    """The mean of numbers."""
    return sum(entries) / len(entries) if entries else 0.0


def macro_accuracy(entries: Sequence[Mapping[str, Any]]) -> float:
    """The mean over the categories of the share of right answers in each."""
    by_category: dict[str, list[float]] = defaultdict(list)
    for entry in entries:
        by_category[entry["category"]].append(entry["right"])
    return mean([mean(rights) for rights in by_category.values()])


def read_letter(text: str, letters: str) -> str | None:
    """The first capital letter of an option that stands alone, in the answer tag where there is one; None without."""
    tagged = _ANSWER.search(text)
    said = tagged[1] if tagged else _TAG.sub(" ", _THOUGHT.sub(" ", text))
    found = re.search(rf"\b[{letters}]\b", said) if letters else None
    return found[0] if found else None


def _around(prompt: str, settings: Mapping[str, str] | None) -> str:
    settings = settings or {}
    return f"{settings.get('pre_prompt', '')}{prompt}{settings.get('post_prompt', '')}"

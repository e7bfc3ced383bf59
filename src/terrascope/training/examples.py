"""From a sample and its scene to what the model is trained on: the prompt that inference asks, and the target."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from terrascope.bench import items
from terrascope.errors import QuestionError, SampleError, SceneError
from terrascope.landcover import UNLABELLED
from terrascope.model.processing import Prompt, SceneFacts, TerraScopeProcessor
from terrascope.sample import Sample
from terrascope.scene import LabelMap, Scene
from terrascope.trace import SEG, parse, resolve_images
from terrascope.training.sequence import Target

Reasoning = Literal["grounded", "textual", "answer"]
"""As it is written; without any [SEG]; the answer alone (paper, Tables 1 and 2)."""

Shown = Literal["all", "optical", "sar"]
"""Which images of a scene the model sees."""

_SEG_WITH_SPACE = re.compile(r"\s*" + re.escape(SEG))


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One sample as the model is trained on it.

    Attributes:
        sample_id: of the sample.
        scene_id: `<source>/<key>`, and which images are shown; equal ids mean equal `SceneInputs`.
        prompt: as inference prepares it.
        target: what is to be written, with a mask for every [SEG].
        class_names: per [SEG], the class that its mask shows.
        level, task: of the sample.
    """

    sample_id: str
    scene_id: str
    prompt: Prompt
    target: Target
    class_names: tuple[str, ...]
    level: str
    task: str


def assemble_example(
    processor: TerraScopeProcessor,
    sample: Sample,
    facts: SceneFacts,
    known: Sequence[Tensor],
    *,
    reasoning: Reasoning,
    shown: Shown,
) -> Example:
    """A sample as the model is trained on it.

    Args:
        facts: what its prompt states of the images that are shown.
        known: per pair, bool `[H, W]`, from `known_pixels`.

    Raises:
        SampleError: the sample does not fit its scene, or its masks do not fit its text.
    """
    height, width = known[0].shape
    if (sample.height, sample.width) != (height, width):
        raise SampleError(
            f"sample {sample.id}: its masks have {sample.width} x {sample.height} pixels and its scene "
            f"{width} x {height}; give the source with the options that the data set was built with"
        )
    try:
        prompt = processor.prepare_prompt(facts, sample.question, sample.options)
    except QuestionError as error:
        raise SampleError(f"sample {sample.id}: {error}") from None
    text = written_text(sample, reasoning) + processor.tokenizer.eos_token
    masks = decode_masks(sample) if reasoning == "grounded" else ()
    token_ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    num_segs = token_ids.count(processor.tokenizer.convert_tokens_to_ids(SEG))
    if num_segs != len(masks):
        raise SampleError(f"sample {sample.id}: {num_segs} [SEG]s but {len(masks)} masks; give one for each")
    images = resolve_images(parse(text), len(known)) if masks else ()
    pairs = tuple(image - 1 for image in images)
    target = Target(
        token_ids=torch.tensor(token_ids), masks=masks, pairs=pairs, known=tuple(known[pair] for pair in pairs)
    )
    return Example(
        sample_id=sample.id,
        scene_id=name_scene(sample.source, sample.key, shown_images(items.kinds_of(sample), shown)),
        prompt=prompt,
        target=target,
        class_names=tuple(mask.class_name for mask in sample.masks) if masks else (),
        level=sample.level,
        task=sample.task,
    )


def shown_images(kinds: Set[str], shown: Shown) -> items.Shown:
    """Which images of its scene are shown of a sample that lists images of these kinds (`items.kinds_of`)."""
    return items.shown_by(kinds) if shown == "all" else shown


def name_scene(source: str, key: str, shown: items.Shown) -> str:
    """What tells a chip, as it is shown, from all others of a data set."""
    return f"{source}/{key}" if shown == "both" else f"{source}/{key} ({shown})"


def known_pixels(scene: Scene, labels: Sequence[LabelMap]) -> tuple[Tensor, ...]:
    """Per pair, bool `[H, W]`: where an image was measured and, with label maps, the class is known.

    Raises:
        SceneError: there are label maps, but not one a date on the scene's grid.
    """
    valid = [pair.valid for pair in scene.pairs]
    if labels and [one.ids.shape for one in labels] != [one.shape for one in valid]:
        raise SceneError(
            f"{scene.observations[0].source}: {len(labels)} label maps of the sizes "
            f"{sorted({one.ids.shape for one in labels})} for {len(valid)} dates of {scene.shape}; give one a date"
        )
    labelled = [one.ids != UNLABELLED for one in labels] or [np.True_] * len(valid)
    return tuple(torch.from_numpy(seen & known) for seen, known in zip(valid, labelled, strict=True))


def written_text(sample: Sample, reasoning: Reasoning) -> str:
    """What the model is to write."""
    if reasoning == "answer":
        return f"<answer>{sample.answer}</answer>"
    return _SEG_WITH_SPACE.sub("", sample.reasoning) if reasoning == "textual" else sample.reasoning


def decode_masks(sample: Sample) -> tuple[Tensor, ...]:
    """The masks of a sample, bool `[H, W]` each.

    Raises:
        SampleError: one does not fill the grid.
    """
    masks = []
    for number in range(len(sample.masks)):
        try:
            masks.append(torch.from_numpy(sample.mask(number)))
        except SceneError as error:
            raise SampleError(f"sample {sample.id}: mask {number + 1}: {error}") from None
    return tuple(masks)

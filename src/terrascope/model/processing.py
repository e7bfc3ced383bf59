"""What the model sees of a scene and a question: tiles, SAM-2 inputs, the prompt. Training and inference share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor

from terrascope.errors import QuestionError, ScaleError
from terrascope.model.fields import Size, check_arguments
from terrascope.model.profiles import PromptModalities, PromptStyle, Resampling, SarOrder
from terrascope.model.tiles import TileLayout, choose_layout, cut_tiles, resize_image
from terrascope.quantities import format_area, format_distance
from terrascope.question import LETTERS
from terrascope.rasters.sensors import render
from terrascope.scene import Observation, Scene

IMAGE_START, IMAGE_TOKEN, IMAGE_END = "<img>", "<IMG_CONTEXT>", "</img>"

SYSTEM_PROMPT = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The Assistant "
    "first thinks about the reasoning process in their mind, generating segmentation masks when needed using [SEG] "
    "tokens, and then provides the user a concise final answer in a short word or phrase. The reasoning process and "
    "answer are enclosed within <think> tags, respectively, i.e., <think> reasoning process with [SEG] for "
    "segmentation </think><answer> answer here </answer>."
)
"""The paper's system prompt for reasoning (Appendix F.1)."""


Means = Annotated[Sequence[float], Field(min_length=3, max_length=3)]
"""The mean of each of three channels, of pixels in 0..1."""

Deviations = Annotated[Sequence[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)]
"""Their deviations, above zero since they are divided by."""


@dataclass(frozen=True, eq=False)
class SceneInputs:
    """A scene as tensors.

    Attributes:
        tiles: `[tiles, 3, S, S]`, normalised, of all images one after the other.
        sam_images: `[images, 3, S', S']`, normalised; each image stretched to SAM-2's square.
        layouts: per pair, how its images are cut.
        modalities: per pair, the kinds of its images in the order in which they stand above.
        valid: per image, bool `[H, W]` on the scene's grid.
    """

    tiles: Tensor
    sam_images: Tensor
    layouts: tuple[TileLayout, ...]
    modalities: tuple[tuple[str, ...], ...]
    valid: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Prompt:
    """A question as token ids `[T]`.

    Attributes:
        input_ids: int64 `[T]`.
        question: bool `[T]`, marks those that are q of Eq. 4 (words and options).
        num_options: how many options there are.
        images: which of the scene's images stand in it, in order; all where it is None.
        modalities: by which setting they were chosen.
    """

    input_ids: Tensor
    question: Tensor
    num_options: int
    images: tuple[int, ...] | None = None
    modalities: PromptModalities = "all"


class TerraScopeImageProcessor(BaseImageProcessor):
    """Turns rendered images `[3, H, W]` in 0..1 into tiles and SAM-2 inputs, in torch alone."""

    model_input_names = ["pixel_values"]  # noqa: RUF012

    def __init__(
        self,
        tile_size: Size = 448,
        token_grid: Size = 16,
        sam_size: Size = 1024,
        min_tiles: Size = 1,
        max_tiles: Size = 12,
        image_mean: Means = (0.485, 0.456, 0.406),
        image_std: Deviations = (0.229, 0.224, 0.225),
        sam_mean: Means | None = None,
        sam_std: Deviations | None = None,
        resampling: Resampling = "float",
        sar_order: SarOrder = "vv_vh",
        **kwargs: Any,
    ) -> None:
        check_arguments(TerraScopeImageProcessor.__init__, locals())
        super().__init__(**kwargs)
        self.tile_size = tile_size
        self.token_grid = token_grid
        self.sam_size = sam_size
        self.min_tiles = min_tiles
        self.max_tiles = max_tiles
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.sam_mean = list(sam_mean or image_mean)
        self.sam_std = list(sam_std or image_std)
        self.resampling: Resampling = resampling
        self.sar_order: SarOrder = sar_order

    def normalize_pixels(self, pixels: Tensor) -> Tensor:
        """Subtract the mean and divide by the deviation per channel; pixels `[..., 3, H, W]` for the tiles."""
        return _normalize(pixels, self.image_mean, self.image_std)

    def show(self, observation: Observation) -> Tensor:
        """The picture `[3, H, W]` in 0..1 of an observation, its channels in the order that the model learned."""
        picture = torch.from_numpy(render(observation))
        swapped = observation.modality == "sar" and self.sar_order == "vh_vv"
        return picture[[1, 0, 2]] if swapped else picture

    def view_for_masks(self, picture: Tensor) -> Tensor:
        """A picture `[3, H, W]` in 0..1 as SAM-2 takes it: stretched to its square `[3, S', S']`, normalised."""
        return _normalize(
            resize_image(picture, (self.sam_size, self.sam_size), self.resampling), self.sam_mean, self.sam_std
        )

    def layout_of(self, shape: tuple[int, int], num_dates: int) -> TileLayout:
        """How an image is cut: by its aspect ratio, or not at all where there are several dates (Appendix C)."""
        if num_dates > 1:
            return TileLayout(1, 1, self.token_grid)
        return choose_layout(
            shape, min_tiles=self.min_tiles, max_tiles=self.max_tiles, tile_size=self.tile_size, grid=self.token_grid
        )

    def preprocess(self, scene: Scene, **kwargs: Any) -> BatchFeature:
        """`pixel_values` (tiles) and `sam_pixel_values` of a scene, as the library's callers expect them."""
        inputs = self.prepare_scene(scene)
        return BatchFeature({"pixel_values": inputs.tiles, "sam_pixel_values": inputs.sam_images})

    def prepare_scene(self, scene: Scene) -> SceneInputs:
        """All tensors of a scene."""
        tiles, sam_images, valid = [], [], []
        layout = self.layout_of(scene.shape, len(scene.pairs))
        for observation in scene.observations:
            picture = self.show(observation)
            tiles.append(cut_tiles(picture, layout, self.tile_size, self.resampling))
            sam_images.append(self.view_for_masks(picture))
            valid.append(torch.from_numpy(observation.valid))
        return SceneInputs(
            tiles=self.normalize_pixels(torch.cat(tiles)),
            sam_images=torch.stack(sam_images),
            layouts=(layout,) * len(scene.pairs),
            modalities=tuple(tuple(o.modality for o in pair.observations) for pair in scene.pairs),
            valid=tuple(valid),
        )


@dataclass(frozen=True, kw_only=True)
class SceneFacts:
    """What the prompt says of a scene beside its pixels.

    Attributes:
        modalities: per pair, the kinds of its images.
        num_tokens: visual tokens of one image (thumbnail included).
        dates: per pair, its date as text, or None.
        one_percent_m2: area of one percent of the valid pixels; None without a ground scale.
        width_m: ground width of the image; None without a ground scale.
    """

    modalities: tuple[tuple[str, ...], ...]
    num_tokens: int
    dates: tuple[str | None, ...]
    one_percent_m2: float | None = None
    width_m: float | None = None

    @property
    def num_images(self) -> int:
        """Images of all pairs."""
        return sum(len(kinds) for kinds in self.modalities)

    def shown_by(self, prompt_modalities: PromptModalities) -> tuple[SceneFacts, tuple[int, ...]]:
        """The facts with the images that a prompt shows, and the places of these among all images.

        With `optical`, a pair without an optical image shows its SAR image.
        """
        if prompt_modalities == "all":
            return self, tuple(range(self.num_images))
        shown = tuple(("optical",) if "optical" in kinds else kinds for kinds in self.modalities)
        every = [(kind, left) for kinds, left in zip(self.modalities, shown, strict=True) for kind in kinds]
        return replace(self, modalities=shown), tuple(place for place, (kind, left) in enumerate(every) if kind in left)


def _normalize(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def _describe(facts: SceneFacts, image: str) -> list[str]:
    """The lines that stand before a question: every image with its number, date and kind, and the scale."""
    lines = []
    for number, (kinds, date) in enumerate(zip(facts.modalities, facts.dates, strict=True), 1):
        head = f"Image: {number} {date}" if date else f"Image: {number}"
        lines.append(" ".join([head, *(f"{kind} {image}" for kind in kinds)]))
    if facts.one_percent_m2 is not None and facts.width_m is not None:
        one_percent, width = format_area(facts.one_percent_m2), format_distance(facts.width_m)
        lines.append(f"One percent is {one_percent}. The image is {width} wide.")
    return lines


def scene_scale(scene: Scene) -> tuple[float | None, float | None]:
    """Area of one percent of the valid pixels in m2, and the width of the image in m; None, None without a scale."""
    height, width = scene.shape
    try:
        size = scene.georeference.pixel_size(height, width)
    except ScaleError:
        return None, None
    area_m2 = float((scene.pairs[0].valid.sum(1) * size.area_m2).sum())
    return area_m2 / 100, float(size.width_m[height // 2] * width)


class TerraScopeProcessor(ProcessorMixin):
    """Image processor, tokenizer and chat template of a TerraScope model.

    Args:
        image_processor: cuts scenes into tiles.
        tokenizer: has the image tokens, `[SEG]`, and the tags of the grammar.
        system_prompt: first turn of every conversation, or with the prompt style `plain` what the user's turn begins
            with; an empty text for none.
        prompt_style: images `described` by number, date, kind and scale, or `plain`.
        image_marks: the tokens before an image, of one visual token, and after the image.
        prompt_modalities: which images of a pair stand in a prompt; the same setting as the configuration's.
    """

    def __init__(
        self,
        image_processor: TerraScopeImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        system_prompt: str = SYSTEM_PROMPT,
        prompt_style: PromptStyle = "described",
        image_marks: Sequence[str] = (IMAGE_START, IMAGE_TOKEN, IMAGE_END),
        chat_template: str | None = None,
        prompt_modalities: PromptModalities = "all",
        **kwargs: Any,
    ) -> None:
        check_arguments(TerraScopeProcessor.__init__, locals())
        self.system_prompt = system_prompt
        self.prompt_style: PromptStyle = prompt_style
        self.image_marks = list(image_marks)
        self.prompt_modalities: PromptModalities = prompt_modalities
        super().__init__(image_processor, tokenizer, chat_template=chat_template, **kwargs)

    def __call__(self, scene: Scene, question: str, options: Sequence[str] = (), **kwargs: Any) -> BatchFeature:
        """`input_ids`, `pixel_values` and `sam_pixel_values` of one question about one scene."""
        features = self.image_processor.preprocess(scene)
        prompt = self.prepare_prompt(self.describe(scene), question, options)
        return BatchFeature({"input_ids": prompt.input_ids[None], **features})

    def describe(self, scene: Scene) -> SceneFacts:
        """The facts of a scene that its prompt states."""
        layout = self.image_processor.layout_of(scene.shape, len(scene.pairs))
        one_percent_m2, width_m = scene_scale(scene)
        return SceneFacts(
            modalities=tuple(tuple(o.modality for o in pair.observations) for pair in scene.pairs),
            num_tokens=layout.num_tiles * layout.grid**2,
            dates=tuple(date.isoformat() if date else None for date in scene.dates),
            one_percent_m2=one_percent_m2,
            width_m=width_m,
        )

    def prepare_prompt(self, facts: SceneFacts, question: str, options: Sequence[str] = ()) -> Prompt:
        """The token ids of a question.

        Args:
            facts: of the scene.
            question: in words.
            options: the texts to choose from, without letters; none for a free answer.

        Raises:
            QuestionError: the question is empty, holds a token of the grammar, or there are too many options.
        """
        if not question.strip():
            raise QuestionError("the question is empty: ask something, e.g. 'How much of the image is water?'")
        if len(options) == 1 or len(options) > len(LETTERS):
            raise QuestionError(f"{len(options)} choices given: give 2 to {len(LETTERS)}, or none")
        facts, images = facts.shown_by(self.prompt_modalities)
        # One token for each image stands for all of them: tokenizers cut at it before anything else, and what a prompt
        # costs does not grow with its images.
        before, token, after = self.image_marks
        image = before + token + after
        lines = _describe(facts, image) if self.prompt_style == "described" else [image] * facts.num_images
        asked = "\n".join([question.strip(), *(f"{LETTERS[i]}. {text}" for i, text in enumerate(options))])
        is_turn = self.prompt_style == "described" and self.system_prompt
        messages = [{"role": "system", "content": self.system_prompt}] if is_turn else []
        reserved = next((token for token in self.tokenizer.all_special_tokens if token in asked), None)
        if reserved is not None:
            raise QuestionError(f"the question or an option holds {reserved!r}, which is reserved; leave it out")
        content = "\n".join([*lines, asked])
        if self.prompt_style == "plain":
            content = self.system_prompt + content
        messages.append({"role": "user", "content": content})
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        start = text.index(content) + len(content) - len(asked)
        encoded = self.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        inside = [start <= low and high <= start + len(asked) and low < high for low, high in encoded["offset_mapping"]]
        ids = np.array(encoded["input_ids"])
        repeats = np.where(ids == self.tokenizer.convert_tokens_to_ids(token), facts.num_tokens, 1)
        return Prompt(
            torch.from_numpy(ids.repeat(repeats)),
            torch.from_numpy(np.array(inside).repeat(repeats)),
            len(options),
            images,
            self.prompt_modalities,
        )

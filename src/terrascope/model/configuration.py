"""Configuration of the TerraScope model: a vision-language model, a mask decoder, and the rules that join them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, InstanceOf
from transformers import AutoConfig, PreTrainedConfig

from terrascope.choice import ChoiceRule
from terrascope.model.backbones import Backbone, backbone_named
from terrascope.model.decoders import mask_model_named
from terrascope.model.fields import Size, check_arguments
from terrascope.model.profiles import (
    Interleave,
    MaskChoice,
    MaskImages,
    MaskResize,
    Modalities,
    PromptModalities,
    Routing,
    Thinning,
    TokenRule,
)


class TerraScopeConfig(PreTrainedConfig):
    """A vision-language model and a mask decoder (in the paper InternVL3 and SAM-2), joined by the [SEG] token.

    Args:
        vlm_config: configuration of the vision-language model, as an object or a dictionary; its model type names one
            of `backbones.BACKBONES`, InternVL where it names none.
        sam_config: configuration of the mask decoder, one of `decoders.MASK_MODELS`, SAM-2 where it names none.
        seg_token_id: id of `[SEG]` in the tokenizer.
        min_tiles, max_tiles: how many tiles a single image may be cut into (Sec. 3.2, Appendix C); several dates are
            never tiled.
        interleave: what is fed back after a [SEG] (Tables 2 and A): the visual tokens under its `mask` (Eq. 3), under
            the mask's bounding `box`, as many at `random`, those `similar` to the step's words, or `none`.
        similarity_threshold: with `similar`, a visual token is selected if its similarity is above this.
        random_tokens: with `random`, how many tokens are fed back, whatever the mask is; as many as the mask would
            select where it is None. Their number alone tells how large the mask is.
        random_seed: with `random`, of the draws, beside the question and the number of the step.
        modalities: what is fed back of an optical-SAR pair (Table 3): of every selected cell the token that is more
            relevant to the question (`adaptive`, Eq. 4-5), both (`concatenate`), the `optical` or the `sar` one. Of
            other pairs, what there is.
        prompt_modalities: `all` images of a pair stand in the prompt, or the `optical` one where there is one
            (Table K); the processor has the same setting (`checkpoint.take_settings` sets both).
        token_rule: which visual tokens a mask selects: those whose cell it covers (`coverage`, Eq. 3), or those whose
            cell's centre it holds (`center`).
        coverage_threshold: a visual token is selected if the mask covers more than this share of its cell (Eq. 3).
        max_masked_tokens: at most so many visual tokens are fed back per mask (lambda of Appendix C).
        merged_side: the tokens of selected cells that lie in one square of so many cells a side are fed back as one,
            their mean; 1 for none of that.
        thinning: how a selection is brought below that cap (`even` or `first`).
        keep_best_token: a mask that is not empty but selects no token gives its best-covered one.
        first_token_if_empty: a mask that selects no token gives the first one.
        mask_choice: the mask decoder's one mask (`single`), or the `best` by its estimate of three.
        mask_resize: mask logits are resized `direct` to the scene, or to SAM-2's input first (`by_input`).
        mask_images: SAM-2 draws on `all` images of a pair and fuses them, or on the `optical` one where there is one.
        mask_temperature: mask logits are divided by it before they become the probabilities of the confidence; where
            the mask ends stays the same.
        min_object_cells: components of a mask that are smaller than so many cells of the mask decoder's grid are
            dropped, unless all are; 0 to keep all.
        routing: a [SEG] lies on the image that "Image: t" names (`indicator`), or on each in turn (`round_robin`).
        stop_tokens: tokens that end the reasoning beside the end of text.
        max_masks: generation stops after so many [SEG] tokens.
        view_size: pixels of a large scene along the edge of one view of SAM-2; None for the size that SAM-2 takes.
        choice_rule: `letter` (the model names the option) or `nearest` (it answers freely, and the nearest is taken).

    Raises:
        ModelError: a setting is of another type than stated here, or out of its range.
    """

    model_type = "terrascope"
    sub_configs = {"vlm_config": AutoConfig, "sam_config": AutoConfig}  # noqa: RUF012 (the library's own form)

    def __init__(
        self,
        vlm_config: InstanceOf[PreTrainedConfig] | dict[str, Any] | None = None,
        sam_config: InstanceOf[PreTrainedConfig] | dict[str, Any] | None = None,
        seg_token_id: Annotated[int, Field(ge=0)] = 0,
        min_tiles: Size = 1,
        max_tiles: Size = 12,
        interleave: Interleave = "mask",
        similarity_threshold: Annotated[float, Field(ge=-1, lt=1)] = 0.0,
        random_tokens: Size | None = None,
        random_seed: Annotated[int, Field(ge=0)] = 0,
        modalities: Modalities = "adaptive",
        prompt_modalities: PromptModalities = "all",
        token_rule: TokenRule = "coverage",
        coverage_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        max_masked_tokens: Size = 128,
        merged_side: Size = 1,
        thinning: Thinning = "even",
        keep_best_token: bool = True,
        first_token_if_empty: bool = False,
        mask_choice: MaskChoice = "single",
        mask_resize: MaskResize = "direct",
        mask_images: MaskImages = "all",
        mask_temperature: Annotated[float, Field(gt=0)] = 1.0,
        min_object_cells: Annotated[float, Field(ge=0)] = 0.0,
        routing: Routing = "indicator",
        stop_tokens: Sequence[str] = (),
        max_masks: Size = 20,
        view_size: Size | None = None,
        choice_rule: ChoiceRule = "letter",
        **kwargs: Any,
    ) -> None:
        check_arguments(TerraScopeConfig.__init__, locals())
        # Copies: a model writes its attention setting into its configuration, and two models may share the parts.
        vlm, sam = copy.deepcopy(vlm_config) or {}, copy.deepcopy(sam_config) or {}
        if isinstance(vlm, dict):
            vlm = backbone_named(vlm.get("model_type", "internvl")).config_class(**vlm)
        if isinstance(sam, dict):
            sam = mask_model_named(sam.get("model_type", "sam2")).config_class(**sam)
        for part in (vlm, sam):
            _forget_formats(part)
        self.vlm_config: Any = vlm
        self.sam_config: Any = sam
        self.seg_token_id = seg_token_id
        self.min_tiles = min_tiles
        self.max_tiles = max_tiles
        self.interleave = interleave
        self.similarity_threshold = similarity_threshold
        self.random_tokens = random_tokens
        self.random_seed = random_seed
        self.modalities = modalities
        self.prompt_modalities = prompt_modalities
        self.token_rule = token_rule
        self.coverage_threshold = coverage_threshold
        self.max_masked_tokens = max_masked_tokens
        self.merged_side = merged_side
        self.thinning = thinning
        self.keep_best_token = keep_best_token
        self.first_token_if_empty = first_token_if_empty
        self.mask_choice = mask_choice
        self.mask_resize = mask_resize
        self.mask_images = mask_images
        self.mask_temperature = mask_temperature
        self.min_object_cells = min_object_cells
        self.routing = routing
        self.stop_tokens = list(stop_tokens)
        self.max_masks = max_masks
        self.view_size = view_size
        self.choice_rule = choice_rule
        kwargs.setdefault("tie_word_embeddings", self.vlm_config.tie_word_embeddings)
        super().__init__(**kwargs)

    @property
    def backbone(self) -> Backbone:
        """How the vision-language model is driven."""
        return backbone_named(self.vlm_config.model_type)

    @property
    def max_injected_tokens(self) -> int:
        """At most so many visual tokens follow a [SEG]: the cap counts cells, and a cell may give two."""
        return self.max_masked_tokens * (2 if self.modalities == "concatenate" else 1)

    @property
    def token_grid(self) -> int:
        """Visual tokens along one edge of a tile (16 for InternVL3)."""
        return self.backbone.token_grid(self.vlm_config)

    @property
    def tile_size(self) -> int:
        """Pixels along one edge of a tile (448 for InternVL3)."""
        return self.backbone.tile_size(self.vlm_config)

    @property
    def sam_size(self) -> int:
        """Pixels along one edge of the mask decoder's input."""
        return int(self.sam_config.prompt_encoder_config.image_size)

    def min_object_pixels(self, view: tuple[int, int]) -> float:
        """Pixels of the smallest component that a mask keeps where the mask decoder sees `view` (height, width)."""
        prompts = self.sam_config.prompt_encoder_config
        # SAM-2 draws its logits on four cells a patch, along each edge.
        num_cells = (4 * prompts.image_size // prompts.patch_size) ** 2
        return self.min_object_cells * view[0] * view[1] / num_cells


def _forget_formats(config: PreTrainedConfig) -> None:
    """Leave the number format to the model as a whole: a part of a part would keep the one that it was stored in,
    whichever one is asked for, and the library would build it in that."""
    config.dtype = None
    for name in config.sub_configs:
        part = getattr(config, name)
        if isinstance(part, PreTrainedConfig):
            _forget_formats(part)

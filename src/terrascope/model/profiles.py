"""How a model behaves beside its weights: the paper's rules, and those of the authors' released inference code.

Every difference between the two is one setting of the model's configuration, its processor or its image processor. A
profile names a value for each of them; docs/profiles.md says where each comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from terrascope.errors import ModelError

TokenRule = Literal["coverage", "center"]
"""Whether a mask selects the cells that it covers by more than a threshold, or those whose centre it holds."""

Thinning = Literal["even", "first"]
"""Beyond the cap: one cell per field of a grid, thinned evenly to the cap; or the first fields, up to the cap."""

MaskChoice = Literal["single", "best"]
"""The mask decoder's one mask, or the best by its own estimate of three."""

MaskResize = Literal["direct", "by_input"]
"""Mask logits are resized to the scene at once, or to SAM-2's input first."""

Routing = Literal["indicator", "round_robin"]
"""The image of a [SEG]: the one that "Image: t" names, or each in turn."""

MaskImages = Literal["all", "optical"]
"""The images of a pair on which SAM-2 draws: both, fused; or the optical one where there is one."""

Interleave = Literal["mask", "box", "random", "similar", "none"]
"""What is fed back after a [SEG]: the visual tokens under its mask, under the mask's bounding box, as many at random,
those that are like the step's words, or none (Tables 2 and A)."""

Modalities = Literal["adaptive", "concatenate", "optical", "sar"]
"""What is fed back of a selected cell of a pair: the token that Eq. 5 chooses, both, or one modality's (Table 3)."""

PromptModalities = Literal["all", "optical"]
"""The images of a pair that stand in the prompt: both, or the optical one where there is one (Table K, encoding)."""

PromptStyle = Literal["described", "plain"]
"""What stands before a question: each image with number, date and kind, and the scale; or the images alone."""

SarOrder = Literal["vv_vh", "vh_vv"]
"""The polarisations that a SAR image shows as red and green."""

Resampling = Literal["float", "pillow"]
"""How images are resized: bicubic and antialiased in floating point, or Pillow's bicubic on 8-bit channels."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Values of the settings in which the two behaviours differ, by where the settings live."""

    model: Mapping[str, Any]
    processor: Mapping[str, Any]
    image_processor: Mapping[str, Any]


PROFILES: dict[str, Profile] = {
    "paper": Profile(
        model={
            "token_rule": "coverage",
            "keep_best_token": True,
            "max_masked_tokens": 128,
            "thinning": "even",
            "first_token_if_empty": False,
            "mask_choice": "single",
            "mask_resize": "direct",
            "mask_images": "all",
            "routing": "indicator",
            "stop_tokens": (),
        },
        processor={"prompt_style": "described"},
        image_processor={"resampling": "float", "sar_order": "vv_vh"},
    ),
    "release": Profile(
        model={
            "token_rule": "center",
            "keep_best_token": False,
            "max_masked_tokens": 8,
            "thinning": "first",
            "first_token_if_empty": True,
            "mask_choice": "best",
            "mask_resize": "by_input",
            "mask_images": "optical",
            "routing": "round_robin",
            "stop_tokens": ("<|end|>",),
        },
        processor={"prompt_style": "plain"},
        image_processor={"resampling": "pillow", "sar_order": "vh_vv"},
    ),
}


def profile_named(name: str) -> Profile:
    """A profile by its name.

    Raises:
        ModelError: there is no such profile.
    """
    if name not in PROFILES:
        raise ModelError(f"unknown profile {name!r}: choose one of {', '.join(PROFILES)}")
    return PROFILES[name]

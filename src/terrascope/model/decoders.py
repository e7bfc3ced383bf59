"""The promptable mask decoders that a [SEG] can speak to: one way of calling, several image encoders."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import (
    EdgeTamConfig,
    EdgeTamModel,
    PreTrainedConfig,
    PreTrainedModel,
    Sam2Config,
    Sam2Model,
    Sam3TrackerConfig,
    Sam3TrackerModel,
)

from terrascope.errors import ModelError


@dataclass(frozen=True)
class MaskModel:
    """One family: its configuration and its model for still images, both of transformers."""

    config_class: type[PreTrainedConfig]
    model_class: type[PreTrainedModel]


MASK_MODELS: dict[str, MaskModel] = {
    "sam2": MaskModel(Sam2Config, Sam2Model),
    "edgetam": MaskModel(EdgeTamConfig, EdgeTamModel),
    "sam3_tracker": MaskModel(Sam3TrackerConfig, Sam3TrackerModel),
}
"""The families by the model type that their configurations state; `sam2` is SAM-2.0 and 2.1."""

_VIDEO = "_video"


def mask_model_named(model_type: str) -> MaskModel:
    """The family of a model type; a checkpoint of a video model (`sam2_video`) holds the model for still images too.

    Raises:
        ModelError: there is no such family here.
    """
    still = model_type.removesuffix(_VIDEO)
    if still not in MASK_MODELS:
        raise ModelError(f"{model_type!r} is no mask decoder known here: give one of {', '.join(MASK_MODELS)}")
    return MASK_MODELS[still]

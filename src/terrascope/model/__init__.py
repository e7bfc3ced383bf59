"""The TerraScope model: InternVL and SAM-2 joined by [SEG], and the loop that reasons with masks."""

from terrascope.model.checkpoint import register
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.generation import GenerationSettings
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import TerraScopeImageProcessor, TerraScopeProcessor
from terrascope.model.terrascope import TerraScope

register()

__all__ = [
    "GenerationSettings",
    "TerraScope",
    "TerraScopeConfig",
    "TerraScopeForConditionalGeneration",
    "TerraScopeImageProcessor",
    "TerraScopeProcessor",
]

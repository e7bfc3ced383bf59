"""TerraScope: ask a satellite scene a question, get an answer in which every step of the reasoning is a mask."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from terrascope.answer import Answer
    from terrascope.errors import TerraScopeError
    from terrascope.model import TerraScope
    from terrascope.predictor import Predictor
    from terrascope.scene import Observation, Scene

__version__ = "0.1.0"

__all__ = ["Answer", "Observation", "Predictor", "Scene", "TerraScope", "TerraScopeError", "__version__"]

_HOMES = {
    "Answer": "terrascope.answer",
    "Observation": "terrascope.scene",
    "Predictor": "terrascope.predictor",
    "Scene": "terrascope.scene",
    "TerraScope": "terrascope.model",
    "TerraScopeError": "terrascope.errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `import terrascope` and the command line start without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

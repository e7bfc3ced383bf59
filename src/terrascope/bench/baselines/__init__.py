"""What a score is compared with: chance, habit, colours, true masks, and a model robbed of masks or of images."""

from __future__ import annotations

from terrascope.bench.baselines.blank import Blanked
from terrascope.bench.baselines.changed_masks import ChangedMasks, box_of, random_box, shifted
from terrascope.bench.baselines.forest import Forest, training_chips
from terrascope.bench.baselines.guesses import Majority, RandomGuess
from terrascope.bench.baselines.oracle import OracleMasks

__all__ = [
    "Blanked",
    "ChangedMasks",
    "Forest",
    "Majority",
    "OracleMasks",
    "RandomGuess",
    "box_of",
    "random_box",
    "shifted",
    "training_chips",
]

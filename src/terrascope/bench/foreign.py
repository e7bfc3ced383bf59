"""An answer of a model that points at nothing: its words are all that there is."""

from __future__ import annotations

from collections.abc import Sequence

from terrascope.predictor import Answer
from terrascope.scene import Scene
from terrascope.trace import SEG


def answer_in_words(scene: Scene, question: str, options: Sequence[str], text: str, model: str) -> Answer:
    """The answer that a text gives. A [SEG] in it is a word like any other, as there is no mask for it."""
    return Answer.from_reasoning(
        scene=scene,
        question=question,
        options=options,
        reasoning=text.replace(SEG, SEG.lower()),
        groundings=(),
        model=model,
    )

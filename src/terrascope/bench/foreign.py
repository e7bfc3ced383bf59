"""An answer of a model that points at nothing: its words are all that there is."""

from __future__ import annotations

from collections.abc import Sequence

from terrascope.answer import Answer
from terrascope.scene import Scene
from terrascope.trace import SEG

CUT_OFF = "The reply was cut off at the limit of its length."
"""The note of an answer that was; a run counts those that have it."""


def answer_in_words(
    scene: Scene, question: str, options: Sequence[str], text: str, model: str, *, cut_off: bool = False
) -> Answer:
    """The answer that a text gives. A [SEG] in it is a word like any other, as there is no mask for it.

    Args:
        cut_off: whether the text was ended by the limit of its length; the answer then has the note `CUT_OFF`.
    """
    return Answer.from_reasoning(
        scene=scene,
        question=question,
        options=options,
        reasoning=text.replace(SEG, SEG.lower()),
        groundings=(),
        model=model,
        notes=[CUT_OFF] if cut_off else [],
    )

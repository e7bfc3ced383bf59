"""From a reasoning to an answer: measured, checked, and with options one of them chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from terrascope.answer import Answer
from terrascope.choice import nearest_option
from terrascope.model.generation import Reasoning
from terrascope.question import LETTERS
from terrascope.scene import Scene
from terrascope.tasks.measured import doubt_class, measured_answer
from terrascope.trace import parse

FINISH_NOTES = {
    "length": "The reasoning was cut off at the limit of new tokens.",
    "masks": "The reasoning was cut off at the limit of masks.",
}

NEAREST_NOTE = "The model answered {!r}; the option nearest to it was chosen."
MEASURED_NOTE = "The model answered {!r}, its mask measures {!r}; the option nearest to the measurement was chosen."


def choose_nearest(free: Reasoning, options: tuple[str, ...], measured: str | None = None) -> Reasoning | None:
    """The free reasoning, ending with the letter of the option nearest to its answer; None if none can be compared.

    Where its masks measure what it states, the option nearest to the measurement is taken.
    """
    answer = parse(free.text).answer
    place = nearest_option(measured or answer, options)
    tag = f"<answer>{answer}</answer>"
    if place is None or not free.text.endswith(tag):
        return None
    return replace(free, text=f"{free.text.removesuffix(tag)}<answer>{LETTERS[place]}</answer>")


def to_answer(
    scene: Scene, question: str, options: tuple[str, ...], reasoning: Reasoning, model: str, notes: Sequence[str] = ()
) -> Answer:
    """Measure and check a reasoning."""
    cut_off = [FINISH_NOTES[reasoning.finish_reason]] if reasoning.finish_reason in FINISH_NOTES else []
    answer = Answer.from_reasoning(
        scene=scene,
        question=question,
        options=options,
        reasoning=reasoning.text,
        groundings=reasoning.groundings,
        model=model,
        notes=[*cut_off, *notes],
    )
    doubt = doubt_class(answer)
    notes = answer.notes if doubt is None else (*answer.notes, doubt)
    return replace(answer, measured=measured_answer(answer), notes=notes)

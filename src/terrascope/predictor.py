"""The seam between those who ask and those who answer: what a predictor is asked, and what it must be able to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from terrascope import trace
from terrascope.answer import Answer
from terrascope.errors import QuestionError, TerraScopeError
from terrascope.events import Event
from terrascope.scene import Scene


def check_text(text: str) -> None:
    """Refuse a text that asks for no mask, before a model is loaded for it.

    Raises:
        QuestionError: it has no [SEG].
    """
    if trace.SEG not in text:
        raise QuestionError(f"the text has no {trace.SEG}: write one wherever a mask is wanted")


@dataclass(frozen=True, kw_only=True, eq=False)
class Ask:
    """A question to be put to a predictor.

    Attributes:
        scene, question, options: as in `Predictor.ask`.
        masks: bool `[H, W]`, for the first masks of the reasoning in order, instead of the predictor's own; None for
            its own.
    """

    scene: Scene
    question: str
    options: tuple[str, ...] = ()
    masks: tuple[NDArray[np.bool_], ...] | None = None


@runtime_checkable
class ManyPredictor(Protocol):
    """A predictor that answers many questions at once, faster than one after the other."""

    def ask_many(self, asks: Iterable[Ask | TerraScopeError]) -> Iterator[Answer | TerraScopeError]:
        """Answer questions, taking no more of them ahead than are answered at once.

        Those about one scene (the same object) that follow each other share what the model sees of it.

        Args:
            asks: questions; an error in the place of one is handed on in its place.

        Yields:
            what came of each, in order: its answer, or what `ask` would raise.
        """
        ...


@runtime_checkable
class ManySegmenter(Protocol):
    """A predictor that segments several classes at once, faster than one after the other."""

    def segment_many(self, scene: Scene, class_names: Iterable[str]) -> Iterator[Answer | TerraScopeError]:
        """What `segment` returns or raises for each class, in order."""
        ...


class Predictor(Protocol):
    """Anything that answers a question about a scene: the model, a baseline, an oracle."""

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
        """Answer a question.

        Raises:
            QuestionError: the question is empty, or its options cannot be used.
            ScaleError: the answer is a length or an area, and the scene does not know its scale.
        """
        ...

    def segment(self, scene: Scene, class_name: str) -> Answer:
        """Segment one class on every image of a scene.

        Raises:
            QuestionError: the class is not known.
        """
        ...


@runtime_checkable
class StreamingPredictor(Protocol):
    """A predictor that tells of an answer as it is reasoned; several threads may ask it at once."""

    @property
    def name(self) -> str:
        """Of the model."""
        ...

    def stream(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Iterator[Event | Answer]:
        """Answer a question.

        Yields:
            `Wrote` after every token, `Drew` after every mask, `Looked` after every row of views of a large scene,
            and the answer at last. Whoever closes it cancels the reasoning.

        Raises:
            QuestionError, ScaleError: as `Predictor.ask`.
        """
        ...

"""A model behind an OpenAI-compatible endpoint, as a predictor that answers in words alone.

It is asked as the paper asks its baselines (`terrascope.bench.prompts`), with the images as PNG and temperature 0, and
writes freely: a form that it had to keep would not be the paper's protocol.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from terrascope.answer import Answer
from terrascope.bench.foreign import answer_in_words
from terrascope.bench.prompts import MAX_SIDE, Several, check_several, make_turns, to_png
from terrascope.errors import QuestionError
from terrascope.llm import Endpoint, Turn
from terrascope.question import check_question
from terrascope.scene import Scene

MAX_TOKENS = 2048
"""Longest reply; models that think aloud need most of it, and the others end after a letter."""

TIMEOUT_S = 120.0
"""Longest wait for one reply, in seconds."""


def address_digest(base_url: str) -> str:
    """By which two addresses are told apart where the address itself is not kept."""
    return hashlib.sha256(base_url.rstrip("/").encode()).hexdigest()[:12]


class EndpointPredictor:
    """What a model behind an endpoint answers.

    Args:
        endpoint: whom to ask, at temperature 0; its cache makes a rerun free of cost.
        several: how several images are shown.
        max_side: longest side of a picture, in pixels.

    Raises:
        QuestionError: `several` is no such way.
    """

    def __init__(self, endpoint: Endpoint, *, several: str = "images", max_side: int = MAX_SIDE) -> None:
        self.endpoint, self.name = endpoint, endpoint.model
        self.several: Several = check_several(several)
        self.max_side = max_side

    @classmethod
    def at(
        cls,
        model: str,
        base_url: str,
        *,
        several: str = "images",
        max_side: int = MAX_SIDE,
        max_tokens: int = MAX_TOKENS,
        timeout_s: float = TIMEOUT_S,
        cache: Path | None = None,
        log: Path | None = None,
    ) -> EndpointPredictor:
        """The model of a name behind an address, with temperature 0; all else as in `Endpoint`.

        Args:
            cache: folder of replies; those of each address lie in one of their own, as two servers may give different
                models one name.

        Raises:
            EndpointError: a setting cannot be used.
            QuestionError: `several` is no such way.
        """
        endpoint = Endpoint(
            model=model,
            base_url=base_url,
            temperature=0.0,
            max_tokens=max_tokens,
            timeout_s=timeout_s,
            cache=cache / address_digest(base_url) if cache is not None else None,
            log=log,
        )
        return cls(endpoint, several=several, max_side=max_side)

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Answer:
        """As `Predictor.ask`.

        Raises:
            QuestionError: the question is empty, or its options cannot be used.
            ScaleError: the answer is a length or an area, and the scene does not know its scale.
            NoReply: this question has no reply.
            EndpointError: none will have one: the key, the model or the address is wrong, or the server is gone.
        """
        question, texts = check_question(scene, question, options)
        turns = [
            Turn(role=turn.role, text=turn.text, images=tuple(map(to_png, turn.pictures)))
            for turn in make_turns(scene, question, texts, several=self.several, max_side=self.max_side)
        ]
        said = self.endpoint.say(turns)
        return answer_in_words(scene, question, texts, said.text, self.name, cut_off=said.cut_off)

    def segment(self, scene: Scene, class_name: str) -> Answer:
        raise QuestionError(f"{self.name} answers in words and makes no masks; ask one of our models")

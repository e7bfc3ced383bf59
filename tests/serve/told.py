"""A predictor that streams what the oracle says, word by word, and can be held at any word."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from oracle import Oracle, ground
from terrascope.answer import Answer
from terrascope.events import Drew, Event, Wrote
from terrascope.scene import Scene

TOKEN = "s3cret-of-a-test"
"""As short as a token may be."""


class StreamingOracle:
    """`Oracle` as a `StreamingPredictor`.

    Attributes:
        num_running: answers under way. num_closed: those that were closed before their end.
        gate: while it is clear, nothing goes on beyond the first word.
        began: set at the first word of any answer. closed: set when one is closed before its end.
    """

    name = "oracle"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.gate, self.began, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.gate.set()
        self.num_running = self.num_closed = self.most_running = 0
        self.lock = threading.Lock()

    def stream(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Iterator[Event | Answer]:
        if self.error is not None:
            raise self.error
        answer = Oracle().ask(scene, question, options=options)
        groundings = iter([ground(mask) for mask in answer.masks])
        with self.lock:
            self.num_running += 1
            self.most_running = max(self.most_running, self.num_running)
        is_whole = False
        try:
            text = ""
            for word in answer.reasoning.split(" "):
                text += word + " "
                yield Wrote(text)
                self.began.set()
                while not self.gate.wait(0.02):
                    # As a model does: the same text again and again, until it may go on.
                    yield Wrote(text)
                if "[SEG]" in word:
                    yield Drew(next(groundings))
            is_whole = True
            yield answer
        finally:
            with self.lock:
                self.num_running -= 1
                if not is_whole:
                    self.num_closed += 1
                    self.closed.set()


def events_of(content: str) -> list[tuple[str, Any]]:
    """Names and data of a stream's events."""
    events = []
    for block in content.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            name, data = lines
            assert name.startswith("event: ") and data.startswith("data: ")
            events.append((name[7:], json.loads(data[6:])))
    return events


def fields(**given: Any) -> list[tuple[str, tuple[None, str]]]:
    """Texts of a form, in the form in which httpx sends them as multipart."""
    return [
        (name, (None, text)) for name, texts in given.items() for text in ([texts] if isinstance(texts, str) else texts)
    ]

"""A question as it is answered, as a chat completion, as chunks of one, or as a refusal that OpenAI's clients read."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from terrascope.serve.chat_reading import with_param
from terrascope.serve.narration import Event
from terrascope.serve.refusals import Refusal
from terrascope.serve.streaming import Encoding, unnamed

CHUNKS = Encoding(encode=unnamed, end=b"data: [DONE]\n\n")
"""Chunks as OpenAI sends them."""

_BEGUN_TAG = re.compile(r"</?[a-z]{0,6}\Z")


class ChatRefusal(Refusal):
    """A refusal in the form that OpenAI's clients read."""

    @classmethod
    def of(cls, refusal: Refusal) -> ChatRefusal:
        """The same refusal in this form."""
        headers = dict(refusal.headers)
        if refusal.code in ("timeout", "internal"):
            # Their clients would ask again at once, and wait as long for the same.
            headers["x-should-retry"] = "false"
        return cls(refusal.status, refusal.code, refusal.message, with_param(refusal).field, headers=headers)

    def to_dict(self) -> dict[str, Any]:
        """The body of the reply."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.field, "code": self.code}}


@dataclass(kw_only=True)
class Completion:
    """What was heard of an answer so far, as a chat completion and as chunks of one.

    Attributes:
        max_written: pieces of text after which the answer is cut off, a token each; None for the model's own limit.
        finish_reason: "stop", or "length" where the reasoning was cut off before its answer; None until the end.
    """

    id: str
    model: str
    max_written: int | None
    created: int = field(default_factory=lambda: int(time.time()))
    finish_reason: str | None = None
    _content: str = ""
    _reasoning: str = ""
    _num_written: int = 0
    _answer: dict[str, Any] | None = None

    def hear(self, name: str, data: dict[str, Any]) -> list[dict[str, Any]]:
        """The chunks that tell of an event."""
        if name == "text":
            self._num_written += 1
            if self.max_written is not None and self._num_written > self.max_written:
                return [self._finish("length")]
            written = self._write(data["text"])
            return [self.chunk({"reasoning_content": written})] if written else []
        if name != "answer":
            return [self.chunk({}, terrascope={name: data})]
        self._answer, self._content = data, data["answer"]
        reasoning = data["reasoning"]
        is_whole = bool(self._content) and reasoning.count("<answer>") <= reasoning.count("</answer>")
        written = self._write(reasoning)
        return [
            *([self.chunk({"reasoning_content": written})] if written else []),
            self.chunk({"content": self._content}, terrascope={name: data}),
            self._finish("stop" if is_whole else "length"),
        ]

    def chunk(self, delta: dict[str, Any], **extra: Any) -> dict[str, Any]:
        """A piece of the reply."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": self.finish_reason}
        return {**self._head("chat.completion.chunk"), "choices": [choice], **extra}

    def usage(self) -> dict[str, Any]:
        """The last chunk of a stream that was asked to count tokens. Those of a prompt are not known here."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": None}

    def reply(self) -> dict[str, Any]:
        """All of it."""
        message = {
            "role": "assistant",
            "content": self._content,
            "refusal": None,
            "reasoning_content": self._reasoning,
            "terrascope": self._answer,
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": None}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _finish(self, reason: str) -> dict[str, Any]:
        self.finish_reason = reason
        return self.chunk({})

    def _write(self, text: str) -> str:
        """What the reasoning has more than what was told of it."""
        reasoning = reasoning_in(text)
        if not reasoning.startswith(self._reasoning):
            return ""
        told, self._reasoning = self._reasoning, reasoning
        return reasoning[len(told) :]


def reasoning_in(text: str) -> str:
    """The reasoning without its tags; what may be the beginning of a tag or of a letter is left for later."""
    if "</think>" not in text and "<answer>" not in text:
        text = _BEGUN_TAG.sub("", text.rstrip("\ufffd"))
    return text.partition("</think>")[0].partition("<answer>")[0].replace("<think>", "")


async def chunks_of(
    completion: Completion, events: AsyncGenerator[Event, None], *, include_usage: bool
) -> AsyncGenerator[Event, None]:
    """The chunks of a completion, from the events of its question."""
    yield "chunk", completion.chunk({"role": "assistant", "content": ""})
    async with aclosing(events):
        async for name, data in events:
            for chunk in completion.hear(name, data):
                yield "chunk", chunk
            if completion.finish_reason is not None:
                break
    if include_usage:
        yield "chunk", completion.usage()

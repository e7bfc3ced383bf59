"""What goes over the wire, byte for byte, in both encodings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from terrascope.serve import streaming
from terrascope.serve.chat_telling import CHUNKS
from terrascope.serve.narration import Event
from terrascope.serve.refusals import Refusal
from terrascope.serve.streaming import EVENTS, Encoding, EventReply


class Asked:
    """Stands for the question: it is cancelled."""

    def __init__(self) -> None:
        self.told: list[str | None] = []

    def cancel(self, refusal: Refusal | None = None) -> None:
        self.told.append(refusal.code if refusal else None)


def sent(
    tell: Callable[[asyncio.Event], AsyncGenerator[Event, None]], encoding: Encoding, asked: Asked
) -> list[dict[str, Any]]:
    """The messages of a reply to a client that stays. What is told may wait until the client has been told to wait."""
    messages: list[dict[str, Any]] = []
    waiting = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        messages.append(message)
        if message.get("body", b"").startswith(b":"):
            waiting.set()

    def failed(error: BaseException) -> Refusal:
        return Refusal(500, "internal", str(error))

    job: Any = asked
    reply = EventReply(job, tell(waiting), done=lambda: asked.told.append("done"), failed=failed, encoding=encoding)
    asyncio.run(asyncio.wait_for(reply({"type": "http"}, receive, send), 20))
    return messages


ERROR = b'data: {"error": {"code": "internal", "message": "a defect", "field": null}}\n\n'


@pytest.mark.parametrize(
    ("encoding", "bodies"),
    [
        (
            EVENTS,
            [
                b'event: text\ndata: {"text": "event: x\\nx"}\n\n',
                b": waiting\n\n",
                b'event: mask\ndata: {"step": 1}\n\n',
                b"event: error\n" + ERROR,
                b"",
            ],
        ),
        (
            CHUNKS,
            [
                b'data: {"text": "event: x\\nx"}\n\n',
                b": waiting\n\n",
                b'data: {"step": 1}\n\n',
                ERROR,
                b"data: [DONE]\n\n",
            ],
        ),
    ],
)
def test_events_errors_and_waiting_are_told_as_the_encoding_says(
    encoding: Encoding, bodies: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_WAITING_EVERY_S", 0.2)

    async def tell(waiting: asyncio.Event) -> AsyncGenerator[Event, None]:
        yield "text", {"text": "event: x\nx"}
        await waiting.wait()
        yield "mask", {"step": 1}
        raise ValueError("a defect")

    asked = Asked()
    start, *told = sent(tell, encoding, asked)
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert dict(start["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert [message["body"] for message in told] == bodies
    assert [message["more_body"] for message in told] == [True] * (len(bodies) - 1) + [False]
    assert asked.told == [None, "done"]


def test_a_number_that_json_has_not_is_an_error_and_not_sent() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        EVENTS.encode("text", {"share": float("nan")})

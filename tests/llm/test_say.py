"""Free text from an endpoint: one request, no form, the same dialects, cache and log as for objects."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from endpoint import Scripted, fails, served
from terrascope.llm import Endpoint, NoReply, Said, Turn, summarize

TURNS = (
    Turn(role="user", text="This is image 1.", images=(b"png-1",)),
    Turn(role="assistant", text="I see it."),
    Turn(role="user", text="Which is larger?", images=(b"png-2", b"png-3")),
)


def test_a_conversation_is_sent_as_it_is_with_images_before_words() -> None:
    with served([Scripted(text=" B. \n")]) as fake:
        said = Endpoint(model="m", base_url=fake.url, temperature=0.0, input_price=1.0, output_price=10.0).say(TURNS)
    assert said == Said(text=" B. \n", cut_off=False, cost_usd=(100 * 1.0 + 10 * 10.0) / 1e6, from_cache=False)
    first, second, third = fake.asked[0]["messages"]
    shown = [part["image_url"]["url"] for part in third["content"][:2]]
    assert [base64.b64decode(url.partition("base64,")[2]) for url in shown] == [b"png-2", b"png-3"]
    assert third["content"][2] == {"type": "text", "text": "Which is larger?"}
    assert (first["role"], second) == ("user", {"role": "assistant", "content": "I see it."})
    assert set(fake.asked[0]) == {"model", "messages", "max_tokens", "temperature"}


def test_a_server_that_wants_other_fields_is_asked_with_them() -> None:
    script = [
        fails(400, "use max_completion_tokens instead"),
        fails(400, "temperature is not supported"),
        Scripted(text="B", finish="length"),
    ]
    with served(script) as fake:
        said = Endpoint(model="m", base_url=fake.url, max_tokens=7).say(TURNS)
    assert (said.text, said.cut_off) == ("B", True)
    assert set(fake.asked[2]) == {"model", "messages", "max_completion_tokens"}


def test_a_complaint_that_no_dialect_mends_is_not_tried_in_others() -> None:
    with (
        served([fails(400, "image_url is not supported")]) as fake,
        pytest.raises(NoReply, match="takes no such request: image_url is not supported") as caught,
    ):
        Endpoint(model="m", base_url=fake.url).say(TURNS)
    assert (fake.num_asked, caught.value.reason) == (1, "request rejected")


@pytest.mark.parametrize(
    "other",
    [
        TURNS[2:],
        (*TURNS[:2], Turn(role="user", text="Which is larger?", images=(b"png-3", b"png-2"))),
        (*TURNS[:2], Turn(role="user", text="Which is smaller?", images=(b"png-2", b"png-3"))),
    ],
)
def test_the_cache_knows_a_conversation_by_all_that_was_said_and_shown(tmp_path: Path, other: tuple[Turn, ...]) -> None:
    with served([Scripted(text="A"), Scripted(text="B")]) as fake:
        endpoint = Endpoint(model="m", base_url=fake.url, cache=tmp_path / "cache", log=tmp_path / "calls.jsonl")
        said = [endpoint.say(turns) for turns in (TURNS, other, TURNS)]
    assert [(reply.text, reply.from_cache) for reply in said] == [("A", False), ("B", False), ("A", True)]
    usage = summarize(tmp_path / "calls.jsonl")
    assert (usage.num_sent, usage.num_from_cache) == (2, 1)

"""An endpoint against a server that does everything that servers do."""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import datetime
import email.utils
import json
import multiprocessing
import pickle
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from capitals import Capital, ask, ask_often
from endpoint import KEY, FakeServer, Scripted, fails, says, served
from terrascope.errors import EndpointError
from terrascope.llm import Endpoint, NoReply, Reply, server, summarize
from terrascope.llm.endpoint import CUT_OFF
from terrascope.llm.reading import NO_JSON

PNG = b"\x89PNG\r\n\x1a\n picture"


PARIS = {"city": "Paris", "people": 2}
ROME = {"city": "Rome", "people": 3}


def endpoint(fake: FakeServer, **settings: Any) -> Endpoint:
    return Endpoint(**{"model": "atlas", "base_url": fake.url, "timeout_s": 5.0, **settings})


def test_the_request_and_the_reply() -> None:
    with served([says(PARIS)]) as fake:
        reply = ask(endpoint(fake, input_price=2.0, output_price=10.0, max_tokens=77), images=[PNG])
    assert reply == Reply(
        parsed=Capital(**PARIS), input_tokens=100, output_tokens=10, cost_usd=pytest.approx(3e-4), from_cache=False
    )
    [request] = fake.asked
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("atlas", 77, 0.7)
    system, user = request["messages"]
    assert system == {"role": "system", "content": "You know capitals."}
    assert user["content"][0] == {"type": "text", "text": "Which?"}
    head, encoded = user["content"][1]["image_url"]["url"].split(",")
    assert head == "data:image/png;base64" and base64.b64decode(encoded) == PNG
    form = request["response_format"]["json_schema"]
    assert form["strict"] is True and form["schema"]["required"] == ["city", "people"]
    assert form["schema"]["additionalProperties"] is False
    assert fake.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(PARIS),
        f"Here it is:\n```json\n{json.dumps(PARIS)}\n```\nAnything else?",
        f"<think>France, then.</think> {json.dumps(PARIS)} That is all.",
    ],
)
def test_an_object_is_found_among_words(text: str) -> None:
    with served([Scripted(text=text)]) as fake:
        assert ask(endpoint(fake)).parsed == Capital(**PARIS)
        assert fake.num_asked == 1


def test_a_server_without_schemas_is_asked_more_plainly_and_remembered() -> None:
    def script(request: dict[str, Any]) -> Scripted:
        return fails(400, "response_format is not supported") if "response_format" in request else says(PARIS)

    with served(script) as fake:
        assert ask(endpoint(fake)).parsed == Capital(**PARIS)
        forms = [request.get("response_format", {}).get("type") for request in fake.asked]
        assert forms == ["json_schema", "json_object", None]
        for request in fake.asked[1:]:
            system = request["messages"][0]["content"]
            assert system.startswith("You know capitals.") and '"people"' in system and "JSON" in system
        assert ask(endpoint(fake), "And now?").parsed == Capital(**PARIS)
        assert fake.num_asked == 4


def test_a_server_that_names_its_fields_differently() -> None:
    def script(request: dict[str, Any]) -> Scripted:
        if "max_tokens" in request:
            return fails(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if "temperature" in request:
            return fails(400, "Unsupported value: 'temperature' does not support 0.7 with this model.")
        return says(PARIS)

    with served(script) as fake:
        ask(endpoint(fake))
        assert fake.num_asked == 3
        assert fake.asked[2]["max_completion_tokens"] == 2048
        assert fake.asked[2]["response_format"]["type"] == "json_schema"


def test_a_request_that_no_wording_mends_is_rejected() -> None:
    with served(lambda _: fails(400, "the image is too large")) as fake:
        with pytest.raises(NoReply, match="the image is too large") as caught:
            ask(endpoint(fake))
        assert caught.value.reason == "request rejected"
        assert fake.num_asked == 3


@pytest.mark.parametrize(
    ("first", "fault"),
    [
        (Scripted(text="I would say Paris."), NO_JSON),
        (Scripted(text=""), NO_JSON),
        (Scripted(text='{"city": "Paris", "people": }'), "The reply: Invalid JSON"),
        (Scripted(text="[" * 100_000), NO_JSON),
        (says({"town": "Paris", "people": 2}), "city: Field required\n2. town: Extra inputs are not permitted"),
        (says({"city": "Paris", "people": "many"}), "people: Input should be a valid integer"),
        (Scripted(text='{"city": "Par', finish="length"), CUT_OFF),
    ],
)
def test_nonsense_is_sent_back_with_its_faults_named(first: Scripted, fault: str) -> None:
    with served([first, says(PARIS)]) as fake:
        reply = ask(endpoint(fake))
        assert reply.parsed == Capital(**PARIS)
        assert (reply.input_tokens, reply.output_tokens) == (200, 20)
        assert [message["role"] for message in fake.asked[1]["messages"]] == ["system", "user", "assistant", "user"]
        assert f"1. {fault}" in fake.last_words()


def test_nonsense_to_the_end_is_counted() -> None:
    with served([Scripted(text="no")] * 3) as fake:
        with pytest.raises(NoReply) as caught:
            ask(endpoint(fake))
        assert caught.value.reason == "nonsense"
        assert fake.num_asked == 3


def small(capital: Capital) -> list[str]:
    return [f"{capital.city} has too many people."] * (capital.people - 1)


def test_a_check_that_fails_is_told_and_the_best_reply_is_kept() -> None:
    crowd = {"city": "Cairo", "people": 9}
    with served([says(ROME), says(PARIS), says(crowd)]) as fake:
        reply = ask(endpoint(fake), check=small)
        assert (reply.parsed, reply.faults) == (Capital(**PARIS), ("Paris has too many people.",))
        assert "2. Rome has too many people." in fake.last_words(1)
    with served([says(ROME), says({"city": "Bern", "people": 1})]) as fake:
        reply = ask(endpoint(fake), check=small)
        assert (reply.parsed.city, reply.faults) == ("Bern", ())


@pytest.mark.parametrize(
    "reply",
    [
        Scripted(refusal="I cannot help with that."),
        Scripted(text="", finish="content_filter"),
        fails(400, "The response was filtered due to our content management policy"),
        fails(403, "Your input was flagged by moderation"),
    ],
)
def test_a_refusal_is_counted_at_once(reply: Scripted) -> None:
    with served([reply]) as fake:
        with pytest.raises(NoReply) as caught:
            ask(endpoint(fake))
        assert caught.value.reason == "refused"
        assert fake.num_asked == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (fails(429), "rate limited"),
        (fails(500), "server error"),
        (fails(503), "server error"),
        (Scripted(body={"error": {"code": 502, "message": "upstream"}}), "server error"),
        (Scripted(body=b"<html>Welcome</html>"), "nonsense"),
        (Scripted(body={"choices": []}), "nonsense"),
        (Scripted(body=[1, 2]), "nonsense"),
        (Scripted(drop="before"), "unreachable"),
        (Scripted(text="lost", drop="within"), "unreachable"),
    ],
)
def test_what_may_pass_is_tried_again_then_counted(reply: Scripted, reason: str, waits: list[float]) -> None:
    with served([reply, reply, says(PARIS)]) as fake:
        assert ask(endpoint(fake)).parsed == Capital(**PARIS)
        assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2 and len(waits) == 2
    with served([reply] * 4) as fake:
        with pytest.raises(NoReply) as caught:
            ask(endpoint(fake, max_tries=4))
        assert caught.value.reason == reason
        assert fake.num_asked == 4


@pytest.mark.parametrize("reply", [Scripted(text="{}", slow_s=1.0), Scripted(text="{}", drip_s=2.0)])
def test_a_slow_server_times_out(reply: Scripted) -> None:
    """One that is silent, and one that sends a space now and then, so that no single wait is long."""
    started = time.monotonic()
    with served([reply, reply]) as fake, pytest.raises(NoReply) as caught:
        ask(endpoint(fake, timeout_s=0.3, max_tries=2))
    assert (caught.value.reason, fake.num_asked) == ("timed out", 2)
    assert time.monotonic() - started < 1.9


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(NoReply, match="nothing answers there") as caught:
        ask(Endpoint(model="atlas", base_url=f"http://127.0.0.1:{port}/v1", max_tries=2))
    assert caught.value.reason == "unreachable"


def test_retry_after_is_honoured(waits: list[float]) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    asked = [
        fails(429, retry_after="7"),
        fails(429, retry_after=email.utils.format_datetime(soon)),
        fails(503, retry_after="-3"),
        fails(429, retry_after="soon"),
    ]
    with served([*asked, says(PARIS)]) as fake:
        ask(endpoint(fake))
    assert 7 <= waits[0] <= 7.7
    assert 25 <= waits[1] <= 33
    assert waits[2] == 0
    assert 4 <= waits[3] <= 8
    with served([fails(429, retry_after="86400")]) as fake:
        with pytest.raises(NoReply) as caught:
            ask(endpoint(fake))
        assert (caught.value.reason, fake.num_asked) == ("rate limited", 1)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (fails(401, f"Incorrect API key provided: {KEY}"), "does not accept the key"),
        (fails(400, "API key not valid. Please pass a valid API key."), "does not accept the key"),
        (fails(403, "Country not supported"), "does not let this key use atlas: Country not supported"),
        (fails(404, "The model `atlas` does not exist"), "has no model 'atlas'"),
        (fails(404, "Not Found"), "most addresses end with /v1"),
        (fails(402, "Payment required"), "has no credit left"),
        (fails(429, "insufficient_quota"), "has no credit left"),
    ],
)
def test_what_would_meet_every_request_ends_the_run(reply: Scripted, words: str) -> None:
    with served([reply]) as fake:
        with pytest.raises(EndpointError, match=words) as caught:
            ask(endpoint(fake))
        assert not isinstance(caught.value, NoReply)
        assert fake.num_asked == 1


def test_a_server_that_is_gone_ends_the_run() -> None:
    with served(lambda _: fails(500)) as fake:
        at = endpoint(fake, max_tries=1)
        for _ in range(server.FAILURES_THAT_END_A_RUN - 1):
            with pytest.raises(NoReply):
                ask(at)
        with pytest.raises(EndpointError, match="10 requests in a row came to nothing") as caught:
            ask(at)
        assert not isinstance(caught.value, NoReply)


def test_an_address_where_nobody_is_ends_the_run_soon() -> None:
    with served([]) as fake:
        at = endpoint(fake, max_tries=1)
    for _ in range(2):
        with pytest.raises(NoReply):
            ask(at)
    with pytest.raises(EndpointError, match="3 requests in a row came to nothing, at last: nothing answers") as caught:
        ask(at)
    assert not isinstance(caught.value, NoReply)


def test_failures_that_are_not_in_a_row_do_not_end_the_run() -> None:
    replies = ([fails(500)] * 9 + [says(PARIS)]) * 2 + ([fails(500)] * 9 + [Scripted(refusal="no")]) * 2
    with served(replies) as fake:
        outcomes = []
        for _ in replies:
            try:
                outcomes.append(ask(endpoint(fake, max_tries=1)).parsed.city)
            except NoReply as error:
                outcomes.append(error.reason)
    assert outcomes == (["server error"] * 9 + ["Paris"]) * 2 + (["server error"] * 9 + ["refused"]) * 2


def test_a_knock_at_the_door() -> None:
    with served([Scripted(body={"data": []}), fails(404), fails(401), Scripted(body=b"<html>")]) as fake:
        endpoint(fake).check()
        endpoint(fake).check()
        with pytest.raises(EndpointError, match="does not accept the key"):
            endpoint(fake).check()
        endpoint(fake).check()
        assert fake.asked[0] == {"path": "/v1/models"}
    with pytest.raises(EndpointError, match="nothing answers there; check the address"):
        endpoint(fake).check()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_url": "localhost:8000"}, "is no address"),
        ({"base_url": f"https://me:{KEY}@host/v1"}, "holds more than a place"),
        ({"base_url": f"https://host/v1?key={KEY}"}, "holds more than a place"),
        ({"model": " "}, "has no name"),
        ({"max_rounds": 0}, "max_rounds of the endpoint must be above 0, got 0"),
        ({"timeout_s": float("nan")}, "timeout_s of the endpoint must be above 0, got nan"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(EndpointError, match=words) as caught:
        Endpoint(**{"model": "atlas", **settings})
    assert KEY not in str(caught.value)


def test_no_key_and_the_other_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with served([says(PARIS), says(PARIS)]) as fake:
        monkeypatch.delenv("TERRASCOPE_LLM_KEY")
        ask(endpoint(fake))
        monkeypatch.setenv("OPENAI_API_KEY", "other\n")
        ask(endpoint(fake))
        assert [headers["authorization"] for headers in fake.headers] == ["Bearer none", "Bearer other"]
    monkeypatch.setenv("OPENAI_API_KEY", "two words")
    with pytest.raises(EndpointError, match="the environment variable OPENAI_API_KEY holds no key"):
        ask(endpoint(fake))


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(EndpointError, match=r"pip install 'terrascope-eo\[data\]'"):
        ask(Endpoint(model="atlas"))


def test_a_rerun_asks_nothing_twice(tmp_path: Path) -> None:
    """Nonsense on the way and faults at the end included: it goes the same way to the same object."""
    cut_off = Scripted(text='{"city": "Par', finish="length")
    with served([Scripted(text="no"), says(ROME), cut_off, says(PARIS), Scripted(text="no")]) as fake:
        at = endpoint(fake, cache=tmp_path / "cache", max_rounds=5, input_price=1.0, output_price=1.0)
        first = ask(at, images=[PNG], check=small)
        assert fake.num_asked == 5 and not first.from_cache and first.cost_usd == pytest.approx(550e-6)
        assert (first.parsed, len(first.faults)) == (Capital(**PARIS), 1)
        again = ask(at, images=[PNG], check=small)
        assert again == dataclasses.replace(first, from_cache=True, cost_usd=0.0)
        # Another check, and the way ends elsewhere.
        assert ask(at, images=[PNG]).parsed == Capital(**ROME)
        assert fake.num_asked == 5


def test_nonsense_to_the_end_is_asked_again_in_a_rerun(tmp_path: Path) -> None:
    with served([Scripted(text="no")] * 2 + [says(PARIS)]) as fake:
        at = endpoint(fake, cache=tmp_path, max_rounds=2)
        with pytest.raises(NoReply):
            ask(at)
        assert ask(at).parsed == Capital(**PARIS) and fake.num_asked == 3


def test_what_came_before_a_failure_is_kept(tmp_path: Path) -> None:
    with served([says(ROME), fails(500), says(PARIS), says(ROME)]) as fake:
        at = endpoint(fake, cache=tmp_path, max_tries=1, max_rounds=2)
        with pytest.raises(NoReply):
            ask(at, check=small)
        assert ask(at, check=small).parsed == Capital(**PARIS) and fake.num_asked == 3


@pytest.mark.parametrize(
    "change",
    [
        {"model": "globe"},
        {"temperature": 0.0},
        {"max_tokens": 9},
        {"text": "Other?"},
        {"system": "You are new."},
        {"images": [PNG + b"!"]},
        {"images": [PNG, PNG]},
    ],
)
def test_all_that_shapes_a_reply_is_in_its_hash(change: dict[str, Any], tmp_path: Path) -> None:
    def complete(fake: FakeServer, **what: Any) -> Reply[Capital]:
        given = {"system": "You know.", "text": "Which?", "images": [PNG], **what}
        settings = {name: given.pop(name) for name in ("model", "temperature", "max_tokens") if name in given}
        at = endpoint(fake, cache=tmp_path, **settings)
        return at.complete(given["system"], given["text"], given["images"], schema=Capital)

    with served(lambda _: says(PARIS)) as fake:
        complete(fake)
        assert complete(fake).from_cache
        assert not complete(fake, **change).from_cache
        assert fake.num_asked == 2


def test_another_schema_is_another_question(tmp_path: Path) -> None:
    class Place(BaseModel):
        model_config = ConfigDict(extra="forbid")
        city: str
        people: float

    with served(lambda _: says(PARIS)) as fake:
        at = endpoint(fake, cache=tmp_path)
        ask(at)
        at.complete("You know capitals.", "Which?", schema=Place)
        assert fake.num_asked == 2


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"text": 3, "input_tokens": 1, "output_tokens": 1}', b"\xff"])
def test_a_damaged_file_of_the_cache_is_asked_again_and_mended(damage: bytes, tmp_path: Path) -> None:
    with served(lambda _: says(PARIS)) as fake:
        at = endpoint(fake, cache=tmp_path)
        ask(at)
        [kept] = tmp_path.rglob("*.json")
        whole = kept.read_bytes()
        kept.write_bytes(damage)
        assert ask(at).parsed == Capital(**PARIS) and fake.num_asked == 2
        assert kept.read_bytes() == whole


def test_processes_and_threads_share_a_cache_and_a_log(tmp_path: Path) -> None:
    def script(request: dict[str, Any]) -> Scripted:
        return says({"city": request["messages"][1]["content"][0]["text"], "people": 1})

    log = tmp_path / "logs" / "calls.jsonl"
    with served(script) as fake:
        at = endpoint(fake, cache=tmp_path / "cache", log=log, input_price=1.0, output_price=1.0)
        expected = [[f"Question {n if n % 2 else (worker, n)}" for n in range(20)] for worker in range(4)]
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            found = list(pool.map(ask_often, [at] * 2, range(2)))
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            found += threads.map(ask_often, [at] * 2, range(2, 4))
        assert found == expected
        assert 50 <= fake.num_asked <= 60
    lines = log.read_text().splitlines()
    assert len(lines) == 80 and all(json.loads(line)["outcome"] == "replied" for line in lines)
    usage = summarize(log)
    assert (usage.num_sent, usage.num_sent + usage.num_from_cache) == (fake.num_asked, 80)
    assert usage.input_tokens == 100 * fake.num_asked
    assert usage.cost_usd == pytest.approx(110e-6 * fake.num_asked)
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(files) == 50 and all(path.suffix == ".json" for path in files)


def test_the_key_appears_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the server sends back, and whatever is written, printed or handed on."""
    caplog.set_level("DEBUG")
    echo = f"Bearer {KEY} is no good"
    replies = [
        says({"city": "Paris", "people": 1}),
        fails(401, echo),
        fails(400, echo),
        fails(500, echo),
        Scripted(body=echo.encode()),
        Scripted(drop="before"),
        Scripted(body={"error": {"message": echo, "code": 403}}),
    ]
    errors = []
    log = tmp_path / "calls.jsonl"
    with served(replies) as fake:
        at = endpoint(fake, cache=tmp_path / "cache", log=log, max_tries=1)
        ask(at)
        for number in range(1, len(replies)):
            with pytest.raises(EndpointError) as caught:
                ask(at, f"Question {number}")
            errors.append(caught.value)
    shown = [repr(at), str(vars(at)), pickle.dumps(at).decode("latin-1"), caplog.text]
    for error in errors:
        shown += [str(error), repr(error), pickle.dumps(error).decode("latin-1")]
        frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
        shown += [str(frame.locals) for frame in frames if Path(frame.filename) != Path(__file__)]
        assert error.__context__ is None and error.__cause__ is None
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted("Paris" in text for text in written) == [False, True]
    shown += written
    assert not [text for text in shown if KEY in text]
    with pytest.raises(TypeError, match="holds a key"):
        pickle.dumps(at._address())

"""Chat completions through OpenAI's own client: answers, masks, streams, refusals, and what is never done."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from oracle import TREE, WATER, write_picture
from serve.test_openapi import always_up
from serve.told import TOKEN, StreamingOracle
from terrascope.answer import Answer
from terrascope.events import Event
from terrascope.masks import decode_rle
from terrascope.serve.app import create_app
from terrascope.serve.chat_telling import Completion, reasoning_in
from terrascope.serve.settings import ServeSettings

SHARE = "What percentage of the image is water?"
REASONING = "The water: [SEG] It covers 10% of the image. The trees: [SEG] They cover 12.5% of the image. "


@pytest.fixture
def address(picture: bytes) -> str:
    """The oracle's scene as a data: URI."""
    return data_uri(picture)


def data_uri(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def asking(*addresses: str, question: str = SHARE) -> list[dict[str, Any]]:
    images = [{"type": "image_url", "image_url": {"url": address}} for address in addresses]
    return [{"role": "user", "content": [{"type": "text", "text": question}, *images]}]


def serve(predictor: Any, **given: Any) -> FastAPI:
    return create_app(predictor, ServeSettings(**given))


def run(app: FastAPI, use: Callable[[Any], Coroutine[Any, Any, Any]], key: str = "none") -> Any:
    """What `use` returns of a client of the application."""

    async def main() -> Any:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with (
            httpx.AsyncClient(transport=transport) as http,
            openai.AsyncOpenAI(base_url="http://localhost/v1", api_key=key, http_client=http, max_retries=0) as client,
        ):
            return await use(client)

    return asyncio.run(main())


def complete(app: FastAPI, *, key: str = "none", **request: Any) -> Any:
    return run(app, lambda client: client.chat.completions.create(**{"model": "oracle", **request}), key)


def stream(app: FastAPI, **request: Any) -> list[Any]:
    async def use(client: Any) -> list[Any]:
        told = await client.chat.completions.create(**{"model": "oracle", "stream": True, **request})
        return [chunk async for chunk in told]

    return run(app, use)


def refused(app: FastAPI, **request: Any) -> tuple[int, str, str | None, str]:
    """Status, code, param and message of a refusal."""
    with pytest.raises(openai.APIStatusError) as caught:
        complete(app, **request)
    error = caught.value
    assert set(error.body) == {"message", "type", "param", "code"}
    return error.status_code, error.body["code"], error.body["param"], error.body["message"]


def test_a_picture_is_answered_with_masks(oracle: StreamingOracle, address: str) -> None:
    app = serve(oracle)
    told = complete(app, messages=asking(address))
    assert (told.object, told.model, told.usage) == ("chat.completion", "oracle", None)
    (choice,) = told.choices
    assert (choice.finish_reason, choice.message.role, choice.message.content) == ("stop", "assistant", "10%")
    assert choice.message.reasoning_content.split() == (REASONING + "So the answer is 10%.").split()
    answer = choice.message.terrascope
    assert (answer["schema"], answer["question"], answer["answer"]) == ("terrascope-answer/1", SHARE, "10%")
    water, tree = (decode_rle(step["mask_rle"]) for step in answer["steps"])
    assert np.array_equal(water, WATER) and np.array_equal(tree, TREE)
    assert told.id == f"chatcmpl-{answer['id']}"
    assert answer["files"]["masks.tif"] == f"/v1/answers/{answer['id']}/masks.tif"
    assert app.state.service.kept.reply(answer["id"]) is not None
    assert not list(app.state.service.uploads.iterdir()), "what was uploaded goes with the question"


def test_a_geotiff_brings_its_scale_and_options_their_letter(oracle: StreamingOracle, tmp_path: Path) -> None:
    address = data_uri(write_picture(tmp_path / "scene.tif", located=True).read_bytes(), "image/tiff")
    told = complete(serve(oracle), messages=asking(address), extra_body={"terrascope": {"options": ["5%", "10%"]}})
    answer = told.choices[0].message.terrascope
    assert answer["steps"][0]["area_m2"] == pytest.approx(20_000, rel=0.002) and answer["scene"]["crs"] == "EPSG:32633"
    assert (told.choices[0].message.content, answer["answer_option"]) == ("B", "10%")
    assert answer["options"] == ["5%", "10%"]


def test_images_of_several_dates_are_paired_as_they_are_told(oracle: StreamingOracle, address: str) -> None:
    extension = {"dates": ["2024-05-01", "2024-06-01"], "gsd": 10, "pictures": True, "geojson": True}
    told = complete(serve(oracle), messages=asking(address, address), extra_body={"terrascope": extension})
    answer = told.choices[0].message.terrascope
    assert [image["date"] for image in answer["scene"]["images"]] == extension["dates"]
    assert answer["scene"]["scale_basis"] == "stated: 10 m"
    assert answer["steps"][0]["picture"].startswith("data:image/png;base64,")
    assert answer["geojson"]["type"] == "FeatureCollection"
    # The content may be a bare text where the images are named in the extension.
    told = complete(
        serve(oracle),
        messages=[{"role": "user", "content": SHARE}],
        extra_body={"terrascope": {"sample": "demo"}},
    )
    assert told.choices[0].message.terrascope["scene"]["height_px"] == 256


def test_a_path_below_the_root_is_read_and_no_other(oracle: StreamingOracle, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    write_picture(tmp_path / "root" / "scene.png")
    write_picture(tmp_path / "other.png")
    app, messages = serve(oracle, root=tmp_path / "root"), [{"role": "user", "content": SHARE}]

    def named(path: str) -> dict[str, Any]:
        return {"messages": messages, "extra_body": {"terrascope": {"optical": [path]}}}

    told = complete(app, **named("scene.png"))
    assert told.choices[0].message.terrascope["scene"]["images"][0]["optical"]["source"] == "scene.png"
    for path in ("../other.png", str(tmp_path / "other.png"), "https://example.org/a.tif", "/vsicurl/http://a/b.tif"):
        assert refused(app, **named(path))[:3] == (403, "outside", "terrascope.optical")
    assert refused(serve(oracle), **named("scene.png"))[:3] == (403, "no_paths", "terrascope.optical")


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/a.png", "https://example.org/a.png", "file:///etc/passwd", "/etc/passwd", "ftp://a/b", ""],
)
def test_addresses_are_never_fetched(oracle: StreamingOracle, url: str) -> None:
    status, code, param, message = refused(serve(oracle), messages=asking(url))
    assert (status, code, param) == (403, "address", "messages[0].content[1].image_url.url")
    assert message == "addresses are not fetched; send the image itself as a data: URI, in base64"
    assert not oracle.began.is_set()


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("data:image/svg+xml;base64,PHN2Zy8+", 415, "media_type"),
        ("data:image/png,abc", 415, "media_type"),
        ("data:image/png;base64,@@@@", 400, "malformed"),
        ("data:image/png;base64,aGVsbG8=", 422, "scene"),
        ("data:image/tiff;base64," + base64.b64encode(b"<VRTDataset rasterXSize='1'/>").decode(), 422, "scene"),
    ],
)
def test_what_is_no_picture_is_refused(oracle: StreamingOracle, url: str, status: int, code: str) -> None:
    app = serve(oracle)
    assert refused(app, messages=asking(url))[:2] == (status, code)
    assert not list(app.state.service.uploads.iterdir())


@pytest.mark.parametrize(
    ("request_fields", "code", "param"),
    [
        ({"n": 2}, "unsupported_value", "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "unsupported_parameter", "tools"),
        ({"response_format": {"type": "json_object"}}, "unsupported_value", "response_format.type"),
        ({"logprobs": True}, "unsupported_value", "logprobs"),
        ({"stop": ["."]}, "unsupported_parameter", "stop"),
        ({"presence_penalty": 0.5}, "unsupported_value", "presence_penalty"),
        ({"temperature": 3}, "unsupported_value", "temperature"),
        ({"max_tokens": 0}, "unsupported_value", "max_tokens"),
        ({"reasoning_effort": "high"}, "unsupported_parameter", "reasoning_effort"),
        ({"extra_body": {"terrascope": {"optics": []}}}, "unsupported_parameter", "terrascope.optics"),
        ({"extra_body": {"terrascope": {"gsd": "wide"}}}, "unsupported_value", "terrascope.gsd"),
        ({"extra_body": {"terrascope": {"reference": "lidar"}}}, "malformed", "terrascope.reference"),
        ({"extra_body": {"terrascope": {"modalities": ["sar", "sar"]}}}, "malformed", "terrascope.modalities"),
    ],
)
def test_what_the_model_cannot_do_is_refused_by_name(
    oracle: StreamingOracle, address: str, request_fields: dict[str, Any], code: str, param: str
) -> None:
    assert refused(serve(oracle), messages=asking(address), **request_fields)[:3] == (400, code, param)
    assert not oracle.began.is_set()


def test_what_changes_nothing_is_taken(oracle: StreamingOracle, address: str) -> None:
    told = complete(
        serve(oracle), messages=asking(address), temperature=0, top_p=0.5, seed=7, user="me", n=1, stop=None,
        metadata={"a": "b"}, response_format={"type": "text"}, max_completion_tokens=1000,
    )  # fmt: skip
    assert told.choices[0].message.content == "10%" and told.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "system", "content": "Answer in French."}, {"role": "user", "content": SHARE}],
        [{"role": "user", "content": SHARE}, {"role": "assistant", "content": "10%"}, {"role": "user", "content": "?"}],
        [{"role": "assistant", "content": SHARE}],
    ],
)
def test_earlier_turns_and_instructions_are_not_passed_over(
    oracle: StreamingOracle, messages: list[dict[str, Any]]
) -> None:
    assert refused(serve(oracle), messages=messages)[:3] == (400, "unsupported_messages", "messages")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (SHARE, "missing_field"),
        ([{"type": "input_audio", "input_audio": {}}], "unsupported_content"),
        ([{"type": "image_url", "image_url": {}}], "malformed"),
        (["text"], "unsupported_content"),
        (7, "malformed"),
    ],
)
def test_content_without_a_scene_is_refused(oracle: StreamingOracle, content: Any, code: str) -> None:
    assert refused(serve(oracle), messages=[{"role": "user", "content": content}])[:2] == (400, code)


def test_a_picture_needs_a_question(oracle: StreamingOracle, address: str) -> None:
    app = serve(oracle)
    assert refused(app, messages=asking(address, question=" "))[1:3] == ("missing_field", "messages")
    assert refused(app, messages=asking(address, question="x" * 4001))[1:3] == ("malformed", "messages")
    # A size in metres of a picture that knows no scale: the model's own refusal.
    assert refused(app, messages=asking(address, question="How large is the lake in m2?"))[:2] == (422, "scale")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 100_000, b'{"model": "oracle"}', b"\xff\xfe"])
def test_a_body_that_is_no_request_is_refused(oracle: StreamingOracle, body: bytes) -> None:
    async def use(client: Any) -> httpx.Response:
        return await client._client.post("http://localhost/v1/chat/completions", content=body)

    reply = run(serve(oracle), use)
    assert reply.status_code == 400 and set(reply.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("body", [b'{"messages":[' + b"[]," * 3_000_000 + b"[]]}", b'{"a":' * 20_000 + b"1"])
def test_a_body_of_millions_of_parts_is_refused_before_it_is_read(
    oracle: StreamingOracle, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "loads", None)

    async def use(client: Any) -> httpx.Response:
        return await client._client.post("http://localhost/v1/chat/completions", content=body)

    reply = run(serve(oracle), use)
    assert reply.status_code == 400 and b"too many parts" in reply.content


def test_limits_are_those_of_uploads(oracle: StreamingOracle, address: str) -> None:
    assert refused(serve(oracle, max_files=1), messages=asking(address, address))[:2] == (413, "too_many_files")
    assert refused(serve(oracle, max_upload_mb=0), messages=asking(address, question="x" * 70_000))[:2] == (
        413,
        "too_large",
    )
    assert refused(serve(oracle, max_pixels=1999), messages=asking(address))[:2] == (422, "scene")
    status, code, _, message = refused(serve(oracle, max_running=0, max_queue=0), messages=asking(address))
    assert (status, code) == (503, "queue_full") and "0 places" in message
    with pytest.raises(openai.AuthenticationError):
        complete(serve(oracle, token=TOKEN), messages=asking(address))
    assert complete(serve(oracle, token=TOKEN), key=TOKEN, messages=asking(address)).choices


def test_a_defect_is_not_told_to_strangers(address: str) -> None:
    class Broken(StreamingOracle):
        def stream(self, *arguments: Any, **options: Any) -> Iterator[Event | Answer]:
            raise RuntimeError("/home/secret")

    async def use(client: Any) -> httpx.Response:
        body = {"model": "oracle", "messages": asking(address)}
        return await client._client.post("http://localhost/v1/chat/completions", json=body)

    reply = run(serve(Broken()), use)
    assert reply.status_code == 500 and reply.headers["x-should-retry"] == "false"
    assert reply.json()["error"]["code"] == "internal" and "secret" not in reply.text
    with pytest.raises(openai.APIError, match="something failed on the server"):
        stream(serve(Broken()), messages=asking(address))


def test_the_models_of_the_server(oracle: StreamingOracle) -> None:
    async def use(client: Any) -> tuple[Any, Any]:
        return await client.models.list(), await client.models.retrieve("oracle")

    listed, found = run(serve(oracle), use)
    assert [(each.id, each.object, each.owned_by) for each in listed.data] == [("oracle", "model", "terrascope")]
    assert found.id == "oracle" and isinstance(found.created, int)
    with pytest.raises(openai.NotFoundError) as caught:
        run(serve(oracle), lambda client: client.models.retrieve("org/gpt"))
    assert caught.value.body["code"] == "model_not_found"
    assert refused(serve(oracle), model="gpt-4o", messages=asking("data:"))[:3] == (404, "model_not_found", "model")


def test_a_stream_tells_the_reasoning_the_masks_and_the_answer(oracle: StreamingOracle, address: str) -> None:
    chunks = stream(serve(oracle), messages=asking(address), stream_options={"include_usage": True})
    assert {(chunk.object, chunk.id, chunk.model) for chunk in chunks} == {
        ("chat.completion.chunk", chunks[0].id, "oracle")
    }
    assert chunks[0].choices[0].delta.role == "assistant"
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    reasoning = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert reasoning.split() == (REASONING + "So the answer is 10%.").split()
    assert [delta.content for delta in deltas if delta.content] == ["10%"]
    told = [chunk.terrascope for chunk in chunks if "terrascope" in chunk.model_extra]
    assert [next(iter(each)) for each in told] == ["scene", "mask", "mask", "answer"]
    water, tree = (decode_rle(each["mask"]["mask_rle"]) for each in told if "mask" in each)
    assert np.array_equal(water, WATER) and np.array_equal(tree, TREE)
    assert told[-1]["answer"]["steps"][1]["mask_rle"] == told[2]["mask"]["mask_rle"]
    assert [chunk.choices[0].finish_reason for chunk in chunks[-3:-1]] == [None, "stop"]
    assert chunks[-1].choices == [] and chunks[-1].usage is None


def test_the_wire_of_a_stream_is_openais(oracle: StreamingOracle, address: str) -> None:
    async def use(client: Any) -> httpx.Response:
        body = {"model": "oracle", "messages": asking(address), "stream": True}
        return await client._client.post("http://localhost/v1/chat/completions", json=body)

    reply = run(serve(oracle), use)
    assert reply.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in reply.text.split("\n\n") if line and not line.startswith(":")]
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: "))["object"] == "chat.completion.chunk" for line in lines[:-1])


def test_the_clients_own_gathering_of_a_stream_works(oracle: StreamingOracle, address: str) -> None:
    async def use(client: Any) -> Any:
        async with client.chat.completions.stream(model="oracle", messages=asking(address)) as told:
            return await told.get_final_completion()

    message = run(serve(oracle), use).choices[0].message
    assert (message.content, message.reasoning_content) == ("10%", REASONING + "So the answer is 10%.")


def test_a_stream_ends_with_the_refusal_of_its_scene(oracle: StreamingOracle) -> None:
    with pytest.raises(openai.APIError) as caught:
        stream(serve(oracle), messages=asking("data:image/png;base64,aGVsbG8="))
    assert caught.value.body["code"] == "scene" and "image-1.png" in caught.value.body["message"]


def test_a_short_answer_is_cut_off_and_says_so(oracle: StreamingOracle, address: str) -> None:
    # The predictor goes on only when the reply has ended: otherwise it might be done before anybody counts.
    oracle.gate.clear()
    told = complete(serve(oracle), messages=asking(address), max_tokens=1)
    (choice,) = told.choices
    assert (choice.finish_reason, choice.message.content, choice.message.terrascope) == ("length", "", None)
    assert oracle.closed.wait(10)
    chunks = stream(serve(oracle), messages=asking(address), max_completion_tokens=2)
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_client_that_goes_away_cancels(oracle: StreamingOracle, address: str) -> None:
    oracle.gate.clear()
    app = serve(oracle)
    body = json.dumps({"model": "oracle", "messages": asking(address), "stream": True}).encode()

    async def main() -> None:
        text_told, sent = asyncio.Event(), [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if sent:
                return sent.pop()
            await text_told.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if b'"reasoning_content"' in message.get("body", b""):
                text_told.set()

        scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/v1/chat/completions",
            "raw_path": b"/v1/chat/completions", "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1),
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")], "server": ("localhost", 80),
        }  # fmt: skip
        await asyncio.wait_for(app(scope, receive, send), 20)
        assert text_told.is_set()

    asyncio.run(main())
    assert oracle.closed.wait(10)
    assert not list(app.state.service.uploads.iterdir())


def test_an_answer_that_shall_not_be_stored_is_not(oracle: StreamingOracle, address: str) -> None:
    app = serve(oracle)
    answer = complete(app, messages=asking(address), store=False).choices[0].message.terrascope
    assert answer["files"] == {} and app.state.service.kept.reply(answer["id"]) is None


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("", ""),
        ("<thi", ""),
        ("<think>The water: [SEG] It", "The water: [SEG] It"),
        ("<think>Snow�", "Snow"),
        ("<think>Snow.</th", "Snow."),
        ("<think>5 < 6", "5 < 6"),
        ("<think>Snow.</think><answer>ye", "Snow."),
        ("Snow.<answer>yes</answer>", "Snow."),
    ],
)
def test_the_reasoning_is_told_without_its_tags(text: str, reasoning: str) -> None:
    assert reasoning_in(text) == reasoning


def test_every_beginning_of_a_text_leads_to_the_same_reasoning() -> None:
    text = "<think>Größe < 5 ha: [SEG] It covers 3% of it.</think><answer>3%</answer>"
    completion = Completion(id="a", model="b", max_written=None)
    told = [chunk for end in range(len(text) + 1) for chunk in completion.hear("text", {"text": text[:end]})]
    # A text may begin anew, where the model ran out of memory.
    assert completion.hear("text", {"text": text[:20]}) == []
    assert "".join(chunk["choices"][0]["delta"]["reasoning_content"] for chunk in told) == (
        "Größe < 5 ha: [SEG] It covers 3% of it."
    )


@pytest.mark.parametrize(
    ("answer", "reasoning", "finish_reason"),
    [
        ("3%", "<think>.</think><answer>3%</answer>", "stop"),
        ("", "<think>The water", "length"),
        ("3", "<think>.</think><answer>3", "length"),
        ("yes", "yes", "stop"),
    ],
)
def test_a_reasoning_without_its_end_was_cut_off(answer: str, reasoning: str, finish_reason: str) -> None:
    completion = Completion(id="a", model="b", max_written=None)
    completion.hear("answer", {"answer": answer, "reasoning": reasoning})
    assert completion.reply()["choices"][0]["finish_reason"] == finish_reason


described = schemathesis.openapi.from_asgi(
    "/openapi.json", always_up(serve(StreamingOracle(), host="0.0.0.0", keep_answers=4))
).include(path_regex="^/v1/(chat|models)")


@pytest.mark.slow
@described.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
def test_every_reply_is_one_that_is_described(case: schemathesis.Case) -> None:
    # No description can say whether a text is an image.
    case.call_and_validate(excluded_checks=[positive_data_acceptance])


@pytest.mark.weights
def test_the_masks_are_those_of_the_model() -> None:
    from terrascope.model import TerraScope
    from terrascope.sources.synthetic import demo_scene

    nano = TerraScope.from_pretrained("nano", device="cpu")
    question = "What percentage of the scene is covered by water?"
    told = complete(
        serve(nano),
        model="nano",
        messages=[{"role": "user", "content": question}],
        extra_body={"terrascope": {"sample": "demo"}},
    )
    message, answer = told.choices[0].message, nano.ask(demo_scene(), question)
    assert message.content == answer.text and told.choices[0].finish_reason == "stop"
    assert message.reasoning_content == reasoning_in(answer.reasoning)
    masks = [decode_rle(step["mask_rle"]) for step in message.terrascope["steps"]]
    assert len(masks) == len(answer.masks) > 0
    assert all(np.array_equal(mask, other) for mask, other in zip(masks, answer.masks, strict=True))

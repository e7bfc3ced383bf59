from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from serve.told import TOKEN, StreamingOracle, fields
from terrascope.serve.app import create_app
from terrascope.serve.settings import ServeSettings

ASK = fields(question="How much of the image is water?", sample="demo")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "[::1]"])
def test_a_local_server_answers_to_names_of_this_machine(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[", "10.0.0.1"]
)
def test_a_local_server_does_not_answer_to_names_of_others(client: TestClient, host: str) -> None:
    for path in ("/", "/v1/limits", "/metrics", "/healthz"):
        reply = client.get(path, headers={"Host": host})
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "host")


def test_with_a_token_any_name_will_do(oracle: StreamingOracle) -> None:
    with TestClient(create_app(oracle, ServeSettings(token=TOKEN)), base_url="http://any.example") as client:
        assert client.get("/v1/limits", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_server_that_is_open_answers_to_any_name_but_not_to_other_sites(start: Callable[..., TestClient]) -> None:
    client = start(is_open=True)
    assert client.get("/v1/limits", headers={"Host": "scenes.example"}).status_code == 200
    headers = {"Host": "scenes.example", "Origin": "https://scenes.example"}
    assert client.post("/v1/ask", files=ASK, headers=headers).status_code == 200
    assert client.post("/v1/ask", files=ASK, headers=headers | {"Origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://localhost.evil.example", "http://localhost:1"]
)
def test_a_page_of_another_site_may_not_ask(client: TestClient, origin: str) -> None:
    reply = client.post("/v1/ask", files=ASK, headers={"Origin": origin})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "origin")
    assert client.delete("/v1/answers/x", headers={"Origin": origin}).status_code == 403


def test_the_servers_own_page_may_ask(client: TestClient) -> None:
    assert client.post("/v1/ask", files=ASK, headers={"Origin": "http://localhost"}).status_code == 200
    reply = client.post("/v1/ask", files=ASK)
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("path", ["/v1/limits", "/v1/models", "/v1/answers/x", "/v1/none", "/metrics"])
@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}2",
        f"Bearer {TOKEN[:-1]}",
        "Bearer é",
    ],
)
def test_a_token_is_wanted_for_all_but_page_and_health(
    start: Callable[..., TestClient], path: str, header: str | None
) -> None:
    client = start(token=TOKEN)
    headers = {} if header is None else {"Authorization": header.encode()}
    reply = client.get(path, headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "token")
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert client.get("/healthz").status_code == 200 and client.get("/").status_code in (200, 404)


def test_the_token_opens(start: Callable[..., TestClient]) -> None:
    client = start(token=TOKEN)
    for header in (f"Bearer {TOKEN}", f"bearer  {TOKEN} "):
        assert client.get("/v1/limits", headers={"Authorization": header}).status_code == 200
    assert client.post("/v1/ask", files=ASK).status_code == 401
    assert TOKEN not in repr(client.app.state.service.settings)


def test_every_reply_bears_the_headers_that_keep_browsers_safe(client: TestClient) -> None:
    for reply in (client.get("/healthz"), client.get("/nothing"), client.get("/v1/limits", headers={"Host": "x"})):
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["x-frame-options"] == "DENY"


def test_unknown_routes_and_methods_are_told_in_the_envelope(client: TestClient) -> None:
    reply = client.get("/nothing")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
    reply = client.put("/v1/ask")
    assert (reply.status_code, reply.json()["error"]["code"]) == (405, "method")
    assert reply.headers["allow"] == "POST"
    assert client.post("/v1/answers/x").headers["allow"] == "DELETE, GET"


def test_the_limits_are_those_of_the_settings(start: Callable[..., TestClient]) -> None:
    told = start(max_upload_mb=3, max_files=5, max_pixels=7, max_queue=2).get("/v1/limits").json()
    sensors = told.pop("sensors")
    assert re.search(told.pop("band_name"), "lake_B02.tif")
    assert told == {
        "max_upload_bytes": 3 * 2**20, "max_files": 5, "max_pixels": 7, "max_queue": 2, "paths": False,
        "model": "oracle",
    }  # fmt: skip
    assert "sentinel-2" in sensors


def test_the_counters_count(client: TestClient) -> None:
    assert client.post("/v1/ask", files=ASK).status_code == 200
    assert client.post("/v1/ask", files=fields(sample="demo")).status_code == 400
    client.get("/nothing/at/all")
    reply = client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    counted = dict(line.rsplit(" ", 1) for line in reply.text.splitlines() if not line.startswith("#"))
    assert counted['terrascope_requests_total{method="POST",route="/v1/ask",status="200"}'] == "1.0"
    assert counted['terrascope_requests_total{method="GET",route="other",status="404"}'] == "1.0"
    assert counted['terrascope_refused_total{code="missing_field"}'] == "1.0"
    assert counted['terrascope_questions_total{outcome="answered"}'] == "1.0"
    assert counted["terrascope_masks_total"] == "2.0"
    assert counted["terrascope_running"] == counted["terrascope_queued"] == "0.0"
    assert counted["terrascope_kept_answers"] == "1.0"
    assert float(counted["terrascope_tokens_total"]) == 23
    for name in ("queue", "first_text", "answer"):
        assert counted[f"terrascope_{name}_seconds_count"] == "1.0"

"""What a server's reply means: the words of the model, or one of our failures. No failure holds the key."""

from __future__ import annotations

import datetime
import email.utils
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from terrascope.errors import EndpointError
from terrascope.llm.address import Address
from terrascope.llm.cache import RawReply
from terrascope.llm.failures import Complaint, NoReply, Transient

_MAX_SAID = 200

_BAD_KEY = re.compile(r"\bapi[ _-]?key\b", re.I)
_NO_CREDIT = re.compile(r"insufficient_quota|insufficient (?:credit|fund|balance)", re.I)
_NO_MODEL = re.compile(
    r"model_not_found|invalid model\b|unknown model\b|model\b.{0,120}(?:not found|not exist)", re.I | re.S
)
_POLICY = re.compile(r"content_filter|content_policy|content management policy|moderation|flagged", re.I)
_FORM = re.compile(r"response_format|json_schema|json_object|structured output|guided", re.I)

T = TypeVar("T")


class NotFound(EndpointError):
    """The server has nothing at this address."""


def in_our_words(address: Address, call: Callable[[], T]) -> T:
    """What a call of the library gives; its errors become ours.

    Raises:
        Transient, Complaint, NoReply: as `judge` says; or nothing answers.
        EndpointError: the library is missing, or the failure would meet every request.
    """
    try:
        import openai
    except ImportError:
        raise EndpointError(
            "language models behind an endpoint need the package openai: pip install 'terrascope-eo[data]'"
        ) from None
    failure: Exception
    try:
        return call()
    except openai.APITimeoutError:
        failure = Transient("no reply in time", "timed out")
    except openai.APIStatusError as error:
        headers = {name.lower(): value for name, value in error.response.headers.items()}
        failure = judge(address, error.status_code, headers, error.response.content)
    except openai.APIConnectionError:
        failure = Transient("nothing answers there", "unreachable")
    # Not from within the handlers: the library's errors know the request with its headers, and thereby the key.
    raise failure


def judge(address: Address, status: int, headers: Mapping[str, str], body: bytes) -> Exception:
    """What a reply with an error's status means.

    Args:
        headers: names in lower case.
    """
    said = address.without_key(body).decode("utf-8", "replace")
    short = _message(said)
    if status == 401 or (status in (400, 403) and _BAD_KEY.search(said)):
        return EndpointError(
            f"{address.base_url} does not accept the key; set TERRASCOPE_LLM_KEY in the environment to a valid one"
        )
    if status == 402 or _NO_CREDIT.search(said):
        return EndpointError(
            f"{address.base_url}: the account of the key has no credit left; top it up and start again"
        )
    if status in (400, 403) and _POLICY.search(said):
        return NoReply(f"{address.model} refused: {short}", "refused")
    if status == 403:
        return EndpointError(f"{address.base_url} does not let this key use {address.model}: {short}")
    if status in (400, 404) and _NO_MODEL.search(said):
        return EndpointError(f"{address.base_url} has no model {address.model!r}; name one that it serves")
    if status == 404:
        return NotFound(f"{address.base_url}: no chat completions there; most addresses end with /v1")
    if status == 408:
        return Transient("no reply in time", "timed out")
    if status == 429:
        return Transient("too many requests", "rate limited", _wait_s(headers))
    if status < 500 or status == 501 or _FORM.search(said):
        return Complaint(short)
    return Transient(f"the server failed (status {status})", "server error", _wait_s(headers))


def read_body(address: Address, body: bytes) -> RawReply:
    """The words of the model in the body of a good reply.

    Raises:
        NoReply: the model refused.
        Transient: the body is not of the form that it should have.
        Complaint, EndpointError: the body is an error after all, as `judge` says.
    """
    body = address.without_key(body)
    try:
        values = json.loads(body)
        if "error" in values and not values.get("choices"):
            error = values["error"]
            code = error.get("code") if isinstance(error, dict) else None
            raise judge(address, code if isinstance(code, int) else 502, {}, json.dumps(error).encode())
        choice, used = values["choices"][0], values.get("usage") or {}
        message, ended = choice["message"], choice.get("finish_reason")
        if message.get("refusal") or ended == "content_filter":
            raise NoReply(f"{address.model} refused to answer", "refused")
        content = message.get("content") or ""
        text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        return RawReply(
            text=text,
            input_tokens=int(used.get("prompt_tokens") or 0),
            output_tokens=int(used.get("completion_tokens") or 0),
            cut_off=ended == "length",
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        failure = Transient("a reply that is no chat completion", "nonsense")
    raise failure


def _message(said: str) -> str:
    """The sentence in the body of an error, on one line and short."""
    text = said
    try:
        values: Any = json.loads(said)
        while isinstance(values, list) and values:
            values = values[0]
        while isinstance(values, dict):
            values = next((values[key] for key in ("error", "message", "detail") if key in values), str(values))
        text = str(values)
    except (ValueError, RecursionError):
        pass
    return " ".join(text.split())[:_MAX_SAID] or "it gave no reason"


def _wait_s(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait, as a number or as a time."""
    asked = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        when = email.utils.parsedate_to_datetime(asked)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds())

"""An OpenAI-compatible endpoint: ask it for an object of a schema, and get one that passed every check, or a reason."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel

from terrascope.errors import EndpointError
from terrascope.llm import server
from terrascope.llm.address import Address, read_key
from terrascope.llm.cache import RawReply, find_reply, hash_request, keep_reply
from terrascope.llm.calls import REPLIED, Call, append_call
from terrascope.llm.failures import NoReply
from terrascope.llm.reading import read_reply

Parsed = TypeVar("Parsed", bound=BaseModel)

CUT_OFF = "The reply was cut off at the limit of its length; be much shorter."


@dataclass(frozen=True, kw_only=True)
class Reply(Generic[Parsed]):
    """What a model replied.

    Attributes:
        parsed: the object.
        faults: what the caller's check still finds wrong with it after the last round; empty if it passed.
        input_tokens, output_tokens: of all rounds, those from the cache included.
        cost_usd: what was spent now; None where prices are not known.
        from_cache: True if nothing was sent.
    """

    parsed: Parsed
    faults: tuple[str, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    from_cache: bool = False


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of a conversation: who speaks, what is said, and the PNG files that are shown before it."""

    role: Literal["user", "assistant"]
    text: str
    images: tuple[bytes, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a model wrote freely, whether it was cut off at the limit of its length, and what was spent now."""

    text: str
    cut_off: bool = False
    cost_usd: float | None = None
    from_cache: bool = False


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model behind an OpenAI-compatible server. It holds no key, may be pickled, and serves threads and processes.

    The key is read from the environment (TERRASCOPE_LLM_KEY, else OPENAI_API_KEY) whenever a request is sent, and is
    sent to `base_url` alone; a server of one's own may need none.

    Attributes:
        model: its name on the server.
        base_url: up to and with `/v1`.
        temperature: None for the server's own.
        max_tokens: longest reply.
        timeout_s: longest wait for one reply.
        max_tries: how often a request is sent when the server fails.
        max_rounds: how often the model is asked, faults of the last reply named, until a reply passes.
        input_price, output_price: US dollars for a million tokens; None where they are not known.
        cache: folder of replies; None to keep none.
        log: file of calls; None to write none.

    Raises:
        EndpointError: a setting cannot be used.
    """

    model: str
    base_url: str = "https://api.openai.com/v1"
    temperature: float | None = 0.7
    max_tokens: int = 2048
    timeout_s: float = 120.0
    max_tries: int = 5
    max_rounds: int = 3
    input_price: float | None = None
    output_price: float | None = None
    cache: Path | None = None
    log: Path | None = None

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise EndpointError(
                f"the endpoint {self.base_url!r} is no address; give one such as http://localhost:8000/v1"
            )
        if url.username or url.password or url.query or url.fragment:
            # Not shown: what stands there may be a key.
            raise EndpointError("the address of the endpoint holds more than a place; keys go into TERRASCOPE_LLM_KEY")
        if not self.model.strip():
            raise EndpointError("the model behind the endpoint has no name; give the name by which the server knows it")
        for name in ("max_tokens", "timeout_s", "max_tries", "max_rounds"):
            if not getattr(self, name) > 0:
                raise EndpointError(f"{name} of the endpoint must be above 0, got {getattr(self, name)}")

    def check(self) -> None:
        """Knock at the server, so that a long run need not begin with a wrong address or key.

        Raises:
            EndpointError: nothing answers, or the key is not accepted.
        """
        server.look(self._address())

    def complete(
        self,
        system: str,
        text: str,
        images: Sequence[bytes] = (),
        *,
        schema: type[Parsed],
        check: Callable[[Parsed], Sequence[str]] | None = None,
    ) -> Reply[Parsed]:
        """Ask for an object of a schema.

        A reply that breaks the schema, or in which `check` finds faults, is sent back with the faults named, up to
        `max_rounds` times in all. Every reply of a conversation that led to an object is kept in the cache under all
        that led to it, and `check` is made anew, so that a rerun goes the same way without a request. One that led to
        none is not kept, and begins again.

        Args:
            system: who the model is to be, and its task.
            text: what is asked.
            images: PNG files.
            schema: of the reply; its fields have no defaults, as a strict schema knows none.
            check: the faults of a reply, one sentence each, worded for the model; none if it passes.

        Returns:
            the reply with the fewest faults; with none, if there was one.

        Raises:
            NoReply: no round gave an object of the schema.
            EndpointError: the run cannot go on: the key, the model or the address is wrong, or the server is gone.
        """
        content: list[dict[str, Any]] = [{"type": "text", "text": text}]
        content += [_image(png) for png in images]
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}, {"role": "user", "content": content}]
        shown = [hashlib.sha256(png).hexdigest() for png in images]
        shaping = {
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "schema": schema.model_json_schema(),
            "system": system,
            "text": text,
            "images": shown,
        }
        best: Parsed | None = None
        best_faults: tuple[str, ...] = ()
        spent = _Spent()
        unkept: list[tuple[str, RawReply]] = []
        for _ in range(self.max_rounds):
            request = hash_request({**shaping, "rounds": messages[2:]})
            raw, is_new = self._ask(request, messages, schema, spent)
            read = read_reply(raw.text, schema)
            unkept += [(request, raw)] if is_new else []
            if isinstance(read, tuple):
                faults = (CUT_OFF,) if raw.cut_off else read
            else:
                self._keep(unkept)
                faults = tuple(check(read)) if check is not None else ()
                if best is None or len(faults) < len(best_faults):
                    best, best_faults = read, faults
                if not faults:
                    break
            messages += [
                {"role": "assistant", "content": raw.text},
                {"role": "user", "content": word_faults(faults)},
            ]
        if best is None:
            raise NoReply(f"{self.model} gave no reply of the form asked for: {faults[0]}", "nonsense")
        self._keep(unkept)
        return Reply(
            parsed=best,
            faults=best_faults,
            input_tokens=spent.input_tokens,
            output_tokens=spent.output_tokens,
            cost_usd=self._cost_usd(spent.sent_input_tokens, spent.sent_output_tokens),
            from_cache=not spent.num_sent,
        )

    def say(self, turns: Sequence[Turn]) -> Said:
        """Let the model write freely, once; what it writes is kept in the cache under all that led to it.

        Args:
            turns: of the conversation so far; the last one is the user's.

        Raises:
            NoReply: there is no reply.
            EndpointError: the run cannot go on: the key, the model or the address is wrong, or the server is gone.
        """
        shown = [[hashlib.sha256(png).hexdigest() for png in turn.images] for turn in turns]
        said = [
            {"role": turn.role, "text": turn.text, "images": hashes} for turn, hashes in zip(turns, shown, strict=True)
        ]
        request = hash_request(
            {"model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens, "turns": said}
        )
        messages = [_message(turn) for turn in turns]
        spent = _Spent()
        raw, is_new = self._ask(request, messages, None, spent)
        self._keep([(request, raw)] if is_new else [])
        return Said(
            text=raw.text,
            cut_off=raw.cut_off,
            cost_usd=self._cost_usd(spent.sent_input_tokens, spent.sent_output_tokens),
            from_cache=not is_new,
        )

    def _ask(
        self, request: str, messages: Sequence[dict[str, Any]], schema: type[BaseModel] | None, spent: _Spent
    ) -> tuple[RawReply, bool]:
        """One reply, from the cache or, True, from the server."""
        started = time.monotonic()
        kept = find_reply(self.cache, request) if self.cache is not None else None
        if kept is not None:
            spent.add(kept, sent=False)
            self._note(request, REPLIED, time.monotonic() - started, kept, from_cache=True)
            return kept, False
        raw = server.exchange(
            self._address(),
            server.Wish(messages=messages, schema=schema, temperature=self.temperature, max_tokens=self.max_tokens),
            tell=lambda outcome, seconds, reply: self._note(request, outcome, seconds, reply),
        )
        spent.add(raw, sent=True)
        return raw, True

    def _keep(self, unkept: list[tuple[str, RawReply]]) -> None:
        """Keep replies, and leave none."""
        while unkept:
            request, reply = unkept.pop(0)
            if self.cache is not None:
                keep_reply(self.cache, request, reply, model=self.model)

    def _address(self) -> Address:
        return Address(
            base_url=self.base_url.rstrip("/"),
            model=self.model,
            timeout_s=self.timeout_s,
            max_tries=self.max_tries,
            key=read_key(),
        )

    def _note(
        self, request: str, outcome: str, seconds: float, reply: RawReply | None, *, from_cache: bool = False
    ) -> None:
        if self.log is None:
            return
        tokens = (reply.input_tokens, reply.output_tokens) if reply is not None else (0, 0)
        call = Call(
            model=self.model,
            request=request[:16],
            outcome=outcome,
            from_cache=from_cache,
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            cost_usd=self._cost_usd(0, 0) if from_cache else self._cost_usd(*tokens),
            seconds=round(seconds, 3),
        )
        append_call(self.log, call)

    def _cost_usd(self, input_tokens: int, output_tokens: int) -> float | None:
        if self.input_price is None or self.output_price is None:
            return None
        return (input_tokens * self.input_price + output_tokens * self.output_price) / 1e6


@dataclass
class _Spent:
    """Tokens of the rounds so far."""

    input_tokens: int = 0
    output_tokens: int = 0
    sent_input_tokens: int = 0
    sent_output_tokens: int = 0
    num_sent: int = 0

    def add(self, reply: RawReply, *, sent: bool) -> None:
        self.input_tokens += reply.input_tokens
        self.output_tokens += reply.output_tokens
        if sent:
            self.sent_input_tokens += reply.input_tokens
            self.sent_output_tokens += reply.output_tokens
            self.num_sent += 1


def word_faults(faults: Sequence[str]) -> str:
    """The message that sends a reply back."""
    listed = "\n".join(f"{number}. {fault}" for number, fault in enumerate(faults, 1))
    return f"Your reply cannot be used:\n{listed}\nWrite the whole reply again with these faults mended."


def _message(turn: Turn) -> dict[str, Any]:
    if not turn.images:
        return {"role": turn.role, "content": turn.text}
    return {"role": turn.role, "content": [*map(_image, turn.images), {"type": "text", "text": turn.text}]}


def _image(png: bytes) -> dict[str, Any]:
    url = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    return {"type": "image_url", "image_url": {"url": url}}

"""One request to a server, tried again where that may help, and worded more plainly where the server needs it."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from terrascope.errors import EndpointError
from terrascope.llm.address import Address
from terrascope.llm.cache import RawReply
from terrascope.llm.calls import REPLIED
from terrascope.llm.failures import Complaint, NoReply, Reason, Transient
from terrascope.llm.verdicts import NotFound, in_our_words, read_body

if TYPE_CHECKING:
    from openai import OpenAI

FAILURES_THAT_END_A_RUN = 10
"""Requests in a row that come to nothing, each after all its tries, before the server is given up."""

UNREACHED_THAT_END_A_RUN = 3
"""The same for requests to which nobody answers: a wrong address, or a network that is down."""

LONGEST_WAIT_S = 600.0
"""Longest wait that a server may ask for; one that asks for more is given up for this request."""

_FIRST_WAIT_S, _MAX_WAIT_S = 1.0, 60.0
_MAX_BODY = 16_000_000

Message = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a server wants to be asked.

    Attributes:
        form: how structured output is asked for: by the schema itself, by the word that it is JSON, or in the prompt.
        limit: the field that limits the tokens of a reply.
        temperature: whether the server lets it be chosen.
    """

    form: Literal["json_schema", "json_object", "text"] = "json_schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True

    def plainer(self, complaint: str, *, is_free: bool = False) -> Dialect | None:
        """The next dialect to try after a complaint; None if there is none. Of a free text, no form is asked."""
        if self.limit == "max_tokens" and "max_completion_tokens" in complaint:
            return replace(self, limit="max_completion_tokens")
        if self.temperature and "temperature" in complaint:
            return replace(self, temperature=False)
        if self.form == "text" or is_free:
            return None
        return replace(self, form="json_object" if self.form == "json_schema" else "text")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A request before it is worded for a server: messages, and what is wanted.

    With a schema, the first message is the system's; None for a free text.
    """

    messages: Sequence[Message]
    schema: type[BaseModel] | None
    temperature: float | None
    max_tokens: int


@dataclass
class _Acquaintance:
    """What a process has learned of a server: its dialect, and how many requests in a row came to nothing."""

    dialect: Dialect = field(default_factory=Dialect)
    num_failed: int = 0
    num_unreached: int = 0
    """Of these, the last ones in a row to which nobody answered."""

    def count(self, failure: Transient | None) -> None:
        """Count the end of a request: that it came to nothing, or None where the server said something of use."""
        self.num_failed = 0 if failure is None else self.num_failed + 1
        self.num_unreached = self.num_unreached + 1 if failure and failure.reason == "unreachable" else 0

    @property
    def num_in_vain(self) -> int:
        """Requests in a row after which the server is given up; 0 while it is not."""
        if self.num_unreached >= UNREACHED_THAT_END_A_RUN:
            return self.num_unreached
        return self.num_failed if self.num_failed >= FAILURES_THAT_END_A_RUN else 0


_acquaintances: dict[tuple[str, str], _Acquaintance] = {}


def exchange(address: Address, wish: Wish, tell: Callable[[str, float, RawReply | None], None]) -> RawReply:
    """The reply of a server.

    Args:
        tell: is called after every request that was sent, with its outcome, its seconds, and its reply if it has one.

    Raises:
        NoReply: there is none after all tries.
        EndpointError: the key, the model or the address is wrong, or nothing has come from the server for long.
    """
    known = _acquaintances.setdefault((address.base_url, address.model), _Acquaintance())
    dialect, tries = known.dialect, 0
    while True:
        started = monotonic()
        failure: NoReply | Transient
        try:
            reply = _send(address, wish, dialect)
        except Complaint as error:
            tell("request rejected", monotonic() - started, None)
            plainer = dialect.plainer(str(error), is_free=wish.schema is None)
            if plainer is not None:
                dialect = plainer
                continue
            failure = NoReply(f"{address.model} takes no such request: {error}", "request rejected")
        except (NoReply, Transient) as error:
            tell(error.reason, monotonic() - started, None)
            failure = error
        else:
            tell(REPLIED, monotonic() - started, reply)
            known.dialect = dialect
            known.count(None)
            return reply
        # Outside of the handlers, so that no error carries the request, and with it the key, as its context.
        if isinstance(failure, Transient):
            tries += 1
            wait_s = _wait_s(tries, failure.wait_s)
            if tries < address.max_tries and wait_s <= LONGEST_WAIT_S:
                sleep(wait_s)
                continue
            known.count(failure)
            num_in_vain = known.num_in_vain
            if num_in_vain:
                known.count(None)
                raise EndpointError(
                    f"{address.base_url}: {num_in_vain} requests in a row came to nothing, at last: {failure}; "
                    "check the address, and start again once the server answers"
                )
            raise NoReply(f"{address.base_url}: {failure}", failure.reason)
        known.count(None)
        raise failure


def look(address: Address) -> None:
    """Knock at a server, before a long run: is it there, and does it take the key?

    Raises:
        EndpointError: nothing answers, or the key is not accepted.
    """
    try:
        in_our_words(address, lambda: _list_models(address))
    except Transient as error:
        sentence = f"{address.base_url}: {error}; check the address, and that the server runs"
    except (Complaint, NoReply, NotFound):
        # It is there; not every server lists its models.
        return
    else:
        return
    raise EndpointError(sentence)


def _word(wish: Wish, dialect: Dialect) -> dict[str, Any]:
    """The fields of a request in a dialect."""
    from openai import pydantic_function_tool

    fields: dict[str, Any] = {dialect.limit: wish.max_tokens}
    if dialect.temperature and wish.temperature is not None:
        fields["temperature"] = wish.temperature
    if wish.schema is None:
        return {**fields, "messages": list(wish.messages)}
    strict: dict[str, Any] = dict(pydantic_function_tool(wish.schema)["function"]["parameters"])
    if dialect.form == "json_schema":
        form = {"name": wish.schema.__name__, "schema": strict, "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": form}
        return {**fields, "messages": list(wish.messages)}
    if dialect.form == "json_object":
        fields["response_format"] = {"type": "json_object"}
    system, *rest = wish.messages
    in_words = f"Reply with one JSON object, and nothing else, of this schema:\n{json.dumps(strict)}"
    return {**fields, "messages": [{**system, "content": f"{system['content']}\n\n{in_words}"}, *rest]}


def _send(address: Address, wish: Wish, dialect: Dialect) -> RawReply:
    def fetch() -> bytes:
        completions = _client(address, os.getpid()).chat.completions
        fields, deadline = _word(wish, dialect), monotonic() + address.timeout_s
        with completions.with_streaming_response.create(model=address.model, **fields) as response:
            return _read_within(deadline, response.iter_bytes())

    return read_body(address, in_our_words(address, fetch))


def _list_models(address: Address) -> None:
    with _client(address, os.getpid()).models.with_streaming_response.list():
        pass


def _read_within(deadline: float, parts: Iterator[bytes]) -> bytes:
    """All bytes of a body. The library's own limit is for each part, so that a server that drips would never end."""
    body = bytearray()
    while True:
        try:
            part = next(parts, None)
        except Exception as error:
            # Whatever goes wrong here is the network's; the library's transport has different names by its version.
            reason: Reason = "timed out" if "Timeout" in type(error).__name__ else "unreachable"
            broken = Transient("the connection broke off within a reply", reason)
            break
        if part is None:
            return bytes(body)
        body += part
        if monotonic() > deadline:
            broken = Transient("a reply took too long", "timed out")
            break
        if len(body) > _MAX_BODY:
            broken = Transient("a reply did not end", "nonsense")
            break
    raise broken


@lru_cache(maxsize=8)
def _client(address: Address, process: int) -> OpenAI:
    """The library's client, one for each process: a connection must not be shared with a fork."""
    from openai import OpenAI

    # Tries are counted here, so that the log knows of each.
    return OpenAI(base_url=address.base_url, api_key=address.key, timeout=address.timeout_s, max_retries=0)


def _wait_s(tries: int, asked_s: float | None) -> float:
    if asked_s is not None:
        # Some later than asked, so that not all processes come back at the same moment.
        return asked_s * (1 + 0.1 * random.random())
    return min(_MAX_WAIT_S, _FIRST_WAIT_S * 2.0 ** (tries - 1)) * random.uniform(0.5, 1.0)

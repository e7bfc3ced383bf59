"""The log of calls: one line of JSON for each, appended by any number of processes; and what they add up to."""

from __future__ import annotations

import datetime
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from terrascope.errors import OutputError

REPLIED = "replied"
"""Outcome of a call that brought a reply; any other outcome is a reason why it brought none."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, sent or answered from the cache.

    Attributes:
        model: who was asked.
        request: the beginning of the request's hash, by which its reply is found in the cache.
        outcome: `replied`, or why there is no reply.
        from_cache: True if nothing was sent.
        input_tokens, output_tokens: as the server counted them; of a reply from the cache, those once spent.
        cost_usd: what was spent now; None where prices are not known.
        seconds: until the reply came.
    """

    model: str
    request: str
    outcome: str
    from_cache: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the calls of a log add up to.

    Attributes:
        num_sent: requests that went to the server; num_from_cache: those that the cache answered.
        input_tokens, output_tokens: of the requests that were sent.
        cost_usd: of the calls whose prices are known; None if there is none.
        seconds: that calls took, added up over all processes.
        outcomes: number of requests that were sent, by outcome.
        num_unreadable: lines of the log that are not calls, such as one that a killed process left unfinished.
    """

    num_sent: int = 0
    num_from_cache: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    seconds: float = 0.0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    num_unreadable: int = 0

    def __str__(self) -> str:
        cost = "cost not known" if self.cost_usd is None else f"{self.cost_usd:.2f} USD"
        failed = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.items() if outcome != REPLIED)
        return (
            f"{self.num_sent} requests sent{f' ({failed})' if failed else ''}, {self.num_from_cache} from the cache, "
            f"{self.input_tokens:,} tokens in, {self.output_tokens:,} out, {cost}, {self.seconds:,.0f} s"
        )


def append_call(log: Path, call: Call) -> None:
    """Add a call to a log.

    Raises:
        OutputError: the log cannot be written.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": now, **asdict(call)}) + "\n"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            # One write of a file opened for appending: lines of several processes do not mix.
            os.write(handle, line.encode("ascii"))
        finally:
            os.close(handle)
    except OSError as error:
        raise OutputError(f"{log}: cannot be written ({error.strerror}); choose another file for the log") from None


def summarize(log: Path, *, first_byte: int = 0) -> Usage:
    """What the calls of a log add up to, from a byte of it on; nothing if there is no such file.

    Raises:
        OutputError: the log cannot be read.
    """
    try:
        lines = log.read_bytes()[first_byte:].splitlines() if log.exists() else []
    except OSError as error:
        raise OutputError(f"{log}: cannot be read ({error.strerror}); give the log of a build") from None
    calls = [_read_call(line) for line in lines]
    known = [call for call in calls if call is not None]
    sent = [call for call in known if not call.from_cache]
    costs = [call.cost_usd for call in known if call.cost_usd is not None]
    return Usage(
        num_sent=len(sent),
        num_from_cache=len(known) - len(sent),
        input_tokens=sum(call.input_tokens for call in sent),
        output_tokens=sum(call.output_tokens for call in sent),
        cost_usd=sum(costs) if costs else None,
        seconds=sum(call.seconds for call in known),
        outcomes=dict(Counter(call.outcome for call in sent).most_common()),
        num_unreadable=len(calls) - len(known),
    )


def _read_call(line: bytes) -> Call | None:
    try:
        values = json.loads(line)
        values.pop("time")
        return Call(**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None

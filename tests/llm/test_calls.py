"""What a log of calls adds up to."""

from __future__ import annotations

from pathlib import Path

import pytest

from terrascope.errors import OutputError
from terrascope.llm.calls import Call, Usage, append_call, summarize


def test_no_log_is_no_usage(tmp_path: Path) -> None:
    assert summarize(tmp_path / "none.jsonl") == Usage()


def test_the_sums_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    sent = {"model": "atlas", "request": "ab"}
    append_call(log, Call(**sent, outcome="replied", input_tokens=1000, output_tokens=50, cost_usd=0.25, seconds=2.5))
    append_call(log, Call(**sent, outcome="timed out", seconds=10.0))
    append_call(log, Call(**sent, outcome="replied", from_cache=True, input_tokens=7, output_tokens=7, cost_usd=0.0))
    with log.open("a") as file:
        file.write('{"time": "2025-01-01T00:00:00", "model": "at\n')
        file.write('{"time": "2025-01-01T00:00:00", "model": "atlas", "mood": "good"}\n')
    usage = summarize(log)
    assert usage == Usage(
        num_sent=2,
        num_from_cache=1,
        input_tokens=1000,
        output_tokens=50,
        cost_usd=0.25,
        seconds=12.5,
        outcomes={"replied": 1, "timed out": 1},
        num_unreadable=2,
    )
    assert str(usage) == ("2 requests sent (1 timed out), 1 from the cache, 1,000 tokens in, 50 out, 0.25 USD, 12 s")


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="choose another file for the log"):
        append_call(tmp_path, Call(model="atlas", request="ab", outcome="replied"))

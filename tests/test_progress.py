"""What a waiting user is told, on a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from terrascope import progress
from terrascope.progress import Waiting


def told(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, every_s: float) -> str:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", every_s)
    out = io.StringIO()
    with Waiting("reading", Console(file=out, force_terminal=is_terminal, width=80)) as waiting:
        waiting.advance(1, 4)
        waiting.say("looking")
        waiting.advance(2, 8)
        waiting.advance(8, 8)
    return out.getvalue()


def test_a_log_gets_a_line_for_work_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, is_terminal=False, every_s=-1) == "reading: 1 of 4\nlooking: 2 of 8\nlooking: 8 of 8\n"
    assert told(monkeypatch, is_terminal=False, every_s=60) == ""


def test_a_terminal_gets_a_bar_that_is_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = told(monkeypatch, is_terminal=True, every_s=-1)
    assert "8/8" in drawn and "looking" in drawn
    assert drawn.rstrip("\n").endswith("\x1b[2K")  # the last line is erased


def test_a_bar_is_stopped_by_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    with pytest.raises(KeyError), Waiting("reading", Console(file=out, force_terminal=True)) as waiting:
        raise KeyError
    assert waiting.bar is not None and not waiting.bar.live.is_started

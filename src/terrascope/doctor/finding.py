"""One line of the doctor's report, and how a library is tried without taking the doctor down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["OK", "WARN", "FAIL"]

GIB = 2**30


class ProbeError(Exception):
    """What was tried in another process did not work; says why in a few words."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found, whether it is well, and, where it is not, what to do about it.

    Attributes:
        name: what was looked at: `torch`, `memory`.
        status: `FAIL` if questions cannot be answered like this, `WARN` if it may hurt.
        found: what was found, in a phrase.
        advice: what to do, in a phrase; "" only where all is well.
    """

    name: str
    status: Status = "OK"
    found: str
    advice: str = ""

    def __post_init__(self) -> None:
        if self.status != "OK" and not self.advice:
            raise ValueError(f"{self.name}: a finding that is not well must say what to do")

    def __str__(self) -> str:
        return f"{self.status:<5} {self.name:<17} {self.found}" + (f": {self.advice}" if self.advice else "")

    def to_dict(self) -> dict[str, str]:
        return {"name": self.name, "status": self.status, "found": self.found, "advice": self.advice}


def in_words(error: Exception) -> str:
    """An error in one line."""
    return " ".join(str(error).split())[:300] or "no reason given"


def probe(code: str, *, seconds: float = 120, environment: Mapping[str, str] | None = None) -> Any:
    """Run Python code in a process of its own; the value of its last line of output, as JSON.

    Raises:
        ProbeError: it raised an exception, was killed, or took too long.
    """
    command = [sys.executable, "-P", "-c", code]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env={**os.environ, **(environment or {})}
        )
    except subprocess.TimeoutExpired:
        raise ProbeError(f"took more than {seconds:g} s") from None
    if done.returncode < 0:
        raise ProbeError(f"the process died of {signal.Signals(-done.returncode).name}")
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ProbeError(said[-1].strip()[:300])
    return json.loads(lines[-1])

"""Questions to a language model's server; importable by spawned processes, which know no package of tests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from terrascope.llm import Endpoint, Reply


class Capital(BaseModel):
    model_config = ConfigDict(extra="forbid")
    city: str
    people: int


def ask(at: Endpoint, text: str = "Which?", **how: Any) -> Reply[Capital]:
    return at.complete("You know capitals.", text, schema=Capital, **how)


def ask_often(at: Endpoint, worker: int) -> list[str]:
    """Half of what is asked is the same for all workers."""
    return [ask(at, f"Question {number if number % 2 else (worker, number)}").parsed.city for number in range(20)]

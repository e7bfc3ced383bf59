"""A key, no waiting between tries, and no memory of the servers of other tests."""

from __future__ import annotations

import pytest

from endpoint import KEY
from terrascope.llm import server


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERRASCOPE_LLM_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(server, "_acquaintances", {})


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited between tries, which pass at once."""
    waited: list[float] = []
    monkeypatch.setattr(server, "sleep", waited.append)
    return waited

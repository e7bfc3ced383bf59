"""Ray that does not start ends with a sentence."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from terrascope.errors import SampleError
from terrascope.ray_session import ray_session


@pytest.mark.parametrize(("address", "where"), [(None, "this machine"), ("10.0.0.1:6379", "the cluster 10.0.0.1:6379")])
def test_it_says_where_and_why(monkeypatch: pytest.MonkeyPatch, address: str | None, where: str) -> None:
    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nMore lines.")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(SampleError) as caught, ray_session(1):
        raise AssertionError("it did not start")
    assert str(caught.value) == f"Ray did not start on {where}: The current node timed out during startup."

"""What tests of several rooms share: the optional folder of real scenes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scenes; tests that want it are skipped where it is not.

    It is named by the environment variable TERRASCOPE_DATA, or lies beside the repository as `shared/data`.
    """
    named = os.environ.get("TERRASCOPE_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real scenes are not here; name their folder in TERRASCOPE_DATA")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test leaves unfinished work in the user's cache, or finds another test's."""
    monkeypatch.setenv("TERRASCOPE_CACHE", str(tmp_path / "terrascope-cache"))

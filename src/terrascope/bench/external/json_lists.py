"""Questions as lists of JSON objects, in one file or in several of a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from terrascope.errors import SampleError


def read_records(paths: Sequence[Path], what: str) -> list[Any]:
    """The elements of all lists, file after file.

    Raises:
        SampleError: a file cannot be read, or holds no list.
    """
    records: list[Any] = []
    for path in paths:
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise SampleError(f"{path}: cannot be read as JSON ({error}); fetch it again") from None
        if not isinstance(found, list):
            raise SampleError(f"{path}: not a JSON list; give the questions of {what}")
        records += found
    return records

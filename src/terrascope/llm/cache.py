"""Replies on disk, each under the hash of all that shaped it, so that a rerun asks nothing twice.

Many processes may share a cache. A file appears whole or not at all, and one that cannot be read counts as not there:
its question is asked again, and the file written anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from terrascope.errors import OutputError

_FORM = "terrascope-llm/1"


@dataclass(frozen=True, kw_only=True)
class RawReply:
    """What a model wrote, the tokens that it took, and whether it was cut off at their limit."""

    text: str
    input_tokens: int
    output_tokens: int
    cut_off: bool = False


def hash_request(shaping: Mapping[str, Any]) -> str:
    """Hexadecimal SHA-256 of everything that shapes a reply, as JSON values."""
    exact = json.dumps({"form": _FORM, **shaping}, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(exact.encode("ascii")).hexdigest()


def find_reply(cache: Path, request: str) -> RawReply | None:
    """The reply to the request of this hash; None if none is kept, or what is kept cannot be read."""
    try:
        kept = json.loads(_file_of(cache, request).read_bytes())
        if not isinstance(kept["text"], str):
            return None
        return RawReply(
            text=kept["text"],
            input_tokens=int(kept["input_tokens"]),
            output_tokens=int(kept["output_tokens"]),
            cut_off=bool(kept["cut_off"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_reply(cache: Path, request: str, reply: RawReply, *, model: str) -> None:
    """Keep a reply under the hash of its request.

    Raises:
        OutputError: the cache cannot be written.
    """
    path = _file_of(cache, request)
    text = json.dumps({"form": _FORM, "model": model, **asdict(reply)}, indent=1)
    unfinished = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own for every writer: threads and machines may keep the same reply at the same time.
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False, encoding="utf-8") as file:
            unfinished = Path(file.name)
            file.write(text)
        os.replace(unfinished, path)
    except OSError as error:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); choose a folder for the cache that is writable"
        ) from None


def _file_of(cache: Path, request: str) -> Path:
    # 256 folders, as one with a million files is slow on many file systems.
    return cache / request[:2] / f"{request[2:]}.json"

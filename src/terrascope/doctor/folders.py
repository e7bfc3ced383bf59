"""The folders that are written to: whether they can be, and how much room they have."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from terrascope.doctor.finding import GIB, Finding, Status
from terrascope.errors import OutputError
from terrascope.output import check_folder

WANTED_GIB, NEEDED_GIB = 2.0, 0.1
"""Room for the files of a large scene, and for those of any."""


def cache_folder() -> Path:
    """Where imported checkpoints and unfinished work lie: `TERRASCOPE_CACHE`, else the user's cache folder."""
    stated = os.environ.get("TERRASCOPE_CACHE")
    if stated:
        return Path(stated)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "terrascope"


def check_output(out: str) -> Sequence[Finding]:
    """Where answers go. Nothing is left there, and a folder that is missing is not made."""
    try:
        folder = check_folder(out)
    except OutputError as error:
        found, _, advice = str(error).partition("; ")
        return [Finding(name="output folder", status="FAIL", found=found, advice=advice or "choose another with --out")]
    return [_try_writing("output folder", folder, "choose another with --out", otherwise="FAIL")]


def check_temporary() -> Sequence[Finding]:
    """Where files lie while they are made."""
    advice = "set TMPDIR to a folder with room"
    try:
        folder = Path(tempfile.gettempdir())
    except OSError as error:
        return [Finding(name="temporary folder", status="FAIL", found=str(error), advice=advice)]
    return [_try_writing("temporary folder", folder, advice, otherwise="FAIL")]


def check_cache() -> Sequence[Finding]:
    """Where models of the hub are kept, and where released checkpoints are imported to; the embedded model does without
    either."""
    from huggingface_hub import constants

    advice = "set HF_HOME to a folder with room, if models of the hub are wanted"
    imports = "set TERRASCOPE_CACHE to a folder with room, if released checkpoints are wanted"
    return [
        _try_writing("cache folder", Path(constants.HF_HUB_CACHE), advice, otherwise="WARN"),
        _try_writing("imports folder", cache_folder(), imports, otherwise="WARN"),
    ]


def _try_writing(name: str, folder: Path, advice: str, *, otherwise: Status) -> Finding:
    """Write a file into the folder, or the one that it would be made in; `otherwise` is the status if that fails."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        free_gib = shutil.disk_usage(existing).free / GIB
    except OSError as error:
        found = f"{existing} cannot be written ({error.strerror})"
        return Finding(name=name, status=otherwise, found=found, advice=advice)
    found = f"{folder} can be {'written' if existing == folder else 'made'}, {free_gib:.1f} GiB free"
    if free_gib < NEEDED_GIB:
        return Finding(name=name, status=otherwise, found=found, advice=advice)
    return (
        Finding(name=name, status="WARN", found=found, advice=advice)
        if free_gib < WANTED_GIB
        else Finding(name=name, found=found)
    )

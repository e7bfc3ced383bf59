"""Released checkpoints under their own name: imported into the cache when they are first used, then read from there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from terrascope.doctor.folders import cache_folder
from terrascope.errors import ModelError, OutputError
from terrascope.model import hub
from terrascope.model.release.convert import REPORT, TOKENIZER_FILES, Progress, import_release
from terrascope.model.release.files import list_tensors, read_json
from terrascope.model.release.settings import HIERA_FILE, RELEASED_TYPE

_READ = ("config.json", HIERA_FILE, "*.safetensors", "model.safetensors.index.json", *TOKENIZER_FILES)
IMPORTING = "importing {} into {}, once"
DAMAGED = "{} was damaged since it was imported, and is imported anew ({})"


def is_released(folder: Path) -> bool:
    """True if the folder holds a checkpoint in the released layout."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("model_type") == RELEASED_TYPE


def fetch(name: str) -> Path:
    """The folder of a released checkpoint: a local one, or that of a hub repository, downloaded if it is not there yet.

    Raises:
        ModelError: there is no such folder or repository, or the hub cannot be reached.
    """
    if Path(name).is_dir():
        return Path(name)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(f"{name}: no such folder; give the folder of a released checkpoint, or a hub id (owner/name)")
    return hub.fetch(name)


def imported(folder: Path, progress: Progress | None = None, tell: Callable[[str], None] | None = None) -> Path:
    """The folder of a released checkpoint in our layout: made in the cache when it is first asked for.

    A checkpoint whose files have changed is another one, and an import that was damaged is made anew. Of several
    processes that ask at once, one imports it and the others wait; what one that was killed has left is removed.

    Args:
        folder: of the released checkpoint.
        progress: called with the tensors that are written, and with all.
        tell: called with a sentence if there is something to import.

    Raises:
        ModelError: the checkpoint cannot be imported.
        OutputError: the cache cannot be written.
    """
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _READ for path in folder.glob(pattern)}):
        status = os.stat(path)
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    target = cache_folder() / "imported" / f"{folder.resolve().name}-{digest.hexdigest()[:16]}"
    if target.is_dir() and _damage(target) is None:
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.parent / f".{target.name}.lock")
        lock.acquire()
    except OSError as error:
        raise OutputError(
            f"{target.parent}: cannot be written ({error.strerror}); name another folder in TERRASCOPE_CACHE"
        ) from None
    try:
        damage = _damage(target) if target.is_dir() else None
        if damage is not None:
            if tell is not None:
                tell(DAMAGED.format(target, damage))
            shutil.rmtree(target)
        if not target.is_dir():
            if tell is not None:
                tell(IMPORTING.format(folder, target))
            import_release(folder, target, progress=progress)
    finally:
        lock.release()
    return target


def _damage(target: Path) -> str | None:
    """Why an import cannot be read any more, by its files and the headers of its weights; None if it can."""
    try:
        for name in ("config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"):
            read_json(target / name)
        stated, found = read_json(target / REPORT).get("num_tensors"), len(list_tensors(target))
    except ModelError as error:
        return str(error)
    return None if stated == found else f"{found} of {stated} tensors are left"

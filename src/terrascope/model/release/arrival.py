"""Released checkpoints under their own name: fetched if need be, imported once, then read from the cache."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from terrascope.errors import ModelError
from terrascope.model.release.convert import HIERA_FILE, TOKENIZER_FILES, Progress, import_release
from terrascope.model.release.settings import RELEASED_TYPE
from terrascope.model.unfinished import cache_folder

_WANTED = ("config.json", HIERA_FILE, "*.safetensors", "model.safetensors.index.json", *TOKENIZER_FILES)


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
    try:
        return Path(snapshot_download(name, allow_patterns=list(_WANTED)))
    except RepositoryNotFoundError:
        raise ModelError(f"{name}: the hub has no such repository, or it needs a login") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelError(
            f"{name}: cannot be fetched from the hub ({reason}); download it and give its folder"
        ) from None


def imported(folder: Path, progress: Progress | None = None) -> Path:
    """The folder of a released checkpoint in our layout: made in the cache when it is first asked for.

    A checkpoint whose files have changed is another one.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        status = os.stat(path)
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    target = cache_folder() / "imported" / f"{folder.resolve().name}-{digest.hexdigest()[:16]}"
    if not target.is_dir():
        import_release(folder, target, progress=progress)
    return target

"""Files that requests name by paths below the server's folder: where they lead, and how they are told from others."""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Iterator
from itertools import chain, repeat
from pathlib import Path

from terrascope.rasters.paths import is_remote
from terrascope.serve.refusals import Refusal

_MAX_BANDS = 64
_MAX_ENTRIES = 20_000
"""Files and folders that are looked at for one image."""

_MAX_STATED = 2_000
"""Files by whose times an image is told from others."""

_SETTLED_NS = 2_000_000_000
"""Some file systems count no finer."""

_IMAGES = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg")

Files = str | list[str]
"""One image: a file, a folder, or the files of its bands."""


def resolve_path(text: str, root: Path | None, field_name: str) -> Files:
    """The file, folder or list of files (`a.tif,b.tif`) below the root that a text names.

    Raises:
        Refusal: no paths are allowed, it leads outside of the root, or nothing is there.
    """
    if root is None:
        raise Refusal(403, "no_paths", "this server reads no files of its own; upload the scene", field_name)
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > 1 and not _is_below(text, root):
        if len(parts) > _MAX_BANDS:
            raise Refusal(422, "scene", f"{len(parts)} files were named for one image; name its folder", field_name)
        files = [_below(part, root, field_name, is_band=True) for part in parts]
        return [str(file) for file in files]
    return str(_below(text, root, field_name))


def _is_below(text: str, root: Path) -> bool:
    """True if there is such a file, whose name may hold commas."""
    if ".." in Path(text).parts or Path(text).is_absolute():
        return False
    try:
        return (root / text).exists()
    except (OSError, ValueError):
        # Several long names are one that is too long.
        return False


def state_of(files: Files, root: Path) -> Hashable:
    """What tells the files of an image from others, and from themselves once they are changed.

    Metadata count that lie beside the image or in folders above it, up to the root. None where there are too many to
    look at, or where one was changed just now: a second change may leave no trace in the times of files.
    """
    top, settled_ns = root.resolve(), time.time_ns() - _SETTLED_NS
    paths = [Path(file) for file in ([files] if isinstance(files, str) else files)]
    found: dict[str, tuple[int, ...]] = {}
    num_entries = 0
    # The calibration of a Sentinel-1 product lies in a folder beside its images.
    if any(path.parent.name == "measurement" for path in paths):
        return None
    try:
        for path in paths:
            below = _entries(path) if path.is_dir() else iter(())
            for entry, counts in chain(zip(below, repeat(True)), _beside(path, top)):
                num_entries += 1
                if num_entries > _MAX_ENTRIES:
                    return None
                if not counts:
                    continue
                stat = entry.stat()
                found[entry.path] = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
                if len(found) > _MAX_STATED or stat.st_ctime_ns > settled_ns:
                    return None
    except OSError:
        return None
    return tuple(map(str, paths)), tuple(sorted(found.items()))


def _below(text: str, root: Path, field_name: str, *, is_band: bool = False) -> Path:
    outside = Refusal(403, "outside", "the path leads outside of the folder that this server reads", field_name)
    if is_remote(text) or "://" in text or text.startswith("/vsi"):
        raise Refusal(403, "outside", "addresses are not fetched; give a path below the server's folder", field_name)
    if "\0" in text or Path(text).is_absolute() or ".." in Path(text).parts:
        raise outside
    top = root.resolve()
    path = top / text
    try:
        if not path.resolve().is_relative_to(top):
            raise outside
        if not path.exists():
            raise Refusal(422, "scene", f"{text[:200]}: no such file; paths begin at the server's folder", field_name)
        if path.is_dir():
            if is_band:
                raise Refusal(422, "scene", f"{text[:200]}: is a folder; name image files, or one folder", field_name)
            _check_entries(path, top, outside)
    except (OSError, RuntimeError):
        raise Refusal(422, "scene", f"{text[:200]}: cannot be opened", field_name) from None
    return path


def _check_entries(folder: Path, top: Path, outside: Refusal) -> None:
    for number, entry in enumerate(_entries(folder)):
        if number > _MAX_ENTRIES:
            raise Refusal(422, "scene", "the folder holds too much to be one product; name a file", outside.field)
        if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(top):
            raise outside


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All that lies below a folder, also by links; each folder is gone through once."""
    waiting, seen = [folder], {folder.resolve()}
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                # Whoever takes it has it before its content is looked at.
                yield entry
                if entry.is_dir() and (place := Path(entry.path).resolve()) not in seen:
                    seen.add(place)
                    waiting.append(Path(entry.path))


def _beside(path: Path, top: Path) -> Iterator[tuple[os.DirEntry[str], bool]]:
    """What lies in an image's folder, and in those above it up to the root, and whether reading may go by it."""
    for folder in path.parents:
        if not folder.is_relative_to(top):
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                is_other_image = entry.name.lower().endswith(_IMAGES) and not entry.name.startswith(path.stem)
                yield entry, entry.is_file() and not is_other_image

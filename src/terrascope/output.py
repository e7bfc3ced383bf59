"""Writing files so that each appears whole, and several of them together or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from terrascope.errors import OutputError

_STAGING = ".terrascope-out-"


def check_folder(directory: str | os.PathLike[str]) -> Path:
    """The absolute path of a folder that can be written, or made; nothing is made yet.

    Raises:
        OutputError: a file stands in the way, or the folder (or the one it would be made in) is not writable.
    """
    if not os.fspath(directory).strip():
        raise OutputError("the output folder has no name; give one with --out")
    target = Path(os.path.abspath(directory))
    anchor = _nearest_existing(target)
    if not anchor.is_dir():
        raise OutputError(f"{anchor}: a file stands where the output folder should be; give another folder with --out")
    if not os.access(anchor, os.W_OK | os.X_OK):
        raise OutputError(f"{anchor}: not writable; give a folder that you may write to with --out")
    return target


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place once the block has ended well.

    Raises:
        OutputError: the file cannot be written.
    """
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OutputError(
            f"{path}: cannot be written ({reason}); choose a folder that exists and is writable"
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def written_together(directory: str | os.PathLike[str], names: Sequence[str]) -> Iterator[Path]:
    """A folder to write `names` into; when the block ends without an error, they are moved into `directory`.

    Files of these names that lie in `directory` already are replaced, or removed where the block did not write them, so
    that what lies there belongs together. Other files are left alone. When the block fails, nothing has changed. What
    a killed run left unfinished is removed by the next one that writes there.

    Raises:
        OutputError: `directory` cannot be written.
    """
    target = check_folder(directory)
    anchor = _nearest_existing(target)
    try:
        staging, lock = hold_folder(anchor, _STAGING)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror}); give another folder with --out") from error
    try:
        yield staging
        blocked = next((name for name in names if (target / name).is_dir()), None)
        if blocked is not None:
            raise OutputError(f"{target / blocked}: a folder stands where a file should be written; give another --out")
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            if (staging / name).exists():
                os.replace(staging / name, target / name)
            else:
                (target / name).unlink(missing_ok=True)
    except OutputError as error:
        # A writer knows only the folder that it was given.
        raise OutputError(str(error).replace(str(staging), str(target))) from error
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error}); give another folder") from error
    finally:
        drop_folder(staging, lock)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """A folder that is this process's alone while the block runs.

    Raises:
        OutputError: another run writes there, or it cannot be written.
    """
    lock = FileLock(folder / ".run.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(f"{folder}: another run is writing there; wait for it, or give another --out") from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); give another --out") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def appending(path: Path) -> Iterator[BinaryIO]:
    """A file of lines, open for further ones.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        file = path.open("ab")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); give another --out") from None
    with file:
        yield file


def append_line(file: BinaryIO, path: Path, line: str) -> None:
    """Write a line so that it stays, whatever happens to this process.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        file.write(line.encode("utf-8", "replace") + b"\n")
        file.flush()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); free some space and start again") from None


def hold_folder(anchor: Path, prefix: str) -> tuple[Path, int | None]:
    """A new folder in `anchor` that is this process's until it ends, and what holds it; the folders of this prefix that
    killed processes have left there are removed.

    Raises:
        OSError: no folder can be made there.
    """
    for folder in anchor.glob(f"{prefix}*"):
        lock = _lock(folder)
        if lock is not None:
            drop_folder(folder, lock)
    new = Path(tempfile.mkdtemp(prefix=".terrascope-new-", dir=anchor))
    # Only a folder that is held already gets the name by which another run looks for abandoned ones.
    lock = _lock(new)
    return new.rename(anchor / new.name.replace(".terrascope-new-", prefix)), lock


def drop_folder(folder: Path, lock: int | None) -> None:
    """Remove a folder from `hold_folder`, if it still stands there, and let it go."""
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)


def _lock(folder: Path) -> int | None:
    """Hold a folder for as long as this process lives; None where it is held already, or cannot be.

    A lock and not the process's number: the number means nothing in another container or on another machine.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _nearest_existing(path: Path) -> Path:
    # A dangling link exists for our purposes: making a folder in its place would fail.
    return next(p for p in (path, *path.parents) if os.path.lexists(p))

"""A folder with a checkpoint appears when all of it is written; what a process leaves that is killed meanwhile goes."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from terrascope.errors import OutputError
from terrascope.model.release.files import in_bytes
from terrascope.output import drop_folder, hold_folder

_UNFINISHED = ".terrascope-checkpoint-"


@contextmanager
def new_folder(target: str | os.PathLike[str], num_bytes: int = 0) -> Iterator[Path]:
    """A folder beside `target` that takes its place when the block ends well, and is removed otherwise.

    It is removed on SIGTERM too; what SIGKILL leaves is removed by the next one who makes a folder there.

    Raises:
        OutputError: the target exists already, cannot be written, or its disk has no room for `num_bytes`.
    """
    if not os.fspath(target).strip():
        raise OutputError("the folder to make has no name; give one that does not exist yet")
    target = Path(target)
    if os.path.lexists(target):
        raise OutputError(f"{target}: exists already; give a new folder")
    parent = target.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        unfinished, lock = hold_folder(parent, _UNFINISHED)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror}); give another folder") from None
    try:
        with _ended_by_sigterm():
            free = shutil.disk_usage(unfinished).free
            if num_bytes > free:
                raise OutputError(
                    f"{target}: needs {in_bytes(num_bytes)}, but {in_bytes(free)} are free on its disk; "
                    "give a folder on another one"
                )
            yield unfinished
            let_all_read(unfinished)
            if os.path.lexists(target):
                raise OutputError(f"{target}: another process has made it meanwhile; give a new folder")
            os.rename(unfinished, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error}); give another folder") from None
    finally:
        drop_folder(unfinished, lock)


def let_all_read(folder: Path) -> None:
    """Give a folder and its files the rights that new ones get: safetensors and temporary folders are for their owner
    alone."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(folder, 0o777 & ~mask)
    for path in folder.rglob("*"):
        os.chmod(path, (0o777 if path.is_dir() else 0o666) & ~mask)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block like an error, so that what it leaves is removed, and then the program."""
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

"""A folder that appears when it is complete: rights, signals, and what killed processes leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from terrascope.errors import OutputError
from terrascope.model.release.files import in_bytes
from terrascope.model.release.folders import new_folder

WAIT = """
import sys, time
from terrascope.model.release.folders import new_folder
with new_folder(sys.argv[1]) as folder:
    (folder / "half").write_text("1")
    print("ready", flush=True)
    time.sleep(600)
"""


def waiting(target: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WAIT, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_all_may_read_what_their_umask_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with new_folder(tmp_path / "new") as folder:
            (folder / "below").mkdir(0o700)
            for place in (folder, folder / "below"):
                (place / "file").touch(0o600)
    finally:
        os.umask(before)
    made = tmp_path / "new"
    assert [path.stat().st_mode & 0o777 for path in (made, made / "below", made / "file", made / "below" / "file")] == [
        0o750, 0o750, 0o640, 0o640,
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_sigterm_leaves_nothing(tmp_path: Path) -> None:
    process = waiting(tmp_path / "new")
    assert len(list(tmp_path.iterdir())) == 1
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_what_sigkill_leaves_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    killed, living = waiting(tmp_path / "a"), waiting(tmp_path / "b")
    killed.kill()
    killed.communicate()
    assert len(list(tmp_path.iterdir())) == 2
    with new_folder(tmp_path / "c") as folder:
        (folder / "whole").write_text("1")
    left = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert len(left) == 1 and (left[0] / "half").exists()
    living.terminate()
    living.communicate(timeout=30)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_of_two_that_make_the_same_folder_the_second_is_told(tmp_path: Path) -> None:
    said = r"new: another process has made it meanwhile; give a new folder$"
    with pytest.raises(OutputError, match=said), new_folder(tmp_path / "new") as late:
        (late / "late").touch()
        with new_folder(tmp_path / "new") as early:
            (early / "early").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "early"]


@pytest.mark.parametrize("name", ["", " "])
def test_a_folder_without_a_name(name: str) -> None:
    said = "the folder to make has no name; give one that does not exist yet"
    with pytest.raises(OutputError, match=said), new_folder(name):
        raise AssertionError("no folder was made")


def test_a_link_that_leads_nowhere_stands_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "new").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="new: exists already"), new_folder(tmp_path / "new"):
        pass


def test_bytes_in_words() -> None:
    assert [in_bytes(n) for n in (16_400_000_000, 10**9, 23_400_000, 10**6, 3001, 1, 0)] == [
        "16.4 GB", "1.0 GB", "23 MB", "1 MB", "4 kB", "1 kB", "0 kB",
    ]  # fmt: skip

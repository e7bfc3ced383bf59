"""Files that appear together, or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from terrascope.errors import OutputError
from terrascope.output import check_folder, written_together

NAMES = ("a.txt", "b.txt")


def contents(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir()}


def test_new_folder_holds_exactly_what_was_written(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep"
    with written_together(target, NAMES) as folder:
        (folder / "a.txt").write_text("1")
        (folder / "b.txt").write_text("2")
        assert not target.exists()
    assert contents(target) == {"a.txt": "1", "b.txt": "2"}
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_earlier_files_are_replaced_or_removed_and_strangers_stay(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "b.txt").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    with written_together(tmp_path, NAMES) as folder:
        (folder / "a.txt").write_text("new")
    assert contents(tmp_path) == {"a.txt": "new", "mine.txt": "mine"}


@pytest.mark.parametrize("error", [KeyError("x"), OSError(28, "No space left on device")])
def test_failure_changes_nothing(tmp_path: Path, error: Exception) -> None:
    (tmp_path / "a.txt").write_text("old")
    expected = OutputError if isinstance(error, OSError) else KeyError
    with pytest.raises(expected), written_together(tmp_path, NAMES) as folder:
        (folder / "a.txt").write_text("new")
        raise error
    assert contents(tmp_path) == {"a.txt": "old"}


def test_failure_leaves_no_new_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyError), written_together(tmp_path / "new", NAMES):
        raise KeyError("x")
    assert list(tmp_path.iterdir()) == []


def test_writers_errors_name_the_place_that_the_user_knows(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught, written_together(tmp_path, NAMES) as folder:
        raise OutputError(f"{folder / 'a.txt'}: cannot be written")
    assert str(caught.value) == f"{tmp_path / 'a.txt'}: cannot be written"


def test_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="a file stands where the output folder should be") as caught:
            check_folder(target)
        assert str(tmp_path / "file") in str(caught.value)


def test_folder_in_the_way_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OutputError, match=r"a\.txt: a folder stands"), written_together(tmp_path, NAMES) as folder:
        (folder / "a.txt").write_text("1")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that nobody can write to")
def test_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(OutputError, match="/proc/terrascope"), written_together("/proc/terrascope", NAMES):
        pass


WAIT_IN_FOLDER = """
import sys
from terrascope.output import written_together
with written_together(sys.argv[1], ("a.txt",)) as folder:
    (folder / "a.txt").write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_run_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAIT_IN_FOLDER, str(tmp_path)]
    runs = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    killed, living = runs
    assert [run.stdout.readline() for run in runs if run.stdout] == ["ready\n", "ready\n"]
    assert len(list(tmp_path.iterdir())) == 2
    killed.kill()
    killed.communicate()
    assert len(list(tmp_path.iterdir())) == 2
    with written_together(tmp_path, ("b.txt",)) as folder:
        (folder / "b.txt").write_text("1")
        assert len(list(tmp_path.iterdir())) == 2
    assert len([p for p in tmp_path.iterdir() if p.name.startswith(".")]) == 1
    living.communicate("")
    assert contents(tmp_path) == {"a.txt": "half", "b.txt": "1"}

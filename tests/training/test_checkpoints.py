"""Checkpoints appear whole, are checked, and only the last ones stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from terrascope.errors import TrainingError
from terrascope.training.checkpoints import (
    CONTENTS,
    find_fault,
    find_usable,
    finish_checkpoint,
    list_checkpoints,
    staging_folder,
    step_of,
)


def write_checkpoint(folder: Path, step: int, keep: int = 9) -> Path:
    staged = staging_folder(folder, step)
    staged.mkdir(parents=True)
    (staged / "weights").write_bytes(bytes([step]) * 100)
    (staged / "optimizer").write_bytes(b"o" * 50)
    return finish_checkpoint(folder, step, keep)


def test_the_last_ones_stay_by_their_steps(tmp_path: Path) -> None:
    for step in (8, 9, 10, 100):
        write_checkpoint(tmp_path, step, keep=2)
    assert [step_of(path) for path in list_checkpoints(tmp_path)] == [10, 100]
    assert find_usable(tmp_path) == tmp_path / "checkpoint-100"


def test_what_a_kill_leaves_is_no_checkpoint(tmp_path: Path) -> None:
    good = write_checkpoint(tmp_path, 5)
    staged = staging_folder(tmp_path, 10)
    staged.mkdir()
    (staged / "weights").write_bytes(b"half")
    assert list_checkpoints(tmp_path) == [good] and find_usable(tmp_path) == good


def test_none_at_all_is_no_fault(tmp_path: Path) -> None:
    assert find_usable(tmp_path) is None and find_usable(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: (path / "weights").unlink(), "weights is missing"),
        (lambda path: (path / "weights").write_bytes(b"w" * 99), "weights has 99 bytes instead of 100"),
        (lambda path: (path / "weights").write_bytes(b"w" * 100), "weights has another content than was written"),
        (lambda path: (path / CONTENTS).unlink(), f"{CONTENTS} is missing"),
        (lambda path: (path / CONTENTS).write_text("{"), f"{CONTENTS} cannot be read"),
        (lambda path: (path / CONTENTS).write_text("[1]"), f"{CONTENTS} cannot be read"),
    ],
)
def test_a_damaged_one_is_named_and_the_one_before_is_used(tmp_path: Path, harm, said: str) -> None:  # type: ignore[no-untyped-def]
    before, last = write_checkpoint(tmp_path, 5), write_checkpoint(tmp_path, 6)
    harm(last)
    told: list[str] = []
    assert find_usable(tmp_path, told.append) == before
    assert told == [f"{last}: damaged ({said}); the one before it is used"]
    assert find_fault(before) is None


def test_where_all_are_damaged_the_run_does_not_begin_anew_by_itself(tmp_path: Path) -> None:
    (write_checkpoint(tmp_path, 5) / "weights").unlink()
    with pytest.raises(TrainingError, match="every checkpoint is damaged; begin anew with --no-resume"):
        find_usable(tmp_path)


def test_a_damaged_one_of_the_same_step_makes_room(tmp_path: Path) -> None:
    old = write_checkpoint(tmp_path, 5)
    (old / "odd").write_text("left over")
    assert write_checkpoint(tmp_path, 5) == old
    assert find_fault(old) is None and not (old / "odd").exists()

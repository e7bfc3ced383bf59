"""Checkpoints of a running training: each appears whole, is checked before it is used, and only the last ones stay."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from terrascope.errors import OutputError, TrainingError
from terrascope.training.stages import trained_parameters

TRAINED = "trained.safetensors"
"""The parameters that move, in a checkpoint."""

CONTENTS = "contents.json"
"""The files of a checkpoint with their sizes and sums."""

_TORCH_CANNOT_WRITE = ("PytorchStreamWriter", "inline_container", "iostream error")
_NAME = re.compile(r"checkpoint-(\d+)")


def staging_folder(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is written before it is whole."""
    return folder / f".unfinished-{step}"


@contextmanager
def removed_on_failure(staged: Path) -> Iterator[None]:
    """A checkpoint that cannot be written leaves nothing behind.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        shutil.rmtree(staged, ignore_errors=True)
        # Torch has no error of its own for a full disk.
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in _TORCH_CANNOT_WRITE):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
        raise OutputError(
            f"{staged.parent}: a checkpoint cannot be written ({reason}); make room, and run it again to go on"
        ) from None


def save_trained(model: nn.Module, staged: Path) -> None:
    """Write the parameters that move into a staged checkpoint."""
    weights = {name: weight.detach().contiguous() for name, weight in trained_parameters(model).items()}
    save_file(weights, staged / TRAINED)


def load_trained(model: nn.Module, checkpoint: Path) -> None:
    """Give the parameters that move their values in a checkpoint.

    Raises:
        TrainingError: it holds other parameters.
    """
    path = checkpoint / TRAINED
    stored, own = load_file(path), trained_parameters(model)
    odd = sorted(stored.keys() ^ own.keys())
    if odd:
        raise TrainingError(f"{path}: holds other parameters than this run trains ({odd[0]}); give another --out")
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(stored[name])


def finish_checkpoint(folder: Path, step: int, keep: int) -> Path:
    """Give the staged checkpoint of a step its name, and remove all but the last `keep`."""
    staged, path = staging_folder(folder, step), folder / f"checkpoint-{step}"
    files = sorted(one for one in staged.rglob("*") if one.is_file())
    contents = {str(file.relative_to(staged)): [file.stat().st_size, _sum_of(file)] for file in files}
    (staged / CONTENTS).write_text(json.dumps(contents, indent=1), encoding="utf-8")
    # Of an earlier run that went on from before this step, because this one was damaged.
    shutil.rmtree(path, ignore_errors=True)
    os.replace(staged, path)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the earliest first; of those that a kill left unfinished, none."""
    found = [path for path in folder.glob("checkpoint-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """Steps that were done when it was written."""
    return int(checkpoint.name.rpartition("-")[2])


def find_usable(folder: Path, tell: Callable[[str], None] | None = None) -> Path | None:
    """The last checkpoint of a run that is as it was written; None where a run has none at all.

    Args:
        folder: of the checkpoints.
        tell: called with a sentence on each that is damaged.

    Raises:
        TrainingError: there are checkpoints, and all of them are damaged.
    """
    checkpoints = list_checkpoints(folder)
    for path in reversed(checkpoints):
        fault = find_fault(path)
        if fault is None:
            return path
        if tell is not None:
            tell(f"{path}: damaged ({fault}); the one before it is used")
    if checkpoints:
        raise TrainingError(f"{folder}: every checkpoint is damaged; begin anew with --no-resume, or in another folder")
    return None


def find_fault(checkpoint: Path) -> str | None:
    """What differs from what was written, in a few words; None if nothing does."""
    try:
        contents = json.loads((checkpoint / CONTENTS).read_text(encoding="utf-8"))
        for name, (num_bytes, digest) in contents.items():
            path = checkpoint / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != num_bytes:
                return f"{name} has {path.stat().st_size} bytes instead of {num_bytes}"
            if _sum_of(path) != digest:
                return f"{name} has another content than was written"
    except FileNotFoundError:
        return f"{CONTENTS} is missing"
    except (OSError, ValueError, AttributeError, TypeError):
        return f"{CONTENTS} cannot be read"
    return None


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

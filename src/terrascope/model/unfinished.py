"""A sweep over a large scene that was killed goes on where it stopped: its state lies in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from terrascope.doctor.folders import cache_folder

_KEPT_S = 7 * 24 * 3600
"""Seconds after which a state that nobody came back for is removed."""


class Unfinished:
    """The saved state of one sweep, named after all that decides its result.

    Args:
        *decides: bytes of what decides the result: another scene, query or model is another sweep.
    """

    def __init__(self, *decides: bytes) -> None:
        digest = hashlib.sha256()
        for part in decides:
            digest.update(len(part).to_bytes(8, "little") + part)
        self.path = cache_folder() / "unfinished" / f"{digest.hexdigest()[:32]}.npz"
        self.problem: str | None = None

    def load(self) -> dict[str, NDArray] | None:
        """The arrays saved last; None if there are none, or if they are damaged."""
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            # Half a state is worth none: the sweep begins anew and overwrites it.
            return None

    def save(self, arrays: Mapping[str, NDArray]) -> None:
        """Replace the saved state. Where it cannot be written, `problem` says why, and the sweep goes on without."""
        unfinished = self.path.with_name(f".{self.path.stem}.{os.getpid()}.npz")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(unfinished, "wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            os.replace(unfinished, self.path)
        except OSError as error:
            self.problem = f"{self.path.parent}: {error.strerror or error}"
            if unfinished.exists():
                unfinished.unlink()

    def clear(self) -> None:
        """Remove the state of a sweep that has ended, and those that are too old to be of use."""
        if self.path.parent.is_dir():
            self.path.unlink(missing_ok=True)
            for other in (*self.path.parent.glob("*.npz"), *self.path.parent.glob(".*.npz")):
                if time.time() - other.stat().st_mtime > _KEPT_S:
                    other.unlink(missing_ok=True)

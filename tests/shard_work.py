"""Work for engines: functions of a shard's number that write a file, and die or fail where they are told to.

It lies here, and not beside the tests, so that workers started afresh find it by its name.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from terrascope.errors import SampleError
from terrascope.output import written_whole
from terrascope.terracot.shard import ShardReport


@dataclass(frozen=True, kw_only=True)
class Work:
    """Writes `<number>.txt` after noting in `log` that it began, and by which process.

    Attributes:
        dies_once: numbers at which the worker is killed the first time. dies: numbers at which it always is.
        faulty, refused: numbers at which the work raises an error of its own, or one that a user can mend.
        waits: numbers at which it waits, half done, until somebody ends it.
    """

    folder: Path
    dies_once: tuple[int, ...] = ()
    dies: tuple[int, ...] = ()
    faulty: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    waits: tuple[int, ...] = ()
    seconds: float = 0.0

    def __call__(self, number: int) -> ShardReport:
        began_before = (self.folder / f"{number}.begun").exists()
        (self.folder / f"{number}.begun").touch()
        with open(self.folder / "log", "a") as log:
            log.write(f"{number} {os.getpid()}\n")
        time.sleep(self.seconds)
        with written_whole(self.folder / f"{number}.txt") as unfinished:
            unfinished.write_text(f"shard {number}")
            if number in self.dies or (number in self.dies_once and not began_before):
                os.kill(os.getpid(), signal.SIGKILL)
            while number in self.waits:
                time.sleep(0.01)
        if number in self.faulty:
            raise Fault(number, why="a fault in the work")
        if number in self.refused:
            raise SampleError(f"shard {number}: refused; do otherwise")
        return ShardReport(number=number, num_chips=number)


class Fault(Exception):
    """An error that cannot be sent to another process as it is."""

    def __init__(self, number: int, *, why: str) -> None:
        super().__init__(why)
        self.number = number

"""What a waiting user sees on standard error: a spinner, then a bar; in a log file, a line now and then."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

_LINE_EVERY_S = 20.0


class Waiting:
    """A context in which stages are told as they come: `say` names one, `advance` says how far it is.

    On a terminal they are drawn and wiped; elsewhere a line is printed for work that takes long. Nothing goes to
    standard output.
    """

    def __init__(self, stage: str, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.stage, self.said_at = stage, time.monotonic()
        self.bar: Progress | None = None

    def __enter__(self) -> Waiting:
        if self.console.is_terminal:
            self.bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self.bar.start()
            self.task = self.bar.add_task(self.stage, total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def say(self, stage: str) -> None:
        """A new stage begins."""
        self.stage = stage
        if self.bar is not None:
            self.bar.reset(self.task, description=stage, total=None)

    def advance(self, done: int, total: int) -> None:
        """So much of the stage is done."""
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total)
        elif time.monotonic() - self.said_at > _LINE_EVERY_S:
            self.said_at = time.monotonic()
            self.console.print(f"{self.stage}: {done} of {total}", highlight=False)

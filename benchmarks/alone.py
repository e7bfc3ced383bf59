"""What a piece of work takes: milliseconds, and memory in a process of its own, so that each peak is its own. Linux."""

from __future__ import annotations

import multiprocessing
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Value and best seconds of a piece of work, and its peak memory above what was prepared for it."""

    value: Any
    seconds: float
    peak_mib: float


def run_alone(
    work: Callable[..., Any],
    prepare: Callable[..., tuple[Any, ...]],
    *arguments: Any,
    rehearse: Callable[[], tuple[Any, ...]] | None = None,
    repeats: int = 1,
) -> Cost:
    """The cost of `work(*prepare(*arguments))` in a fresh process; preparing is not counted.

    What is imported on first use is not counted either, if `work(*rehearse())` is a small piece of the same work.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, prepare, arguments, rehearse, repeats))


def _measured(
    work: Callable[..., Any],
    prepare: Callable[..., tuple[Any, ...]],
    arguments: tuple[Any, ...],
    rehearse: Callable[[], tuple[Any, ...]] | None,
    repeats: int,
) -> Cost:
    prepared = prepare(*arguments)
    if rehearse is not None:
        work(*rehearse())
    # Linux then counts the peak from here on; getrusage would begin with the peak of the parent process.
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory_mib("VmRSS")
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        value = work(*prepared)
        seconds.append(time.perf_counter() - start)
    return Cost(value=value, seconds=min(seconds), peak_mib=_memory_mib("VmHWM") - before)


def _memory_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def cpu_name() -> str:
    """The processor's name as Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def time_alternately(actions: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Milliseconds of each action, `repeats` times, in turns after one round that does not count."""
    milliseconds: list[list[float]] = [[] for _ in actions]
    for round_number in range(repeats + 1):
        for place, action in enumerate(actions):
            start = time.perf_counter()
            action()
            if round_number:
                milliseconds[place].append(1000 * (time.perf_counter() - start))
    return milliseconds

"""Fuzz what reads and what writes: random and damaged files, masks and texts, for as long as you like.

    python benchmarks/fuzz.py --minutes 10 --workers 2
    python benchmarks/fuzz.py --case damaged:123        # one input again, in this process, with its traceback
    python benchmarks/fuzz.py --engine atheris --minutes 10        # bytes, guided by coverage; needs the extra `fuzz`

Every input is drawn from the number of its case by `tests/fuzz`, and goes through a worker process, so that a crash, a
hang or too much memory is a line of the report. An input is survived if it is read into values that hold the
invariants, or refused with one sentence. Prints counts by kind, the slowest, the peak memory, and each defect once,
with the command that repeats it; its files are kept under `--keep`. Exits with 1 if there was a defect. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzz.cases import KINDS, make, take

ROOT = Path(__file__).resolve().parents[1]
KEPT_PER_DEFECT = 3
MADE_AHEAD = 60
"""Cases whose files are made by one process, before they are tried by another."""
MAKING_SECONDS = 120
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one input may cost."""

    seconds: float
    memory_mib: int


@dataclass(kw_only=True)
class Worker:
    """A process, its folder, the input that it has in hand (or none), and the number of its next one.

    `began` is the time and `used` the processor time of the process when it took the input in hand.
    """

    process: multiprocessing.process.BaseProcess
    pipe: Connection
    folder: Path
    next_number: int
    case: str = ""
    began: float = 0.0
    used: float = 0.0

    def is_overdue(self, seconds: float) -> bool:
        """True if the input has taken too much processor time, or is waited for without end."""
        if not self.case:
            return False
        waited = time.monotonic() - self.began
        return waited > seconds and (
            _processor_seconds(self.process.pid) - self.used > seconds or waited > 20 * seconds
        )


@dataclass(kw_only=True)
class Tally:
    """What became of all inputs."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[float, str] = (0.0, "")
    defects: dict[str, list[str]] = field(default_factory=dict)

    def add(self, case: str, outcome: str, seconds: float, peak_mib: float) -> None:
        self.outcomes[case.split(":")[0], outcome] += 1
        self.slowest = max(self.slowest, (seconds, case))
        self.largest = max(self.largest, (peak_mib, case))


def make_ahead(cases: Sequence[str], scratch: Path, seeds: Sequence[Path]) -> None:
    """Make the files of cases, in a process that may die of it; a case that is made has its `.json`."""
    for case in cases:
        folder = scratch / case.partition(":")[2]
        folder.mkdir()
        paths = [str(path) for path in make(case, folder, seeds)]
        folder.with_suffix(".json").write_text(json.dumps(paths))


def work(
    pipe: Connection, scratch: Path, kinds: Sequence[str], seeds: Sequence[Path], first: int, step: int, mib: int
) -> None:
    """Try inputs without end, telling the pipe of each: its case, then what became of it."""
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + mib * MIB,) * 2)
    # A group of its own, so that it ends together with the process that makes its files.
    os.setsid()
    context = multiprocessing.get_context("fork")
    while True:
        numbers = range(first, first + MADE_AHEAD * step, step)
        cases = [f"{kinds[number % len(kinds)]}:{number}" for number in numbers]
        maker = context.Process(target=make_ahead, args=(cases, scratch, seeds))
        maker.start()
        maker.join(timeout=MAKING_SECONDS)
        maker.kill()
        maker.join()
        for number, case in zip(numbers, cases, strict=True):
            folder = scratch / str(number)
            made = folder.with_suffix(".json")
            if made.exists():
                _work_on(case, [Path(path) for path in json.loads(made.read_text())], folder, pipe, mib)
            else:
                shutil.rmtree(folder, ignore_errors=True)
        first += MADE_AHEAD * step


def _work_on(case: str, paths: list[Path], folder: Path, pipe: Connection, mib: int) -> None:
    pipe.send(case)
    before, began = _reset_peak(), time.process_time()
    try:
        outcome, place = take(case, paths, folder), ""
    except Exception as error:
        outcome, place = f"{type(error).__name__}: {str(error)[:300]}", _place(error)
    seconds, peak_mib = time.process_time() - began, _status("VmHWM") / MIB - before
    if not place and peak_mib > mib:
        outcome, place = f"MemoryError: more than {mib} MiB", "memory"
    # Files of a defect are left for the one who reads the pipe.
    if not place:
        shutil.rmtree(folder, ignore_errors=True)
    pipe.send((outcome, place, seconds, peak_mib))


def fuzz(args: argparse.Namespace, limits: Limits) -> Tally:
    """Keep the workers busy until the time is up."""
    context = multiprocessing.get_context("spawn")
    seeds = sorted(p for p in Path(args.seeds).rglob("*") if p.is_file()) if args.seeds else []
    kinds = args.kind or list(KINDS)
    tally = Tally()
    scratch = Path(tempfile.mkdtemp(prefix="terrascope-fuzz-"))
    deadline = time.monotonic() + 60 * args.minutes

    def start(first: int) -> Worker:
        folder = Path(tempfile.mkdtemp(dir=scratch))
        ours, theirs = context.Pipe()
        target = (theirs, folder, kinds, seeds, first, args.workers, limits.memory_mib)
        process = context.Process(target=work, args=target)
        process.start()
        theirs.close()
        return Worker(process=process, pipe=ours, folder=folder, next_number=first)

    def restart(slot: int, defect: str) -> None:
        """Note the defect of the input in hand, and go on with the next one in a new process."""
        worker = workers[slot]
        stop(worker)
        if worker.case:
            tally.add(worker.case, "defect", 0.0, 0.0)
            keep(tally, worker.case, defect, worker.folder, Path(args.keep))
        shutil.rmtree(worker.folder, ignore_errors=True)
        workers[slot] = start(worker.next_number)

    workers = [start(args.first + slot) for slot in range(args.workers)]
    try:
        while time.monotonic() < deadline and sum(tally.outcomes.values()) < args.inputs:
            ready = wait([worker.pipe for worker in workers], timeout=0.5)
            for slot, worker in enumerate(workers):
                if worker.pipe in ready:
                    try:
                        message = worker.pipe.recv()
                    except EOFError:
                        worker.process.join()
                        restart(slot, f"process: died of {_death(worker.process.exitcode)}")
                        continue
                    if isinstance(message, str):
                        worker.case, worker.began = message, time.monotonic()
                        worker.used = _processor_seconds(worker.process.pid)
                        worker.next_number = int(message.partition(":")[2]) + args.workers
                        continue
                    outcome, place, seconds, peak_mib = message
                    tally.add(worker.case, "defect" if place else outcome, seconds, peak_mib)
                    if place:
                        keep(tally, worker.case, f"{place}: {outcome}", worker.folder, Path(args.keep))
                    worker.case = ""
                elif worker.is_overdue(limits.seconds):
                    restart(slot, f"process: took more than {limits.seconds:g} s")
    except KeyboardInterrupt:
        print("interrupted; so far:")
    finally:
        for worker in workers:
            stop(worker)
        shutil.rmtree(scratch, ignore_errors=True)
    return tally


def stop(worker: Worker) -> None:
    """End a worker and the process that makes its files."""
    assert worker.process.pid is not None
    with suppress(ProcessLookupError):
        os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.kill()
    worker.process.join()


def keep(tally: Tally, case: str, defect: str, folder: Path, target: Path) -> None:
    """Remember a defect under the place where it shows, and move the files of its first inputs to the target."""
    folder = folder / case.partition(":")[2]
    # Numbers differ from input to input; the place and the first words say which defect it is.
    place, _, said = defect.splitlines()[0].partition(": ")
    name = f"{place}: {re.sub('[^a-z_:. ]+', '#', said, flags=re.IGNORECASE)[:70]}"
    cases = tally.defects.setdefault(name, [])
    cases.append(case)
    if len(cases) <= KEPT_PER_DEFECT and folder.is_dir():
        shutil.copytree(folder, target / case.replace(":", "-"), dirs_exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def print_report(tally: Tally, args: argparse.Namespace, seconds: float) -> None:
    num_inputs = sum(tally.outcomes.values())
    num_defects = sum(number for (_, outcome), number in tally.outcomes.items() if outcome == "defect")
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, {args.workers} workers, {seconds / 60:.1f} minutes")
    print(f"inputs {num_inputs:,}  survived {num_inputs - num_defects:,}  defects {num_defects:,}")
    for kind in sorted({kind for kind, _ in tally.outcomes}):
        counts = {outcome: number for (k, outcome), number in sorted(tally.outcomes.items()) if k == kind}
        print(f"  {kind:<12} {sum(counts.values()):>9,}  " + "  ".join(f"{o} {n:,}" for o, n in counts.items()))
    print(f"slowest {tally.slowest[0]:.2f} s ({tally.slowest[1]})")
    print(f"most memory {tally.largest[0]:.0f} MiB beyond the program ({tally.largest[1]})")
    seeds = f" --seeds {args.seeds}" if args.seeds else ""
    for defect, cases in sorted(tally.defects.items(), key=lambda item: -len(item[1])):
        print(f"DEFECT x {len(cases)}: {defect}\n  repeat: python benchmarks/fuzz.py{seeds} --case {cases[0]}")


def repeat(case: str, seeds: Sequence[Path]) -> None:
    """One case in this process, with the files it drew and its traceback."""
    folder = Path(tempfile.mkdtemp(prefix="terrascope-fuzz-"))
    print(f"files: {folder}")
    paths = make(case, folder, seeds)
    print(take(case, paths, folder))


def _place(error: Exception) -> str:
    """Where in TerraScope's own code an exception shows: `files.py:120`."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "terrascope" in Path(frame.filename).parts] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def _death(exit_code: int | None) -> str:
    return signal.Signals(-exit_code).name if exit_code is not None and exit_code < 0 else f"exit code {exit_code}"


def _status(name: str) -> int:
    """A field of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _processor_seconds(process: int | None) -> float:
    """Processor time that a process has used; 0 where there is none any more."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _reset_peak() -> float:
    """Set the process's peak memory back to what it uses now; MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS") / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--inputs", type=int, default=sys.maxsize, help="stop after so many")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only these kinds")
    parser.add_argument("--seeds", help="folder of small rasters of real layouts, to damage as well")
    parser.add_argument("--seconds", type=float, default=10, help="processor time that one input may take")
    parser.add_argument("--memory-mib", type=int, default=1024, help="memory that one input may take")
    parser.add_argument("--keep", default="runs/fuzz", help="folder for the files of defects")
    parser.add_argument("--engine", choices=("own", "atheris"), default="own", help="what draws the inputs")
    parser.add_argument("--case", help="repeat one case, such as damaged:123")
    args = parser.parse_args()
    if args.case:
        repeat(args.case, sorted(p for p in Path(args.seeds).rglob("*") if p.is_file()) if args.seeds else [])
        return
    if args.engine == "atheris":
        seeds = [str(Path(args.seeds).resolve())] if args.seeds else []
        command = [
            sys.executable,
            "-m",
            "tests.fuzz.guided",
            f"{60 * args.minutes:.0f}",
            str(Path(args.keep).resolve()),
        ]
        raise SystemExit(subprocess.run([*command, *seeds], cwd=ROOT).returncode)
    # Ended by `kill` it reports as after Ctrl-C, which a shell keeps from what it runs in the background.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    tally = fuzz(args, Limits(seconds=args.seconds, memory_mib=args.memory_mib))
    print_report(tally, args, time.monotonic() - began)
    raise SystemExit(1 if tally.defects else 0)


if __name__ == "__main__":
    main()

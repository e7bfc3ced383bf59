"""Engines lose workers and go on: every shard is built, and hardly one is built twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from shard_work import Fault, Work
from terrascope.errors import SampleError
from terrascope.terracot import engines
from terrascope.terracot.engines import MAX_TRIES, Engine, run

NUMBERS = tuple(range(8))


def begun(folder: Path) -> Counter[int]:
    """How often each shard was begun."""
    return Counter(int(line.split()[0]) for line in (folder / "log").read_text().splitlines())


def processes(folder: Path) -> set[int]:
    return {int(line.split()[1]) for line in (folder / "log").read_text().splitlines()}


def contents(folder: Path) -> dict[str, str]:
    # What was half written when its worker was killed has a hidden name; a build removes it.
    return {path.name: path.read_text() for path in sorted(folder.glob("[!.]*.txt"))}


ALL = {f"{number}.txt": f"shard {number}" for number in NUMBERS}


@pytest.mark.parametrize("num_workers", [1, 2])
def test_every_shard_is_built_once(tmp_path: Path, num_workers: int) -> None:
    reports = list(run("local", Work(folder=tmp_path), NUMBERS, num_workers))
    assert sorted(report.number for report in reports) == list(NUMBERS)
    assert contents(tmp_path) == ALL and set(begun(tmp_path).values()) == {1}
    assert (os.getpid() in processes(tmp_path)) == (num_workers == 1)


def test_a_killed_worker_costs_its_own_shard_alone(tmp_path: Path) -> None:
    reports = list(run("local", Work(folder=tmp_path, dies_once=(2, 5)), NUMBERS, 2))
    assert sorted(report.number for report in reports) == list(NUMBERS)
    assert contents(tmp_path) == ALL
    assert begun(tmp_path) == Counter(NUMBERS) + Counter((2, 5))


def test_a_shard_that_kills_every_worker_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(SampleError) as caught:
        list(run("local", Work(folder=tmp_path, dies=(3,)), NUMBERS, 2))
    assert str(caught.value) == (
        f"shard 3 was begun {MAX_TRIES} times, and its worker was killed every time; give fewer --workers if memory "
        "was short (the last with exit code -9)"
    )
    assert begun(tmp_path)[3] == MAX_TRIES
    assert "3.txt" not in contents(tmp_path)


def test_what_a_user_can_mend_is_passed_on_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"^shard 1: refused; do otherwise$"):
        list(run("local", Work(folder=tmp_path, refused=(1,)), NUMBERS, 2))


def test_a_fault_ends_the_run_with_the_traceback_of_its_worker(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="a fault in the work"):
        list(run("local", Work(folder=tmp_path, faulty=(1,)), NUMBERS, 1))
    with pytest.raises(RuntimeError, match="Fault: a fault in the work") as caught:
        list(run("local", Work(folder=tmp_path, faulty=(1,)), NUMBERS, 2))
    (note,) = caught.value.__notes__
    assert note.startswith("in the worker that built shard 1:\nTraceback")
    assert 'raise Fault(number, why="a fault in the work")' in note


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: object, seconds: float = 30.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


DRIVER = """
import sys
from pathlib import Path
from shard_work import Work
from terrascope.terracot.engines import run

if __name__ == "__main__":
    for report in run("local", Work(folder=Path(sys.argv[1]), waits=(4, 5)), range(8), 2):
        pass
"""


def start_driver(folder: Path) -> subprocess.Popen[bytes]:
    """A run in a process of its own whose two workers wait at shards 4 and 5."""
    (folder / "driver.py").write_text(DRIVER)
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    driver = subprocess.Popen(
        [sys.executable, str(folder / "driver.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(lambda: (folder / "4.begun").exists() and (folder / "5.begun").exists())
    return driver


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_with_a_driver_that_is_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    driver = start_driver(tmp_path)
    driver.kill()
    driver.wait()
    wait_for(lambda: not any(alive(process) for process in processes(tmp_path)))
    finished = contents(tmp_path)
    assert finished == {f"{number}.txt": f"shard {number}" for number in range(4)}
    missing = [number for number in NUMBERS if f"{number}.txt" not in finished]
    list(run("local", Work(folder=tmp_path), missing, 2))
    assert contents(tmp_path) == ALL
    assert begun(tmp_path) == Counter(NUMBERS) + Counter((4, 5)), "one shard a worker is repeated"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_ends_driver_and_workers(tmp_path: Path) -> None:
    import signal

    driver = start_driver(tmp_path)
    # A terminal sends it to all processes of the run.
    os.killpg(driver.pid, signal.SIGINT)
    _, told = driver.communicate(timeout=30)
    assert driver.returncode == -signal.SIGINT
    assert told.decode().count("KeyboardInterrupt") == 1, "workers have nothing to say"
    assert not any(alive(process) for process in processes(tmp_path))
    assert contents(tmp_path) == {f"{number}.txt": f"shard {number}" for number in range(4)}


def test_ray_is_asked_for_by_name_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    engine: Engine = "ray"
    with pytest.raises(
        SampleError, match=r"--engine ray needs Ray; install it with: pip install 'terrascope-eo\[ray\]'"
    ):
        list(run(engine, Work(folder=tmp_path), NUMBERS, 2))


@pytest.mark.slow
def test_ray_builds_the_same_and_goes_on_when_a_worker_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    reports = list(engines.run("ray", Work(folder=tmp_path, dies_once=(2,)), NUMBERS, 2))
    assert sorted(report.number for report in reports) == list(NUMBERS)
    assert contents(tmp_path) == ALL
    assert begun(tmp_path) == Counter(NUMBERS) + Counter((2,))
    assert os.getpid() not in processes(tmp_path)
    wait_for(lambda: not any(alive(process) for process in processes(tmp_path)))

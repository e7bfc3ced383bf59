"""Where shards are built: in processes of this machine, or on Ray. Either may lose a worker and goes on.

An engine calls one function with the number of each shard, in any order, and passes on what it returns. The function
writes its file whole, so what a lost worker was at is done again, and nothing else.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Literal

from terrascope import masks
from terrascope.errors import SampleError, TerraScopeError
from terrascope.ray_session import ray_session
from terrascope.terracot.shard import ShardReport

Engine = Literal["local", "ray"]
Work = Callable[[int], ShardReport]
"""Builds the shard of a number. It is pickled once for every worker."""

MAX_TRIES = 3
"""Workers that may be lost over one shard before the build ends: the shard itself is then what kills them."""


def run(engine: Engine, work: Work, numbers: Iterable[int], num_workers: int) -> Iterator[ShardReport]:
    """Build the shards of these numbers; reports come as shards are done.

    What `work` raises is raised here, with the worker's traceback as a note, and ends the run.

    Raises:
        SampleError: a shard has cost `MAX_TRIES` workers their lives, or Ray is wanted and not installed.
    """
    return run_on_ray(work, numbers, num_workers) if engine == "ray" else run_locally(work, numbers, num_workers)


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    number: int | None = None


def run_locally(work: Work, numbers: Iterable[int], num_workers: int) -> Iterator[ShardReport]:
    """Build shards in `num_workers` processes; in this one where that is 1."""
    if num_workers == 1:
        yield from map(work, numbers)
        return
    waiting = list(numbers)[::-1]
    losses: dict[int, int] = {}
    workers: list[_Worker] = []
    try:
        while waiting or any(worker.number is not None for worker in workers):
            while waiting and len(workers) < num_workers:
                workers.append(_hire(work))
            for worker in workers:
                if worker.number is None and waiting:
                    worker.number = waiting.pop()
                    _tell(worker)
            ready = wait([worker.pipe for worker in workers])
            for worker in [worker for worker in workers if worker.pipe in ready]:
                number, worker.number = worker.number, None
                try:
                    outcome = worker.pipe.recv()
                except (EOFError, ConnectionError):
                    workers.remove(worker)
                    if number is not None:
                        losses[number] = losses.get(number, 0) + 1
                        _check_losses(number, losses[number], worker.process)
                        waiting.append(number)
                    continue
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()
            worker.pipe.close()


def run_on_ray(work: Work, numbers: Iterable[int], num_workers: int) -> Iterator[ShardReport]:
    """Build shards as tasks of Ray: on the cluster that `RAY_ADDRESS` names, else in `num_workers` local processes.

    Every machine of a cluster must see the data sets and the output folder under the same paths.

    Raises:
        SampleError: Ray is not installed, or a shard has cost `MAX_TRIES` workers their lives.
    """
    with ray_session(num_workers) as ray:
        build = ray.remote(max_retries=MAX_TRIES - 1)(_call)
        shared = ray.put(work)
        pending = [build.remote(shared, number) for number in numbers]
        while pending:
            done, pending = ray.wait(pending)
            for reference in done:
                try:
                    outcome = ray.get(reference)
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                    raise SampleError(f"a shard was begun {MAX_TRIES} times, and {_LOST}") from None
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome


_LOST = "its worker was killed every time; give fewer --workers if memory was short"


def _check_losses(number: int, num_lost: int, process: BaseProcess) -> None:
    process.join()
    if num_lost >= MAX_TRIES:
        raise SampleError(
            f"shard {number} was begun {num_lost} times, and {_LOST} (the last with exit code {process.exitcode})"
        )


def _hire(work: Work) -> _Worker:
    # Started afresh: a forked process would inherit threads and open files in whatever state they are.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process=process, pipe=ours)


def _tell(worker: _Worker) -> None:
    try:
        worker.pipe.send(worker.number)
    except ConnectionError:
        # It is gone; reading from it says so, too, and there it is counted.
        return


def _serve(work: Work, pipe: Connection) -> None:
    """The life of a worker: a number in, a report out, until there is nobody to report to."""
    # Workers share the cores among themselves; threads of theirs would only wait for each other.
    masks.use_one_thread()
    # Ctrl-C reaches all processes of a terminal; the one that started the others ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    while True:
        try:
            pipe.send(_call(work, pipe.recv()))
        except (EOFError, ConnectionError):
            return


def _follow_parent() -> None:
    """End this process as soon as its parent has ended, however that came."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _call(work: Work, number: int) -> ShardReport | BaseException:
    """What the work returns, or what it raises, in a form that reaches the other process."""
    try:
        return work(number)
    except TerraScopeError as error:
        return error
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        error.add_note(f"in the worker that built shard {number}:\n{told}")
        return error

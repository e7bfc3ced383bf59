"""Who lets reasonings go on: one thread all of them in turns, or a thread each."""

from __future__ import annotations

import queue
import threading
import time

from terrascope.serve.job import Job


def drive_alone(job: Job) -> None:
    """Let one question go on to its end, in this thread."""
    while _goes_on(job):
        pass


class Driver:
    """One thread that lets all questions under way go on in turns, a token of each at a time.

    A predictor that answers many at once does a step for all when the first is asked for its token, and has those of
    the others ready. So no two threads wait for each other. One whose step took long, as over a row of a large scene,
    goes on when the others have had as much time: what they wrote meanwhile is told then.
    """

    LONG_S = 0.25

    def __init__(self) -> None:
        self._coming: queue.SimpleQueue[Job] = queue.SimpleQueue()
        threading.Thread(target=self._drive_all, name="terrascope-driver", daemon=True).start()

    def drive(self, job: Job) -> None:
        """Let this one go on, too; from any thread."""
        self._coming.put(job)

    def _drive_all(self) -> None:
        # By question, in the order in which they came: when it may go on.
        rests_until: dict[Job, float] = {}
        while True:
            while not rests_until or not self._coming.empty():
                rests_until[self._coming.get()] = 0.0
            self._take_turns(rests_until)

    def _take_turns(self, rests_until: dict[Job, float]) -> None:
        """Let every question go on that has rested enough, else the one that has almost; those that end are removed."""
        now = time.monotonic()
        ready = [job for job, until in rests_until.items() if until <= now]
        for job in ready or [min(rests_until, key=rests_until.__getitem__)]:
            began = time.monotonic()
            if not _goes_on(job):
                del rests_until[job]
                continue
            now = time.monotonic()
            rests_until[job] = now + (now - began) if now - began > self.LONG_S else 0.0


def _goes_on(job: Job) -> bool:
    try:
        return job.advance()
    except BaseException as error:
        # A defect may not end the thread: others go on in it, and somebody listens for the end of this one.
        job.end(error, "failed")
        return False

"""What is asked at one time goes into one batch.

One thread answers. While it is busy, requests wait; then it takes the first of them, and with it
all others that want the same search, as many as go into a batch. So nobody waits for company: a
lone request is answered at once, and under load batches grow by themselves. That a text's answer
does not depend on its company is the predictor's promise.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple, TypeVar

from jumok.errors import Overloaded

Key = TypeVar("Key", bound=Hashable)

_LAST_STEP = 2.0
"""Seconds for a step that is being made when its batch is broken off."""


class Asked(Future[list[Any]]):
    """The answers to come of one job."""

    dropped = False
    """Whether nobody wants them any more, though they are being made."""

    def drop(self) -> None:
        """Nobody wants them: what is not begun never is, and what is may be broken off."""
        self.dropped = not self.cancel()


class _Job(NamedTuple):
    key: Any
    items: Sequence[Any]
    weight: int
    found: Asked


class Batcher(Generic[Key]):
    """Has ``answer`` answer the items of jobs, many jobs at once where their keys are equal.

    Its thread begins with the first job, so a process that was forked in between has one, too.

    Args:
        answer: given a key and items, gives an answer for each; called in one thread.
        size: items of a batch. A job of more is a batch of its own.
        waiting: items that may wait. A job that finds nothing waiting is taken whatever its size.
        told: told how many items each batch had.
    """

    def __init__(
        self,
        answer: Callable[[Key, list[Any]], list[Any]],
        size: int,
        waiting: int,
        told: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._answer, self._size, self._most, self._told = answer, size, waiting, told
        self._jobs: deque[_Job] = deque()
        self._made: list[_Job] = []
        self._changed = threading.Condition()
        self._open = True
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Items that wait; those that are being answered are none of them."""
        with self._changed:
            return self._count()

    @property
    def wanted(self) -> bool:
        """Whether anybody wants what is being answered; if not, ``answer`` may raise anything."""
        return not all(job.found.dropped for job in self._made)

    def submit(self, key: Key, items: Sequence[Any], weight: int | None = None) -> Asked:
        """What will be the items' answers, which may be dropped.

        ``weight`` is what they count in a batch, if not as many as they are. Raises `Overloaded`
        where too much waits already, and while it is closed.
        """
        job = _Job(key, items, len(items) if weight is None else weight, Asked())
        with self._changed:
            if not self._open:
                raise Overloaded("The server is about to end. Ask again when it is back")
            self._jobs = deque(job for job in self._jobs if not job.found.cancelled())
            waiting = self._count()
            if waiting and waiting + len(items) > self._most:
                raise Overloaded(
                    f"The server lets {self._most} texts wait, and {waiting} do. Ask again later, "
                    "or start it with a higher --max-waiting"
                )
            self._jobs.append(job)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._work, name="jumok-batcher", daemon=True
                )
                self._thread.start()
            self._changed.notify()
        return job.found

    def open(self) -> None:
        """Take jobs again after `close`."""
        with self._changed:
            self._open = True

    def close(self, seconds: float) -> None:
        """Take nothing more and answer what waits, for so long; then drop what is left, and end."""
        with self._changed:
            self._open = False
            self._changed.notify()
        if self._thread is None:
            return
        self._thread.join(seconds)
        for job in [*self._made, *self._jobs]:
            job.found.drop()
        self._thread.join(_LAST_STEP)

    def _count(self) -> int:
        return sum(len(job.items) for job in self._jobs if not job.found.cancelled())

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or not self._open)
                if not self._jobs:
                    return
                jobs = self._take()
            jobs = [job for job in jobs if job.found.set_running_or_notify_cancel()]
            if jobs:
                self._told(sum(len(job.items) for job in jobs))
                self._settle(jobs)

    def _take(self) -> list[_Job]:
        """The first job, and those like it that go into its batch; the others stay in order."""
        first = self._jobs.popleft()
        taken, left, weight = [first], deque[_Job](), first.weight
        for job in self._jobs:
            if job.key == first.key and weight + job.weight <= self._size:
                taken.append(job)
                weight += job.weight
            else:
                left.append(job)
        self._jobs = left
        return taken

    def _settle(self, jobs: list[_Job]) -> None:
        """Answer jobs of one key; an error is that of the job alone that it comes from."""
        self._made = jobs
        try:
            found = self._answer(jobs[0].key, [item for job in jobs for item in job.items])
        except BaseException as error:  # handed to whoever asked
            if len(jobs) == 1:
                jobs[0].found.set_exception(error)
                return
            half = len(jobs) // 2
            self._settle(jobs[:half])
            self._settle(jobs[half:])
            return
        finally:
            self._made = []
        for job in jobs:
            job.found.set_result(found[: len(job.items)])
            found = found[len(job.items) :]

"""What workers tell of themselves, once a minute: who is alive, since when, and what it is doing."""

from __future__ import annotations

import abc
import threading
from collections.abc import Sequence
from typing import NamedTuple

REPORT_EVERY = 60.0
"""Seconds between two reports of a worker: one small write a minute."""

ALIVE_FOR = 150.0
"""Seconds for which a report counts: one may come late and one be lost."""

KEPT_FOR = 3_600.0
"""Seconds for which the last report of a worker that never said that it ends tells that it is lost."""


class RunningTask(NamedTuple):
    """A task that a worker was running when it reported; its record tells since when."""

    id: str
    task: str


class WorkerReport(NamedTuple):
    """One worker process. Times are epoch seconds.

    Args:
        app: name of the app.
        id: of this life of the worker; another one after a restart.
        host, pid: the machine's name and the process on it.
        beat_at: when it reported.
        running: attempts under way.
        done: tasks that it has processed.
        concurrency: most tasks that it holds at once.
        version: of this library.
        queues: logical names of the queues it consumes.
        stopping: it has been told to stop and finishes what it holds.
        oldest: its longest-running tasks, the longest first, as many as fit a small item.
    """

    app: str
    id: str
    host: str
    pid: int
    started_at: float
    beat_at: float
    running: int = 0
    done: int = 0
    concurrency: int = 0
    version: str = ""
    queues: tuple[str, ...] = ()
    stopping: bool = False
    oldest: tuple[RunningTask, ...] = ()

    @property
    def alive_until(self) -> float:
        """Epoch seconds until which the worker counts as alive, unless it reports again."""
        return self.beat_at + ALIVE_FOR

    @property
    def ttl(self) -> float:
        """Epoch seconds from which the report may be dropped, unless there is another."""
        return self.beat_at + KEPT_FOR

    def state(self, now: float) -> str:
        """``on``, ``stopping``, or ``lost``: it ended without a word, or cannot reach the table."""
        return "lost" if self.alive_until <= now else "stopping" if self.stopping else "on"


class WorkerReports(abc.ABC):
    """The workers of all apps that share a table. Implementations: DynamoDB and in-memory."""

    @abc.abstractmethod
    async def beat(self, report: WorkerReport) -> None:
        """A worker says that it is alive; replaces what it said before."""

    @abc.abstractmethod
    async def gone(self, app: str, id: str) -> None:
        """A worker has ended."""

    @abc.abstractmethod
    async def recent(self, app: str, *, now: float) -> list[WorkerReport]:
        """The workers of an app that are alive, and those lost in the last hour, the oldest worker first."""

    async def alive(self, app: str, *, now: float) -> list[WorkerReport]:
        """The workers of an app whose last report still counts, the oldest worker first."""
        return [one for one in await self.recent(app, now=now) if one.alive_until > now]


class MemoryWorkers(WorkerReports):
    """Reports in this process. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: dict[tuple[str, str], WorkerReport] = {}

    async def beat(self, report: WorkerReport) -> None:
        with self._lock:
            self._reports[report.app, report.id] = report

    async def gone(self, app: str, id: str) -> None:
        with self._lock:
            self._reports.pop((app, id), None)

    async def recent(self, app: str, *, now: float) -> list[WorkerReport]:
        with self._lock:
            return oldest_first([one for one in self._reports.values() if one.app == app and one.ttl > now])


def oldest_first(reports: Sequence[WorkerReport]) -> list[WorkerReport]:
    """In the order in which the workers started."""
    return sorted(reports, key=lambda one: (one.started_at, one.id))

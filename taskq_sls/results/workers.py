"""Reports of workers, one a minute each: which are alive, since when, and with which tasks."""

from __future__ import annotations

import abc
import threading
from collections.abc import Sequence
from typing import NamedTuple

REPORT_INTERVAL_SECONDS = 60.0
"""Time between two reports of a worker: one small write a minute."""

ALIVE_SECONDS = 150.0
"""A worker counts as alive for so long after a report: one may be late and one lost."""

LOST_SECONDS = 3_600.0
"""A worker that stopped reporting is listed as lost until so long after its last report."""


class RunningTask(NamedTuple):
    """A task that a worker was running when it reported."""

    id: str
    task: str


class WorkerReport(NamedTuple):
    """One worker process. Times are epoch seconds.

    Args:
        app: name of the app.
        id: of this process; a restart gets another.
        host, pid: machine name and process id.
        beat_at: time of the report.
        running: attempts under way.
        done: tasks processed so far.
        concurrency: most tasks in flight.
        version: of this library.
        queues: logical names of the queues it consumes.
        stopping: True while it finishes its tasks before it ends.
        oldest: its longest-running tasks, longest first, as many as fit 1 KB.
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
        """Epoch seconds until which the worker counts as alive without another report."""
        return self.beat_at + ALIVE_SECONDS

    @property
    def ttl(self) -> float:
        """Epoch seconds after which the report may be dropped."""
        return self.beat_at + LOST_SECONDS

    def state(self, now: float) -> str:
        """``on``, ``stopping``, or ``lost``: it crashed or cannot reach the table."""
        return "lost" if self.alive_until <= now else "stopping" if self.stopping else "on"


class WorkerReports(abc.ABC):
    """The workers of all apps that share a table. Implementations: DynamoDB and in-memory."""

    @abc.abstractmethod
    async def beat(self, report: WorkerReport) -> None:
        """Store the report of a worker in place of the one before."""

    @abc.abstractmethod
    async def unregister(self, app: str, id: str) -> None:
        """Remove the report of a worker that ends."""

    @abc.abstractmethod
    async def recent(self, app: str, *, now: float) -> list[WorkerReport]:
        """The workers of an app that are alive or were lost in the last hour, oldest first."""

    async def alive(self, app: str, *, now: float) -> list[WorkerReport]:
        """The workers of an app that are alive, oldest first."""
        return [report for report in await self.recent(app, now=now) if report.alive_until > now]


class MemoryWorkers(WorkerReports):
    """Reports in this process. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: dict[tuple[str, str], WorkerReport] = {}

    async def beat(self, report: WorkerReport) -> None:
        with self._lock:
            self._reports[report.app, report.id] = report

    async def unregister(self, app: str, id: str) -> None:
        with self._lock:
            self._reports.pop((app, id), None)

    async def recent(self, app: str, *, now: float) -> list[WorkerReport]:
        with self._lock:
            return oldest_first([report for report in self._reports.values() if report.app == app and report.ttl > now])


def oldest_first(reports: Sequence[WorkerReport]) -> list[WorkerReport]:
    return sorted(reports, key=lambda report: (report.started_at, report.id))

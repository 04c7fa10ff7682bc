"""The worker's report of itself: who it is and what it does, once a minute, on the heartbeat's thread."""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..client.services import Services
from ..core.context import TaskContext
from ..core.fault_log import FaultLog
from ..core.flow import drive
from ..core.version import __version__
from ..engine.executor import Executor
from ..results.workers import REPORT_EVERY, RunningTask, WorkerReport

if TYPE_CHECKING:
    from .options import WorkerOptions

logger = logging.getLogger("taskq_sls.worker")

MOST_NAMED, NAMED_BYTES = 5, 600
"""Running tasks that a report names, and bytes of their ids and names: an item of up to 1 KB is one write unit."""


class Reporter:
    """Reports one life of a worker. A fault is logged once, and never disturbs the heartbeat.

    Args:
        services: the heartbeat's own.
        stopping: whether the worker has been told to stop.
    """

    def __init__(
        self, worker: WorkerOptions, executor: Executor, services: Services, stopping: Callable[[], bool]
    ) -> None:
        self._worker = worker
        self._executor = executor
        self._services = services
        self._stopping = stopping
        self._clock = worker.app.clock
        self._host = socket.gethostname()
        self._id = f"{self._host}-{os.getpid()}-{secrets.token_hex(4)}"
        self._started_at = self._clock.time()
        self._due = 0.0
        self._said = False
        recorded = any(task.options.record != "none" for task in worker.app.registry)
        # Without records there may be no table.
        self._on = worker.report and recorded
        self._faults = FaultLog(logger, "this worker cannot report itself in the table", "report_fault")

    def report_if_due(self) -> None:
        """Report, where a minute has passed since the last time."""
        now = time.monotonic()
        if not self._on or now < self._due:
            return
        self._due = now + REPORT_EVERY
        try:
            workers = self._services.results.workers
            if workers is None:
                self._on = False
                return
            drive(workers.beat(self._report()))
        except Exception as error:  # whatever it is: the heartbeat goes on
            self._faults.failed(error)
        else:
            self._said = True
            self._faults.recovered()

    def say_goodbye(self) -> None:
        """Take the report away. After a crash its time to live does that."""
        if not self._said:
            return
        try:
            workers = self._services.results.workers
            if workers is None:
                return
            drive(workers.gone(self._worker.app.name, self._id))
        except Exception as error:  # whatever it is: the report ends by its time to live
            self._faults.failed(error)

    def _report(self) -> WorkerReport:
        worker = self._worker
        running = list(self._executor.running.values())
        return WorkerReport(
            worker.app.name,
            self._id,
            self._host,
            os.getpid(),
            self._started_at,
            self._clock.time(),
            len(running),
            worker.done,
            worker.concurrency,
            __version__,
            tuple(queue.name for queue in worker.queues),
            self._stopping(),
            oldest(running),
        )


def oldest(running: Iterable[TaskContext]) -> tuple[RunningTask, ...]:
    """The first of the tasks, which are in the order of their starts: as many as a small item holds."""
    named: list[RunningTask] = []
    room = NAMED_BYTES
    for context in itertools.islice(running, MOST_NAMED):
        room -= len(context.id) + len(context.task.encode())
        if room < 0:
            break
        named.append(RunningTask(context.id, context.task))
    return tuple(named)

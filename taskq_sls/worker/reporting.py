"""The worker's report in the table: its identity and its running tasks, once a minute."""

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
from ..results.workers import REPORT_INTERVAL_SECONDS, RunningTask, WorkerReport

if TYPE_CHECKING:
    from .options import WorkerOptions

logger = logging.getLogger("taskq_sls.worker")

MAX_NAMED_TASKS, MAX_NAMED_BYTES = 5, 600
"""Limits of the running tasks in a report, and of their ids and names: an item of up to 1 KB is one write unit."""


class Reporter:
    """Reports one run of a worker. A fault is logged once, and never reaches the heartbeat.

    Args:
        services: those of the heartbeat, whose thread calls `report_if_due`.
        stopping: True once the worker stops.
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
        self._registered = False
        # Without records there may be no table.
        self._enabled = worker.report and any(task.options.record != "none" for task in worker.app.registry)
        self._faults = FaultLog(logger, "this worker cannot report itself in the table", "report_fault")

    def report_if_due(self) -> None:
        """Report if a minute has passed since the last time."""
        now = time.monotonic()
        if not self._enabled or now < self._due:
            return
        self._due = now + REPORT_INTERVAL_SECONDS
        try:
            workers = self._services.results.workers
            if workers is None:
                self._enabled = False
                return
            drive(workers.beat(self._report()))
        except Exception as error:  # of any kind: the heartbeat goes on
            self._faults.failed(error)
        else:
            self._registered = True
            self._faults.recovered()

    def unregister(self) -> None:
        """Delete the report. After a crash, DynamoDB deletes it by its time to live."""
        if not self._registered:
            return
        try:
            workers = self._services.results.workers
            if workers is None:
                return
            drive(workers.unregister(self._worker.app.name, self._id))
        except Exception as error:  # of any kind: the report expires by its time to live
            self._faults.failed(error)

    def _report(self) -> WorkerReport:
        worker = self._worker
        running = list(self._executor.running.values())
        return WorkerReport(
            app=worker.app.name,
            id=self._id,
            host=self._host,
            pid=os.getpid(),
            started_at=self._started_at,
            beat_at=self._clock.time(),
            running=len(running),
            done=worker.done,
            concurrency=worker.concurrency,
            version=__version__,
            queues=tuple(queue.name for queue in worker.queues),
            stopping=self._stopping(),
            oldest=oldest_tasks(attempt.context for attempt in running),
        )


def oldest_tasks(running: Iterable[TaskContext]) -> tuple[RunningTask, ...]:
    """The first of the running tasks, which are in the order of their starts: as many as fit a small item."""
    named: list[RunningTask] = []
    bytes_left = MAX_NAMED_BYTES
    for context in itertools.islice(running, MAX_NAMED_TASKS):
        bytes_left -= len(context.id) + len(context.task.encode())
        if bytes_left < 0:
            break
        named.append(RunningTask(context.id, context.task))
    return tuple(named)

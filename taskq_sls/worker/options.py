"""The options of a worker, the state of its run, and the reasons for its end."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..core.number_checks import is_whole
from ..core.queues import Queue
from ..core.threads import default_threads
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..client.app import App
    from .health import HealthServer

STOPPED = "stopped"
DRAINED = "drained"
RECYCLE = "recycle"
STUCK = "stuck"
FAULT = "fault"
"""The values that `Worker.run` returns; it documents them."""

GRACE_SECONDS = 30.0
POLL_WAIT_SECONDS = 20
"""Defaults of the options of the same names."""


class WorkerOptions(abc.ABC):
    """The checked options of `Worker`, and the state of its run. Base of `Worker` for the parts that it is made of.

    Attributes:
        done: number of attempts that have ended.
        has_received: True once a message was received.
        owns_process: True if the process runs only this worker.
    """

    def __init__(
        self,
        app: App,
        *,
        concurrency: int | None = None,
        threads: int | None = None,
        queues: Sequence[str] | None = None,
        burst: bool = False,
        max_tasks: int | None = None,
        max_memory: int | None = None,
        grace: float = GRACE_SECONDS,
        poll_wait: int = POLL_WAIT_SECONDS,
        health: tuple[str, int] | None = None,
        report: bool | None = None,
    ) -> None:
        self.app = app
        self.report = app.report if report is None else report
        self.queues = _consumed(app, queues)
        self.threads = _whole("threads", threads or default_threads(), 1, 1_000)
        self.concurrency = _whole("concurrency", concurrency or self._fitting_concurrency(), 1, 10_000)
        self.burst = burst
        self.max_tasks = None if max_tasks is None else _whole("max_tasks", max_tasks, 1, 10**9)
        self.max_memory = None if max_memory is None else _whole("max_memory", max_memory, 1, 10**7) * 1_000_000
        if not 0 <= grace < float("inf"):
            raise ConfigError(f"worker: grace={grace!r} must be 0 or more seconds")
        self.grace = grace
        self.poll_wait = _whole("poll_wait", poll_wait, 1, 20)
        self._health_address = health
        self.health: HealthServer | None = None
        self.done = 0
        self.has_received = False
        self.owns_process = False
        self._why: str | None = None

    @property
    def why(self) -> str:
        """The reason for its end."""
        return self._why or STOPPED

    @abc.abstractmethod
    def ask_to_end(self, why: str) -> None:
        """End the run; the first reason counts. Called on the event loop's thread."""

    @abc.abstractmethod
    def outlives_cancel(self) -> bool:
        """True if the run ignores a cancellation of its own task, and ends cleanly."""

    def _fitting_concurrency(self) -> int:
        tasks = list(self.app.registry)
        return self.threads if tasks and not any(task.plan.is_async for task in tasks) else 100


def _consumed(app: App, names: Sequence[str] | None) -> list[Queue]:
    if names is None:
        return list(app.queues.values())
    if isinstance(names, str):
        raise ConfigError(f"worker: queues={names!r} must be a list of names: queues=[{names!r}]")
    for name in names:
        if name not in app.queues:
            raise ConfigError(f"worker: queue {name!r} is not declared; the app has {', '.join(map(repr, app.queues))}")
    if not names:
        raise ConfigError("worker: queues=[] leaves nothing to consume; name at least one queue")
    return [app.queues[name] for name in dict.fromkeys(names)]


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if not is_whole(value, low, high):
        raise ConfigError(f"worker: {name}={value!r} must be a whole number of {low} to {high}")
    return value

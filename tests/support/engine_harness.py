"""The executor alone: a test hands it deliveries and looks at outcomes and records."""

from __future__ import annotations

from typing import Any

from taskq_sls import TaskQ, TaskRecord
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.delivery import Delivery, Outcome
from taskq_sls.core.flow import drive
from taskq_sls.core.message import Message
from taskq_sls.core.queues import Queue
from taskq_sls.engine.executor import Executor
from tests.support.faulty_backends import FaultyBroker, FaultyResults

NOW = 1_800_000_000.0
HOLD = 60.0


class EngineHarness:
    """An app over faulty backends and a clock that travels, and its executor."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock(NOW)
        self.results = FaultyResults()
        queues = options.pop("queues", [Queue("default")])
        self.broker = FaultyBroker(self.clock, queues)
        self.app = TaskQ("shop", clock=self.clock, broker=self.broker, results=self.results, queues=queues, **options)
        self.task = self.app.task
        self._executor: Executor | None = None

    async def executor(self) -> Executor:
        if self._executor is None:
            self._executor = self.app.executor(await self.app.services.on_loop())
        return self._executor

    async def process(self, delivery: Delivery, deadline: float | None = None) -> Outcome:
        return await (await self.executor()).process(delivery, deadline)

    async def run(self, task: Any, *args: Any, **fields: Any) -> Outcome:
        """Process a first delivery of a new message."""
        return await self.process(delivery(task, *args, **fields))

    def record(self, id: str = "task-1") -> TaskRecord:
        found = self.found(id)
        assert found is not None
        return found

    def found(self, id: str = "task-1") -> TaskRecord | None:
        return drive(self.results.get(id, now=self.clock.time()))


def message(task: Any, *args: Any, id: str = "task-1", **fields: Any) -> Message:
    name = task if isinstance(task, str) else task.name
    return Message(id, name, list(args), enqueued_at=fields.pop("enqueued_at", NOW), **fields)


def delivery(task: Any, *args: Any, receive_count: int = 1, queue: str = "default", **fields: Any) -> Delivery:
    """A received message; `task` is a task, its name, or a whole body."""
    raw = isinstance(task, str) and task.startswith(("{", "<", "["))
    body = task if raw else message(task, *args, **fields).encode()
    return Delivery(queue, body, "receipt", "message-1", receive_count, NOW)

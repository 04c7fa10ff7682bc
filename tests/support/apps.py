"""The app ``shop`` of many tests."""

from __future__ import annotations

from typing import Any

from taskq_sls import Queue, TaskQ
from taskq_sls.testing import InMemory, in_memory
from tests.support.faulty_backends import FaultyBroker, FaultyResults

QUEUES = (Queue("default"), Queue("slow", function_timeout=600), Queue("ledger.fifo"))


def shop(**options: Any) -> TaskQ:
    """The app, with a queue for quick tasks, one for slow ones and a FIFO queue."""
    return TaskQ("shop", **{"queues": QUEUES, **options})


def shop_with_job(*, faulty_broker: bool = False, **options: Any) -> tuple[TaskQ, Any, InMemory]:
    """The app, its task ``job``, which fails for a negative number, and its backends.

    The result backend counts calls and can fail, and with `faulty_broker` the broker too.
    """
    app = shop(**options)

    @app.task(name="job")
    def job(number: int = 7) -> int:
        if number < 0:
            raise LookupError(f"no {number}")
        return number

    memory = in_memory(app)
    memory.results = FaultyResults()
    if faulty_broker:
        memory.broker = FaultyBroker(memory.clock, app.queues.values())  # type: ignore[assignment]  # it counts sends
    return app, job, memory

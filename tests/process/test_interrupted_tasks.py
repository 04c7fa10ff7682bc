"""Time limits of sync tasks in real workers: what they interrupt leaves the worker able to work."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskq_sls import Queue
from taskq_sls.core.states import State
from tests.support.aws_bench import AwsBench
from tests.support.waiting import until
from tests.support.worker_processes import WorkerProcesses

TASKS = """
import logging
from taskq_sls import Queue, Retry, TaskQ

app = TaskQ("{name}", queues=[Queue("default", visibility_timeout=20)])
log = logging.getLogger("shop")


@app.task(timeout=0.2, retry=Retry(max_attempts=1))
def log_for_ever(number: int) -> None:
    while True:
        sum(range(20000))
        log.info("row")
"""


@pytest.fixture
def workers(make_aws_bench: Callable[..., AwsBench], tmp_path: Path) -> Iterator[WorkerProcesses]:
    made = WorkerProcesses(make_aws_bench(Queue("default", visibility_timeout=20)), tmp_path, TASKS)
    yield made
    made.end()


def test_a_worker_works_through_tasks_that_are_interrupted_while_they_log_and_stops(workers: WorkerProcesses) -> None:
    ids = [workers.enqueue("log_for_ever", number) for number in range(40)]
    worker = workers.start("--grace", "5", "--threads", "4", "--log-format", "text")
    until(lambda: all(workers.ended_as(id) is State.FAILED for id in ids), 90)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0

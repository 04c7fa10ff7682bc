"""Workers in processes of their own, stopped by signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq_sls import Queue, TaskQ
from taskq_sls.core.flow import drive
from taskq_sls.core.states import State
from taskq_sls.results.records import TaskRecord
from tests.support.aws_bench import AwsBench
from tests.support.waiting import until

MakeBench = Callable[..., AwsBench]

TASKS = """
import asyncio, contextvars, os, time
from pathlib import Path
from taskq_sls import Queue, TaskContext, TaskQ, current_task

app = TaskQ("{name}", queues=[Queue("default", visibility_timeout=5)])
seen = Path(__file__).parent
tenant = contextvars.ContextVar("tenant", default="nobody")


@app.task
def hold(ctx: TaskContext, name: str) -> int:
    (seen / f"started-{{name}}-{{ctx.attempt}}").touch()
    while not (seen / f"release-{{name}}").exists():
        time.sleep(0.02)
    return ctx.attempt


@app.task
def stuck() -> None:
    (seen / "started-stuck-1").touch()
    time.sleep(600)


def helper() -> str:
    tenant.set("blue")
    return current_task().task


@app.task
def context_sync() -> list[str]:
    before = tenant.get()
    return [before, helper(), tenant.get()]


@app.task
async def context_async() -> list[str]:
    before = tenant.get()
    return [before, await asyncio.to_thread(helper), helper(), tenant.get()]
"""


class Workers:
    """Real processes of ``python -m taskq_sls worker`` over one app's module."""

    def __init__(self, bench: AwsBench, folder: Path) -> None:
        self.bench = bench
        self.folder = folder
        self.app: TaskQ = bench.app
        self._children: list[subprocess.Popen[bytes]] = []
        self._log = folder / "output"
        (folder / "shop_tasks.py").write_text(TASKS.format(name=bench.app.name))

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "taskq_sls", "worker", "shop_tasks:app", "--poll-wait", "1", *options]
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONWARNINGS": "error::ResourceWarning"}
        with self._log.open("ab") as log:
            child = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=log)
        self._children.append(child)
        return child

    def output(self) -> str:
        """What the processes have said so far."""
        return self._log.read_text()

    def enqueue(self, task: str, *args: Any) -> str:
        return self.app.ref(f"shop_tasks:{task}").enqueue(*args).id

    def record(self, id: str) -> TaskRecord | None:
        return self.app.results.get(id)

    def ended_as(self, id: str) -> State | None:
        record = self.record(id)
        return record.status if record is not None and record.status.terminal else None

    def saw(self, name: str) -> bool:
        return (self.folder / name).exists()

    def release(self, name: str) -> None:
        (self.folder / f"release-{name}").touch()

    def depth(self) -> tuple[int, ...]:
        return tuple(drive(self.app.services.blocking().broker.depth("default")))

    def end(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()


@pytest.fixture
def workers(make_aws_bench: MakeBench, tmp_path: Path) -> Iterator[Workers]:
    made = Workers(make_aws_bench(Queue("default", visibility_timeout=5)), tmp_path)
    yield made
    made.end()


def test_sigterm_lets_tasks_finish_gives_back_the_rest_and_exits_with_0(workers: Workers) -> None:
    ids = {name: workers.enqueue("hold", name) for name in ("a", "b")}
    child = workers.start("--threads", "1", "--concurrency", "2")
    until(lambda: workers.saw("started-a-1") or workers.saw("started-b-1"))
    running, waiting = ("a", "b") if workers.saw("started-a-1") else ("b", "a")
    until(lambda: workers.depth() == (0, 2, 0))

    child.send_signal(signal.SIGTERM)
    until(lambda: workers.depth() == (1, 1, 0))
    workers.release(running)

    assert child.wait(60) == 0
    text = workers.output()
    assert "worker_ended" in text or "ended (stopped)" in text
    assert "Traceback" not in text
    assert "ResourceWarning" not in text
    assert workers.depth() == (1, 0, 0)
    assert workers.ended_as(ids[running]) is State.SUCCEEDED
    assert workers.record(ids[waiting]) is None


def test_a_task_whose_worker_was_killed_is_finished_by_another_as_attempt_2(workers: Workers) -> None:
    id = workers.enqueue("hold", "a")
    first = workers.start()
    until(lambda: workers.saw("started-a-1"))
    first.send_signal(signal.SIGKILL)
    first.wait(60)
    workers.release("a")
    record = workers.record(id)
    assert record is not None
    assert record.status is State.RUNNING

    second = workers.start()
    until(lambda: workers.ended_as(id))
    until(lambda: workers.depth() == (0, 0, 0))
    second.send_signal(signal.SIGTERM)

    assert second.wait(60) == 0
    record = workers.record(id)
    assert record is not None
    assert (record.status, record.attempt, record.result) == (State.SUCCEEDED, 2, 2)
    assert workers.saw("started-a-2")
    assert not workers.saw("started-a-3")


def test_a_second_sigterm_ends_a_worker_whose_task_does_not_end(workers: Workers) -> None:
    id = workers.enqueue("stuck")
    child = workers.start("--grace", "600")
    until(lambda: workers.saw("started-stuck-1"))

    child.send_signal(signal.SIGTERM)
    until(lambda: "worker_stopping" in workers.output())  # two signals at once would be seen as one
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)

    child.wait(60)
    record = workers.record(id)
    assert record is not None
    assert record.status is State.RUNNING


def test_context_variables_of_one_task_do_not_reach_another(workers: Workers) -> None:
    kinds = ("context_sync", "context_async") * 2
    ids = [workers.enqueue(kind) for kind in kinds]

    assert workers.start("--burst").wait(90) == 0

    results = []
    for id in ids:
        record = workers.record(id)
        assert record is not None
        results.append(record.result)
    sync = ["nobody", "shop_tasks:context_sync", "blue"]
    name = "shop_tasks:context_async"
    assert results == [sync, ["nobody", name, name, "blue"]] * 2

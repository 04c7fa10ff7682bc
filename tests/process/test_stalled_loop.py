"""A worker whose event loop stands still lets its messages go and ends, unless a task's own code runs there."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq_sls import Queue
from taskq_sls.core.states import State
from taskq_sls.worker.worker_process import STUCK
from tests.support.aws_bench import AwsBench
from tests.support.waiting import until
from tests.support.worker_processes import WorkerProcesses

TASKS = """
import asyncio, logging, threading, time
from pathlib import Path
from taskq_sls import Queue, TaskContext, TaskQ
from taskq_sls.worker import watchdog

watchdog.MAX_STALLED_TIMEOUTS = 3.0 / {hold}        # three seconds, to have the test shorter
app = TaskQ("{name}", queues=[Queue("default", visibility_timeout={hold})])
folder = Path(__file__).parent


def leave_locked() -> None:
    for handler in logging.getLogger().handlers:
        handler.acquire()


@app.task
def leak(ctx: TaskContext) -> int:
    if ctx.attempt == 1:
        (folder / "leaked").touch()
        thread = threading.Thread(target=leave_locked)      # which ends, and never unlocks them
        thread.start()
        thread.join()
    return ctx.attempt


@app.task
async def leak_and_log(ctx: TaskContext) -> None:
    leak(ctx)
    logging.getLogger("rows").warning("never written")


@app.task
async def leave_a_callback() -> None:
    asyncio.get_running_loop().call_later(0.1, time.sleep, 600)
    await asyncio.sleep(0.01)


@app.task
async def block_on_purpose() -> str:
    time.sleep(5)

    async def part() -> None:
        time.sleep(5)

    await asyncio.gather(part(), asyncio.sleep(0))
    return "done"


@app.task
def wait() -> None:
    (folder / "waiting").touch()
    time.sleep(600)
"""


@pytest.fixture
def hold() -> int:
    """Seconds of the visibility timeout."""
    return 60


@pytest.fixture
def workers(make_aws_bench: Callable[..., AwsBench], tmp_path: Path, hold: int) -> Iterator[WorkerProcesses]:
    source = TASKS.replace("{hold}", str(hold))
    made = WorkerProcesses(make_aws_bench(Queue("default", visibility_timeout=hold)), tmp_path, source)
    yield made
    made.end()


def events(workers: WorkerProcesses, action: str) -> list[Any]:
    lines = [json.loads(line) for line in workers.output().splitlines() if line.startswith("{")]
    return [line for line in lines if line["action"] == action]


@pytest.mark.parametrize("task", ["leak", "leak_and_log", "leave_a_callback"])
def test_it_returns_its_messages_shows_the_stacks_and_ends_with_a_status_of_its_own(
    workers: WorkerProcesses, task: str
) -> None:
    workers.enqueue("wait")
    child = workers.start()
    until(lambda: workers.path("waiting").exists())
    id = workers.enqueue(task)

    assert child.wait(60) == STUCK

    (event,) = events(workers, "worker_stalled")
    assert event["level"] == "CRITICAL"
    assert "returns its messages to their queues and ends" in event["message"]
    stacks = workers.output().rpartition('"worker_stalled"')[2]
    assert all(thread in stacks for thread in ("(MainThread)", "(taskq-heartbeat)", "(taskq-watchdog)"))
    # Visible again long before the visibility timeout ends; the leases are left to end.
    visible, in_flight, delayed = workers.depth()
    assert visible >= (1 if workers.ended_as(id) else 2)
    assert (in_flight, delayed) == (0, 0)


@pytest.mark.parametrize("hold", [5])
def test_its_supervisor_starts_another_worker_which_takes_the_task_over(workers: WorkerProcesses) -> None:
    id = workers.enqueue("leak")
    supervisor = workers.start("--processes", "1", "--max-tasks", "1000")

    until(lambda: workers.ended_as(id), 110)
    supervisor.send_signal(signal.SIGTERM)

    assert supervisor.wait(60) == 0
    record = workers.record(id)
    assert (record.status, record.attempt, record.result) == (State.SUCCEEDED, 2, 2)
    assert events(workers, "worker_process_stuck")


@pytest.mark.parametrize("hold", [5])
def test_a_task_that_blocks_the_loop_in_its_own_code_is_held_and_delivered_once(workers: WorkerProcesses) -> None:
    id = workers.enqueue("block_on_purpose")
    child = workers.start()

    until(lambda: workers.ended_as(id))
    child.send_signal(signal.SIGTERM)

    assert child.wait(60) == 0
    record = workers.record(id)
    assert (record.status, record.attempt, record.result) == (State.SUCCEEDED, 1, "done")
    assert not events(workers, "worker_stalled")

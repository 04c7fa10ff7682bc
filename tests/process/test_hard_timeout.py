"""A task that ignores its time limit takes its worker along, and nothing else."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskq_sls import Queue
from taskq_sls.core.states import State
from taskq_sls.worker.worker_process import STUCK
from tests.support.aws_bench import AwsBench
from tests.support.waiting import until
from tests.support.worker_processes import WorkerProcesses

TASKS = """
import asyncio, concurrent.futures, time
from pathlib import Path
from taskq_sls import Queue, TaskContext, TaskQ

app = TaskQ("{name}", queues=[Queue("default", visibility_timeout=5)])
folder = Path(__file__).parent
pool = concurrent.futures.ThreadPoolExecutor(1)


def ignore_everything():
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            continue


@app.task(timeout=0.5, hard_timeout=1.5)
def deaf(ctx: TaskContext) -> int:
    (folder / f"started-{ctx.attempt}").touch()
    if ctx.attempt == 1:
        pool.submit(ignore_everything)          # the interpreter would wait for this thread at an orderly exit
        ignore_everything()
    return ctx.attempt


@app.task(timeout=0.5, hard_timeout=1.0)
async def deaf_coroutine(ctx: TaskContext) -> int:
    while ctx.attempt == 1:
        try:
            await asyncio.sleep(60)
        except BaseException:
            continue
    return ctx.attempt


@app.task
def slow() -> str:
    (folder / "slow-started").touch()
    while not (folder / "stuck").exists():
        time.sleep(0.02)
    return "finished"


@app.task
def waiting() -> None: ...
"""


@pytest.fixture
def hold() -> int:
    """Seconds."""
    return 5


@pytest.fixture
def workers(make_aws_bench: Callable[..., AwsBench], tmp_path: Path, hold: int) -> Iterator[WorkerProcesses]:
    source = TASKS.replace("visibility_timeout=5", f"visibility_timeout={hold}")
    made = WorkerProcesses(make_aws_bench(Queue("default", visibility_timeout=hold)), tmp_path, source)
    yield made
    made.end()


@pytest.mark.parametrize("hold", [60])  # the message that is left is still hidden when it is looked at
def test_the_worker_lets_others_finish_gives_back_the_rest_and_exits_with_a_status_of_its_own(
    workers: WorkerProcesses,
) -> None:
    slow = workers.enqueue("slow")
    deaf = workers.enqueue("deaf")
    child = workers.start("--threads", "2", "--concurrency", "3", "--grace", "60")
    until(lambda: workers.path("started-1").exists() and workers.path("slow-started").exists())
    waiting = workers.enqueue("waiting")
    until(lambda: "worker_stuck" in workers.output())
    workers.path("stuck").touch()

    assert child.wait(60) == STUCK

    assert workers.ended_as(slow) is State.SUCCEEDED
    record = workers.record(deaf)
    assert (record.status, record.attempt) == (State.RUNNING, 1)
    assert workers.app.results.get(waiting) is None
    assert workers.depth() == (1, 1, 0)


def test_the_supervisor_starts_another_worker_which_takes_over_when_the_lease_has_ended(
    workers: WorkerProcesses,
) -> None:
    deaf = workers.enqueue("deaf")
    child = workers.start("--processes", "1", "--max-tasks", "1000", "--grace", "60")

    until(lambda: workers.ended_as(deaf))
    child.send_signal(signal.SIGTERM)

    assert child.wait(60) == 0
    record = workers.record(deaf)
    assert (record.status, record.attempt, record.result) == (State.SUCCEEDED, 2, 2)
    assert workers.path("started-2").exists()
    assert "ended over code that could not be stopped: started again" in workers.output()


def test_a_coroutine_that_swallows_its_cancellation_is_stuck_too(workers: WorkerProcesses) -> None:
    deaf = workers.enqueue("deaf_coroutine")
    child = workers.start("--grace", "60")

    assert child.wait(60) == STUCK
    assert workers.record(deaf).status is State.RUNNING

"""Code of a task that exits, or cancels, more than its attempt: nothing else is lost, and the end is told."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from taskq_sls.core.states import State
from taskq_sls.worker.worker_process import FAULT
from tests.support.aws_bench import AwsBench
from tests.support.waiting import until
from tests.support.worker_processes import WorkerProcesses

TASKS = """
import asyncio, os, socket, sys, time
from pathlib import Path
from taskq_sls import Queue, Retry, TaskQ

app = TaskQ("{name}", queues=[Queue("default", visibility_timeout=5)], retry=Retry(max_attempts=1))
folder = Path(__file__).parent


async def leave():
    await asyncio.sleep(0.01)
    sys.exit(0)


async def interrupt():
    raise KeyboardInterrupt


@app.task
async def innocent() -> str:
    (folder / "started").touch()
    while not (folder / "go").exists():
        await asyncio.sleep(0.02)
    return "finished"


@app.task
async def gathered() -> None:
    await asyncio.gather(leave(), asyncio.sleep(60))


@app.task
async def grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(interrupt())
        await asyncio.sleep(60)


@app.task
async def created() -> None:
    left = asyncio.create_task(leave())
    await asyncio.sleep(0.1)


@app.task
async def callback() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 0)


def fork(status: int) -> int:
    if (child := os.fork()) == 0:
        sys.exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@app.task
def fork_in_a_thread() -> int:
    return fork(3)


@app.task
async def fork_in_a_coroutine() -> int:
    return fork(4)


@app.task
async def fork_in_a_gathered_coroutine() -> int:
    async def part() -> int:
        return fork(5)

    return sum(await asyncio.gather(part()))


@app.task
async def break_the_loop() -> None:
    def refuse():
        raise RuntimeError("no clock")

    time.monotonic = time.sleep = refuse


@app.task
async def close_the_selector() -> None:
    asyncio.get_running_loop()._selector.close()


@app.task
def close_the_streams() -> None:
    os.close(0)
    sys.stdout.close()
    sys.stderr = None
    left, right = socket.socketpair()
    assert left.fileno() == 0   # as a connection of the worker's might be
    right.sendall(b"answer")
    time.sleep(3)   # longer than between two looks at the supervisor
    assert left.recv(6) == b"answer"


@app.task
async def cancel_all() -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
"""


@pytest.fixture
def workers(make_aws_bench: Callable[..., AwsBench], tmp_path: Path) -> Iterator[WorkerProcesses]:
    made = WorkerProcesses(make_aws_bench(), tmp_path, TASKS)
    yield made
    made.end()


def test_an_exit_in_a_coroutine_that_the_attempt_awaits_is_the_end_of_that_attempt(workers: WorkerProcesses) -> None:
    worker = workers.start()
    innocent = workers.enqueue("innocent")
    until(workers.path("started").exists)
    for name, error in (("gathered", "SystemExit"), ("grouped", "KeyboardInterrupt")):
        id = workers.enqueue(name)
        until(partial(workers.ended_as, id))
        record = workers.record(id)
        assert (record.status, record.error and record.error.type) == (State.FAILED, error)
    workers.path("go").touch()
    until(lambda: workers.ended_as(innocent) is State.SUCCEEDED)
    assert workers.record(innocent).attempt == 1
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert "worker_fault" not in workers.output()


@pytest.mark.parametrize("name", ["created", "callback"])
def test_an_exit_that_nothing_awaits_is_a_clean_stop_with_an_error_and_a_status(
    workers: WorkerProcesses, name: str
) -> None:
    worker = workers.start()
    innocent = workers.enqueue("innocent")
    until(workers.path("started").exists)
    workers.enqueue(name)
    until(lambda: "worker_stopping" in workers.output())
    workers.path("go").touch()
    assert worker.wait(60) == FAULT
    assert workers.ended_as(innocent) is State.SUCCEEDED
    assert workers.record(innocent).attempt == 1
    assert workers.depth() == (0, 0, 0)
    assert "SystemExit was raised in the event loop" in workers.output()
    assert "Traceback" in workers.output()


def test_a_task_that_cancels_everything_ends_its_worker_with_an_error_and_a_status(workers: WorkerProcesses) -> None:
    worker = workers.start()
    workers.enqueue("cancel_all")
    assert worker.wait(60) == FAULT
    assert "other code cancelled a poll or the worker itself" in workers.output()
    assert workers.depth() == (0, 0, 0)


@pytest.mark.parametrize(
    ("name", "error"), [("break_the_loop", "RuntimeError: no clock"), ("close_the_selector", "closed epoll")]
)
def test_a_task_that_breaks_the_event_loop_ends_its_worker_with_a_status_that_is_started_again(
    workers: WorkerProcesses, name: str, error: str
) -> None:
    worker = workers.start()
    workers.enqueue(name)
    assert worker.wait(60) == FAULT
    assert error in workers.output()


def test_a_task_may_close_the_streams_of_a_supervised_worker(workers: WorkerProcesses) -> None:
    supervisor = workers.start("--max-tasks", "1")
    id = workers.enqueue("close_the_streams")
    until(lambda: workers.ended_as(id))
    assert workers.record(id).error is None
    until(lambda: "worker_process_recycled" in workers.output())
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(60) == 0


def test_a_process_that_a_task_forks_ends_with_the_code_of_the_task(workers: WorkerProcesses) -> None:
    worker = workers.start()
    for name, status in (
        ("fork_in_a_thread", 3),
        ("fork_in_a_coroutine", 4),
        ("fork_in_a_gathered_coroutine", 5),
    ):
        id = workers.enqueue(name)
        until(partial(workers.ended_as, id))
        assert workers.record(id).result == status
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert "no running event loop" not in workers.output()  # the event loop of the worker went on in none of them

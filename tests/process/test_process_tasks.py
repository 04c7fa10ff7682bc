"""Child processes of real workers: held whatever they do, gone when the worker is."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskq_sls import Queue
from taskq_sls.core.states import State
from tests.support.aws_bench import AwsBench
from tests.support.waiting import until
from tests.support.worker_processes import WorkerProcesses, alive

TASKS = """
import ctypes, multiprocessing, os, time
from pathlib import Path
from taskq_sls import Queue, Retry, TaskContext, TaskQ, current_task

app = TaskQ("{name}", queues=[Queue("default", visibility_timeout=5)])
folder = Path(__file__).parent


@app.task(run_in="process")
def keep_the_lock(seconds: int) -> int:
    with (folder / "starts").open("a") as starts:
        starts.write("x")
    ctypes.PyDLL(None).usleep(seconds * 1_000_000)      # PyDLL does not give the interpreter lock away
    return current_task().attempt


@app.task
async def ping(number: int) -> int:
    return number


@app.task(run_in="process")
def hold(name: str) -> None:
    (folder / f"{name}.part").write_text(str(os.getpid()))
    (folder / f"{name}.part").rename(folder / name)
    time.sleep(600)


@app.task(run_in="process")
def keep_the_lock_forever(name: str) -> None:
    (folder / f"{name}.part").write_text(str(os.getpid()))
    (folder / f"{name}.part").rename(folder / name)
    while True:
        ctypes.PyDLL(None).usleep(600_000_000)


def touch_and_sleep(name: str) -> None:
    (folder / name).touch()
    time.sleep(600)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


@app.task
def terminate_a_fork() -> list[int | None]:
    ended = []
    for number in (15, 2):
        process = multiprocessing.get_context("fork").Process(target=touch_and_sleep, args=(str(number),))
        process.start()
        if number == 2:        # Python itself loses one that comes while it forks
            wait_for(folder / "2")
        os.kill(process.pid, number)
        process.join(30)
        ended.append(process.exitcode)
        process.kill()
    return ended


@app.task(run_in="process")
def enqueue_another() -> str:
    return ping.enqueue(7).id


@app.task(run_in="process", retry=Retry(max_attempts=2, backoff=0))
def crash_once(ctx: TaskContext) -> int:
    if ctx.attempt == 1:
        os.kill(os.getpid(), 9)
    return ctx.attempt
"""


@pytest.fixture
def workers(make_aws_bench: Callable[..., AwsBench], tmp_path: Path) -> Iterator[WorkerProcesses]:
    made = WorkerProcesses(make_aws_bench(Queue("default", visibility_timeout=5)), tmp_path, TASKS)
    yield made
    made.end()


def started(workers: WorkerProcesses, task: str) -> int:
    """Start a task that tells its process id."""
    workers.enqueue(task, task)
    until(workers.path(task).exists)
    return int(workers.path(task).read_text())


def test_code_that_keeps_the_interpreter_lock_for_two_holds_is_held_and_stalls_nobody(
    workers: WorkerProcesses,
) -> None:
    id = workers.enqueue("keep_the_lock", 11)
    workers.start()
    until(workers.path("starts").exists)
    meanwhile = 0
    while workers.ended_as(id) is None:
        ping = workers.enqueue("ping", 1)
        until(lambda ping=ping: workers.ended_as(ping))  # type: ignore[misc]  # a default that binds the variable
        meanwhile += workers.ended_as(id) is None
        time.sleep(1)

    assert meanwhile >= 1
    assert workers.record(id).result == 1
    assert workers.path("starts").read_text() == "x"
    # One that waited for the lock would have taken most of the eleven seconds.
    beats = [float(took) for took in re.findall(r"a heartbeat of .*? took (\d+\.\d) s", workers.output())]
    assert max(beats, default=0.0) < 5


def test_a_crash_is_tried_again_and_a_child_may_enqueue(workers: WorkerProcesses) -> None:
    crashed, first = workers.enqueue("crash_once"), workers.enqueue("enqueue_another")
    assert workers.start("--burst").wait(90) == 0
    assert workers.record(crashed).result == 2
    second = workers.record(str(workers.record(first).result))
    assert (second.status, second.result, second.parent) == (State.SUCCEEDED, 7, first)
    assert "signal SIGKILL" in workers.output()


def test_a_process_that_a_task_forks_ends_by_the_signals_that_end_a_process(workers: WorkerProcesses) -> None:
    id = workers.enqueue("terminate_a_fork")
    assert workers.start("--burst").wait(90) == 0
    assert workers.record(id).result == [-15, 1]  # SIGTERM, and KeyboardInterrupt


def test_a_worker_that_stops_gives_back_its_task_and_leaves_no_process(workers: WorkerProcesses) -> None:
    worker = workers.start("--grace", "0.2")
    child = started(workers, "hold")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert not alive(child)
    assert workers.depth() == (1, 0, 0)
    assert "Traceback" not in workers.output()


def test_a_second_signal_leaves_no_process_either(workers: WorkerProcesses) -> None:
    worker = workers.start("--grace", "600")
    child = started(workers, "hold")
    worker.send_signal(signal.SIGTERM)
    until(lambda: "worker_stopping" in workers.output())  # two signals at once would be seen as one
    worker.send_signal(signal.SIGTERM)
    worker.wait(60)
    until(lambda: not alive(child), 60)


@pytest.mark.parametrize("task", ["hold", "keep_the_lock_forever"])
def test_a_child_whose_worker_was_killed_ends_by_itself(workers: WorkerProcesses, task: str) -> None:
    worker = workers.start()
    child = started(workers, task)
    worker.send_signal(signal.SIGKILL)
    worker.wait(60)
    until(lambda: not alive(child), 60)

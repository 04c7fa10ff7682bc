"""A worker that has to end is gone in finite time, whatever its tasks have left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskq_sls import Queue
from tests.support.aws_bench import AwsBench
from tests.support.waiting import until
from tests.support.worker_processes import WorkerProcesses, alive

TASKS = """
import asyncio, atexit, ctypes, os, threading, time
from pathlib import Path
from taskq_sls import Queue, TaskQ
from taskq_sls.worker import worker as worker_module

worker_module.FORCED_EXIT_SECONDS = 1.0

app = TaskQ("{name}", queues=[Queue("default", visibility_timeout=60)])


def fork_when_asked() -> None:
    while not Path("fork").exists():
        time.sleep(0.05)
    if (forked := os.fork()) == 0:
        time.sleep(300)
        os._exit(0)
    Path("forked").write_text(str(forked))


if not Path("supervisor").exists():     # the first process to import this module
    Path("supervisor").touch()
    threading.Thread(target=fork_when_asked, daemon=True).start()


@app.task
def process_id() -> int:
    return os.getpid()


@app.task
async def leave_executor_threads() -> int:
    for _ in range(40):  # more than the event loop's default executor has
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)
    return os.getpid()


@app.task
def leave_a_thread_and_an_exit_handler() -> int:
    threading.Thread(target=time.sleep, args=(3600,), daemon=False).start()
    atexit.register(time.sleep, 3600)
    return os.getpid()


async def ignore_cancellation() -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


@app.task
async def wait_in_c() -> None:
    Path("in-c").touch()
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)     # the second time for ever, whatever signals come


@app.task
async def leave_a_coroutine() -> int:
    app.left = asyncio.get_running_loop().create_task(ignore_cancellation())
    await asyncio.sleep(0)
    return os.getpid()

"""


@pytest.fixture
def workers(make_aws_bench: Callable[..., AwsBench], tmp_path: Path) -> Iterator[WorkerProcesses]:
    made = WorkerProcesses(make_aws_bench(Queue("default", visibility_timeout=60)), tmp_path, TASKS)
    yield made
    made.end()


def test_a_worker_told_to_stop_is_gone_within_seconds_of_its_last_line(workers: WorkerProcesses) -> None:
    left = ("leave_executor_threads", "leave_a_thread_and_an_exit_handler", "leave_a_coroutine")
    ids = [workers.enqueue(task) for task in left]
    child = workers.start()
    until(lambda: all(map(workers.ended_as, ids)))

    child.send_signal(signal.SIGTERM)

    until(lambda: "worker_ended" in workers.output())
    said = time.monotonic()
    child.wait(60)
    assert time.monotonic() - said < 20  # five, on a machine that has nothing else to do
    assert child.returncode == 0


def test_a_worker_that_is_started_anew_leaves_its_threads_and_exit_handlers(workers: WorkerProcesses) -> None:
    child = workers.start("--max-tasks", "1", "--processes", "1")
    processes = []
    for task in ("leave_executor_threads", "leave_a_thread_and_an_exit_handler", "process_id"):
        id = workers.enqueue(task)
        until(lambda id=id: workers.ended_as(id))  # type: ignore[misc]  # bound per round
        processes.append(workers.record(id).result)

    assert len(set(processes)) == 3
    assert not alive(processes[0])
    assert not alive(processes[1])
    # An exit by force has the status of an orderly one.
    assert workers.output().count("worker_process_recycled") >= 2
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 0


# -- a stderr that nobody reads -------------------------------------------------------------------------------------


class Unread:
    """A pipe that nobody reads, as the stderr of commands."""

    def __init__(self, workers: WorkerProcesses) -> None:
        self._workers = workers
        self._ends = os.pipe()

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        return self._workers.start(*options, stderr=self._ends[1])

    def fill(self) -> None:
        """From now on whoever writes to it waits."""
        with open(f"/proc/self/fd/{self._ends[1]}", "wb", opener=_without_waiting, buffering=0) as pipe:
            while pipe.write(b"x"):
                continue

    def close(self) -> None:
        for end in self._ends:
            os.close(end)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_NONBLOCK)


@pytest.fixture
def unread(workers: WorkerProcesses) -> Iterator[Unread]:
    made = Unread(workers)
    yield made
    workers.end()
    made.close()


def test_a_second_sigterm_ends_a_worker_whose_stderr_nobody_reads(workers: WorkerProcesses, unread: Unread) -> None:
    child = unread.start()
    id = workers.enqueue("process_id")
    until(lambda: workers.ended_as(id))
    unread.fill()

    child.send_signal(signal.SIGTERM)  # the worker says that it ends
    time.sleep(0.5)  # two signals at once would be seen as one
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)

    assert child.wait(60) == 1


def test_a_second_sigterm_ends_a_worker_whose_task_keeps_signal_handlers_from_running(
    workers: WorkerProcesses,
) -> None:
    workers.enqueue("wait_in_c")
    child = workers.start()
    until(lambda: workers.path("in-c").exists())

    child.send_signal(signal.SIGTERM)
    time.sleep(0.5)  # two signals at once would be seen as one
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)

    assert child.wait(60) == 1
    assert "worker_killed" in workers.output()


def test_a_supervisor_whose_stderr_nobody_reads_ends_too(workers: WorkerProcesses, unread: Unread) -> None:
    supervisor = unread.start("--processes", "1", "--max-tasks", "100", "--grace", "0")
    id = workers.enqueue("process_id")
    until(lambda: workers.ended_as(id))
    unread.fill()
    os.kill(workers.record(id).result, signal.SIGKILL)  # the supervisor tells of it

    time.sleep(0.5)
    supervisor.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    supervisor.send_signal(signal.SIGTERM)

    assert supervisor.wait(60) == 1


# -- a supervisor that is killed ------------------------------------------------------------------------------------


def test_workers_stop_cleanly_when_their_supervisor_is_killed(workers: WorkerProcesses) -> None:
    supervisor = workers.start("--processes", "2")
    until(lambda: workers.output().count("worker_started") == 2)
    ids = [workers.enqueue("process_id") for _ in range(20)]
    until(lambda: all(map(workers.ended_as, ids)))
    processes = {workers.record(id).result for id in ids}

    supervisor.kill()
    supervisor.wait(60)

    until(lambda: workers.output().count("worker_ended") == 2)
    until(lambda: not any(map(alive, processes)))


def test_workers_stop_although_a_process_that_their_supervisor_forked_lives_on(workers: WorkerProcesses) -> None:
    supervisor = workers.start("--processes", "1", "--max-tasks", "100")
    id = workers.enqueue("process_id")
    until(lambda: workers.ended_as(id))
    workers.path("fork").touch()
    until(lambda: workers.path("forked").exists() and workers.path("forked").read_text())

    supervisor.kill()
    supervisor.wait(60)

    try:
        until(lambda: not alive(workers.record(id).result))
        assert alive(int(workers.path("forked").read_text()))
    finally:
        os.kill(int(workers.path("forked").read_text()), signal.SIGKILL)


def test_a_worker_that_cannot_write_ends_too_when_its_supervisor_is_killed(
    workers: WorkerProcesses, unread: Unread
) -> None:
    supervisor = unread.start("--processes", "1", "--max-tasks", "100", "--grace", "0")
    id = workers.enqueue("process_id")
    until(lambda: workers.ended_as(id))
    unread.fill()
    worker = workers.record(id).result

    supervisor.kill()
    supervisor.wait(60)

    until(lambda: not alive(worker))

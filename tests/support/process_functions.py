"""Functions that tests run in child processes, which import this module."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import logging
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from taskq_sls import RetryLater, TaskContext, TaskHandle, TaskQ, current_task
from taskq_sls.engine.processes import frames
from taskq_sls.engine.processes.frames import MessageKind, frame


@dataclass
class Order:
    number: int
    placed: datetime
    tags: set[str]


class OutOfStock(Exception):
    """Cannot be unpickled: its argument is no argument of Exception's."""

    def __init__(self, *, item: str) -> None:
        self.item = item
        super().__init__(f"no {item} is left")


def process_id() -> int:
    return os.getpid()


def pass_on(order: Order) -> Order:
    order.tags.add("seen")
    return order


def size_of(text: str) -> str:
    return text + text


def fail_with(kind: str) -> None:
    if kind == "builtin":
        raise PermissionError(13, "locked")
    if kind == "own":
        raise OutOfStock(item="chair")
    if kind == "later":
        raise RetryLater(60)
    if kind == "exit":
        sys.exit(3)

    class Local(OutOfStock):
        lock: Any

    error = Local(item="table")
    error.lock = lambda: None
    raise error


def unfit() -> Any:
    return object()


def sleep() -> None:
    time.sleep(60)  # where it was


def deaf(path: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(path).touch()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


def with_a_child(path: str) -> None:
    child = subprocess.Popen(["sleep", "60"])
    _tell(path, child.pid)
    time.sleep(60)


def tidy(path: str) -> None:
    try:
        _tell(path, os.getpid())
        time.sleep(60)
    finally:
        Path(path).with_suffix(".tidy").touch()


def crash(how: str) -> None:
    if how == "exit":
        os._exit(3)
    ctypes.string_at(0)


def crash_and_leave_a_fork(path: str) -> None:
    if os.fork() == 0:  # it keeps the connection open
        os.setsid()
        _tell(path, os.getpid())
        time.sleep(60)
    _wait_for(path)
    os._exit(4)


def look(ctx: TaskContext) -> list[Any]:
    assert current_task() is ctx
    fields = [ctx.id, ctx.task, ctx.queue, ctx.attempt, ctx.run, ctx.labels, ctx.deadline, ctx.depth, ctx.parent]
    return [*fields, ctx.timeout, dict(ctx.options)]


def read_state(ctx: TaskContext) -> Any:
    return ctx.state


def report(ctx: TaskContext, path: str) -> str:
    ctx.progress(1, 2, "half")
    _wait_for(path)
    ctx.progress(2, 2)
    return "done"


def polite(ctx: TaskContext, path: str) -> None:
    Path(path).touch()
    while True:
        ctx.raise_if_cancelled()
        time.sleep(0.01)


def stubborn(ctx: TaskContext, path: str) -> str:
    Path(path).touch()
    while not ctx.cancelled:
        time.sleep(0.01)
    return "all the same"


def speak() -> None:
    logging.getLogger("shop.tasks").warning("look at %s", "this", extra={"size": 7})
    logging.getLogger("shop.tasks").debug("too quiet")
    print("to stdout")
    print("to stderr", file=sys.stderr)


def hold(path: str, release: str) -> None:
    _tell(path, os.getpid())
    _wait_for(release)


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def around(*args: Any) -> Any:
        return ["around", function(*args)]

    return around


app = TaskQ("elsewhere")


@app.task(run_in="process")
@decorated
def inside(number: int) -> Any:
    return number


@decorated
@app.task(run_in="process")
def outside(number: int) -> int:
    return number


if os.environ.get("ONLY_IN_PARENT") == str(os.getpid()):

    def sometimes() -> None: ...


def _tell(path: str, value: object) -> None:
    part = Path(path + ".part")
    part.write_text(str(value))
    part.rename(path)


def _wait_for(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.01)


def wait_for_a_task() -> None:
    TaskHandle(TaskQ("shop")._runtime, "7", "child", "default", "started", None).result()


async def _async_body(number: int) -> int:
    await asyncio.sleep(0)
    return number + 1


def hidden_async(number: int) -> Any:
    return _async_body(number)


def fork(how: str) -> str:
    """What its fork does comes out of the fork's copy of this function."""
    fork = ctypes.PyDLL(None).fork if how == "unseen" else os.fork  # one that no hook of Python sees
    if (child := fork()) != 0:
        return f"{how}: {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"
    logging.getLogger("shop.tasks").error("in the fork")
    if how == "exit":
        sys.exit(5)
    if how == "failing exec":
        os.execv("/no/such/program", ["program"])
    return "the fork's result"


def pool_of_processes() -> list[int]:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(abs, [-1, -2])


def terminate_a_process() -> int | None:
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    process.start()
    process.terminate()
    process.join(30)
    process.kill()
    return process.exitcode


def write_to_the_connection(data: bytes) -> str:
    [connection] = [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2 and _is_socket(int(name))]
    os.write(connection, data)
    return "its own result"


def answer_for_another_request() -> str:
    return write_to_the_connection(frame((MessageKind.RETURNED, 10**6, '"forged"', None)))


def _is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def too_large() -> str:
    frames.MAX_BYTES = 10_000
    return "x" * 20_000


class OnlyHere:
    """Can be unpickled only in the process that made it."""

    def __init__(self, process: int) -> None:
        if process != os.getpid():
            raise RuntimeError("made in another process")
        self.process = process

    def __reduce__(self) -> Any:
        return OnlyHere, (self.process,)

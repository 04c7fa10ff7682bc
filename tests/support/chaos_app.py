"""The app of the chaos tests. Each run of a function leaves two lines in a file: that it began, and how it ended.

Configured by the environment: ``CHAOS_APP`` (its name), ``CHAOS_QUEUES``, ``CHAOS_RUNS`` (the file).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import time
from collections.abc import Iterator

import taskq_sls.engine.claiming
from taskq_sls import Queue, Retry, TaskContext, TaskQ

HOLD = 5
PATIENT = Retry(max_attempts=20, backoff=0.2, factor=1.0)
ONCE = Retry(max_attempts=1)

app = TaskQ(
    os.environ.get("CHAOS_APP", "chaos"),
    queues=[Queue(name, visibility_timeout=HOLD) for name in os.environ.get("CHAOS_QUEUES", "default").split(",")],
)
_runs = itertools.count()

if "CHAOS_RUNS" in os.environ:  # in a worker of these tests only: the test process imports this module too
    # A message whose claim cannot be made comes back after a second, not after the 5 to 60 of real life.
    taskq_sls.engine.claiming.outage_seconds = lambda: 1.0  # type: ignore[attr-defined]  # the name to replace


@app.task(retry=PATIENT)
async def quick(ctx: TaskContext) -> None:
    with recorded(ctx):
        await asyncio.sleep(0.02)


@app.task(retry=PATIENT)
def quick_sync(ctx: TaskContext) -> None:
    with recorded(ctx):
        time.sleep(0.02)


@app.task(retry=PATIENT)
async def slow(ctx: TaskContext, seconds: float) -> None:
    with recorded(ctx):
        await asyncio.sleep(seconds)


@app.task(retry=PATIENT)
def slow_sync(ctx: TaskContext, seconds: float) -> None:
    with recorded(ctx):
        # In small steps, since a sleep in C cannot be interrupted.
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            time.sleep(0.02)


@app.task(retry=PATIENT)
async def block(ctx: TaskContext, seconds: float) -> None:
    with recorded(ctx):
        time.sleep(seconds)  # noqa: ASYNC251  # blocking the loop is what this is about


@app.task(retry=PATIENT)
async def flaky(ctx: TaskContext) -> None:
    with recorded(ctx):
        if ctx.attempt <= 2:
            raise ValueError("not yet")


@app.task(retry=Retry(max_attempts=3, backoff=0.2, factor=1.0))
def hopeless(ctx: TaskContext) -> None:
    with recorded(ctx):
        raise ValueError("never")


@app.task(retry=ONCE)
async def hopeless_once(ctx: TaskContext) -> None:
    with recorded(ctx):
        raise ValueError("never")


@app.task(retry=PATIENT)
async def deadly(ctx: TaskContext) -> None:
    with recorded(ctx):
        if ctx.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)


@app.task(retry=ONCE)
def deadly_once(ctx: TaskContext) -> None:
    with recorded(ctx):
        os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def recorded(ctx: TaskContext) -> Iterator[None]:
    """One run of a function: a line when it begins and one when it ends, unless the process is killed."""
    run = f"{os.getpid()}-{next(_runs)}"
    _note(run, "began", id=ctx.id, task=ctx.task.rpartition(":")[2], attempt=ctx.attempt, pid=os.getpid())
    try:
        yield
        _note(run, "returned")
    except BaseException:
        # An interrupt may strike while that line is written: then the function has been stopped, and runs again.
        _note(run, "raised")
        raise


def _note(run: str, what: str, **more: object) -> None:
    line = json.dumps({"run": run, "what": what, "at": time.time(), **more})
    # One write to a file opened for appending: lines of several processes do not mix.
    file = os.open(os.environ["CHAOS_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)

"""The end of a worker's event loop, in bounded time whatever its tasks have left behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

TASK_SECONDS = 1.0
"""Seconds that cancelled tasks may take to end before the loop is left as it is."""

EXECUTOR_SECONDS = 1.0
"""Seconds that functions of `loop.run_in_executor(None, ...)` may take to end before they are left alone."""


class DefaultExecutor(ThreadPoolExecutor):
    """The event loop's default executor, whose end waits for its threads for `EXECUTOR_SECONDS` only."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Start nothing more and let idle threads end."""
        super().shutdown(wait=False, cancel_futures=True)
        until = time.monotonic() + EXECUTOR_SECONDS
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))


def close_runner(runner: asyncio.Runner) -> None:
    """Close the runner and its loop, unless a task ignores its cancellation: then both are left as they are."""
    loop = runner.get_loop()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        with contextlib.suppress(SystemExit, KeyboardInterrupt):  # asyncio raises those of tasks here
            loop.run_until_complete(asyncio.wait(tasks, timeout=TASK_SECONDS))
    if not asyncio.all_tasks(loop):
        runner.close()


async def in_new_thread(function: Callable[[], object], seconds: float) -> None:
    """Run a function in a thread of its own, which no task can have taken, and wait for it at most so long.

    Raises:
        Exception: whatever the function raised.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def note(error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            function()
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(note, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass

    threading.Thread(target=run, name="taskq-closing", daemon=True).start()
    await asyncio.wait([ended], timeout=seconds)
    if ended.done():
        ended.result()

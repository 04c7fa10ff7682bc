"""The worker: runs tasks from SQS queues by long polls until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..client.services import Services
from ..core.forced_end import ShutdownWatchdog
from ..core.forks import reset_in_forks
from ..core.queues import Queue
from ..errors import AwsError, ConfigError
from .event_loop import DefaultExecutor, LoopRunner, close_runner, watch_signals
from .options import FAULT, STOPPED, STUCK, WorkerOptions
from .session import WorkerRun

if TYPE_CHECKING:
    from ..client.app import App

logger = logging.getLogger("taskq_sls.worker")

FORCED_EXIT_SECONDS = 20.0
"""Time beyond grace and open polls after which a stopping process is ended although a task blocks its loop."""

SECOND_SIGNAL_SECONDS = 2.0
"""Time after a second signal after which the process is ended although its loop does not turn."""


class Worker(WorkerOptions):
    """Runs tasks of an app's queues until SIGTERM or SIGINT.

    Args:
        app: the app that declares the tasks and queues.
        concurrency: most messages in flight, 1 to 10,000. Default 100, or the number of threads if all tasks are sync.
        threads: most sync tasks at once, 1 to 1,000, those in child processes included. Default min(32, 4 x cores).
        queues: names of the queues to consume. Default: all queues of the app.
        burst: end when the queues are drained: no message is visible or delayed, no task runs, and no retry of this
            worker is due within 15 minutes.
        max_tasks: end after this many tasks, so that the supervisor starts a fresh process. None: never.
        max_memory: the same above this many megabytes of resident memory.
        grace: seconds that running tasks may take to finish after a stop, 0 or more.
        poll_wait: seconds of a long poll, 1 to 20. A clean stop takes up to this long: an open poll may still receive
            messages, which are returned to the queue.
        health: (host, port) of the health endpoint, or None.
        report: report the worker in the table, by one small write a minute. Default: the setting of the app. A worker
            without recorded tasks never reports.

    Raises:
        ConfigError: a value is out of range, or a queue is not declared.
    """

    def __init__(self, app: App, **options: Any) -> None:
        super().__init__(app, **options)
        self._os_signals = self._arrivals = 0
        self._exit_guard = ShutdownWatchdog(
            "code in this worker does not end, and blocks its event loop: the process is ended",
            action="worker_killed",
            logger=logger.name,
        )
        # Set for `taskq worker`, whose process ends with its worker.
        self.when_ended: Callable[[str], object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[Any] | None = None
        self._stop_asked: asyncio.Event | None = None
        self._signals = 0
        self._stop_early: bool | None = False
        self._owns_loop = False

    def run(self) -> str:
        """Work until stopped, in this thread; sets signal handlers if it is the main thread.

        Returns:
            ``stopped``, ``drained`` (burst), ``recycle`` (max_tasks, max_memory) or ``stuck``: an attempt ignored its
            time limit up to its `hard_timeout`, and still runs; the process should end, without waiting for threads.
            ``fault``: other code cancelled a poll or the worker, or raised SystemExit or KeyboardInterrupt in a callback
            or a task that nothing awaits; the worker has stopped cleanly.

        Raises:
            MissingResource: a queue or the table does not exist.
            ConfigError: no region or credentials.
        """
        _refuse_in_import()
        runner = asyncio.Runner(loop_factory=_loop_factory())
        runner.get_loop().set_default_executor(DefaultExecutor())
        self._owns_loop = True
        try:
            serving = self.serve(signals=threading.current_thread() is threading.main_thread())
            loop = LoopRunner(lambda: self.ask_to_end(FAULT))
            why = loop.run(runner, serving)
            if loop.unhandled and why != STUCK:
                why = FAULT
        except asyncio.CancelledError:
            why = STOPPED if self._signals > 1 else FAULT
            if why == FAULT:
                logger.error("a task cancelled the worker itself, which ends", extra={"action": "worker_fault"})
        finally:
            self._owns_loop = False
            close_runner(runner)
        return why

    async def serve(self, *, signals: bool = False) -> str:
        """Do as `run` does, inside a running loop. SystemExit and KeyboardInterrupt in a task's coroutines leave that loop.

        Args:
            signals: stop on SIGTERM and SIGINT; only in the main thread.
        """
        self._loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        self._stop_asked = asyncio.Event()
        self._why, self._signals, self.done = None, 0, 0
        self._os_signals = self._arrivals = 0
        self.owns_process = signals
        if self._stop_early:
            self._on_signal()
        self._stop_early = None
        with contextlib.ExitStack() as stack:
            stack.callback(self._forget_loop)
            if signals:
                for number in (signal.SIGTERM, signal.SIGINT):
                    # Python's own handlers also run while a task blocks the loop; asyncio's do not.
                    previous = signal.signal(number, self._on_os_signal)
                    stack.callback(signal.signal, number, previous)
                stack.callback(reset_in_forks(signal.SIGTERM, signal.SIGINT))
                stack.callback(self._exit_guard.cancel)
                stack.callback(watch_signals(self._on_arrival))
            services = self.app.services.new_async()
            try:
                async with contextlib.AsyncExitStack() as exits:
                    await _check(self.app, services, self.queues)
                    state = None
                    if self.app.lifespan is not None:
                        state = await exits.enter_async_context(self.app.lifespan(self.app))
                    why = await WorkerRun(self, services, state).work(self._stop_asked)
            finally:
                await services.close()
            logger.info(
                "worker of %s ended (%s) after %d tasks",
                self.app.name,
                why,
                self.done,
                extra={"action": "worker_ended", "reason": why},
            )
            if self.when_ended is not None:
                self.when_ended(why)
            return why

    def stop(self) -> None:
        """Stop cleanly. May be called from any thread. The second call stops at once.

        A stop before the first `run` makes that one end at once. A stop after the end of a run does nothing.
        """
        if (loop := self._loop) is None:
            self._stop_early = self._stop_early is not None
            return
        with contextlib.suppress(RuntimeError):  # the loop has just closed: the run has ended
            loop.call_soon_threadsafe(self._on_signal)

    def ask_to_end(self, why: str) -> None:
        """End cleanly for a reason of the worker itself. Called on the loop's thread."""
        if self._why is None:
            self._why = why
        if self.owns_process and not self._exit_guard.armed:
            self._exit_guard.arm(self._stop_seconds)
        if self._stop_asked is not None:
            self._stop_asked.set()

    def outlives_cancel(self) -> bool:
        """True, and the cancellation is undone, if neither the worker nor its caller cancelled the worker's task.

        In a loop that `run` has made, only a second signal should cancel it.
        """
        if not self._owns_loop or self._signals > 1 or self._main is None:
            return False
        self._main.uncancel()
        return True

    @property
    def _stop_seconds(self) -> float:
        return self.grace + self.poll_wait + FORCED_EXIT_SECONDS

    def _forget_loop(self) -> None:
        self._loop = self._main = self._stop_asked = None

    def _on_os_signal(self, number: int, frame: FrameType | None) -> None:
        self._os_signals += 1
        self._limit_stop(self._os_signals)
        self.stop()

    def _on_arrival(self, number: int) -> None:
        """Do the same on another thread: while a task is inside C code, the signal handler cannot run."""
        if number in (signal.SIGTERM, signal.SIGINT):
            self._arrivals += 1
            self._limit_stop(self._arrivals)

    def _limit_stop(self, signals: int) -> None:
        self._exit_guard.arm(self._stop_seconds if signals == 1 else SECOND_SIGNAL_SECONDS)

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self._why = STOPPED
            self.ask_to_end(STOPPED)
        elif self._main is not None:
            logger.warning("stopping at once", extra={"action": "worker_killed"})
            self._main.cancel()


async def _check(app: App, services: Services, queues: Sequence[Queue]) -> None:
    """Raise lasting faults before the first poll. Transient ones are left to the polls."""
    try:
        for queue in queues:
            if not await services.broker.has_dead_letter_queue(queue.name):
                logger.warning(
                    "queue %s has no dead-letter queue: failed tasks are kept in the table only",
                    queue.name,
                    extra={"action": "no_dead_letter_queue", "queue": queue.name},
                )
        if any(task.plan.options.record != "none" for task in app.registry):
            await services.results.get("startup-check", now=app.clock.time())
    except AwsError as error:
        if not error.transient:
            raise
        logger.warning("AWS cannot be reached yet: %s", error, extra={"action": "startup_fault"})


def _refuse_in_import() -> None:
    """Raise if a child process imports this code: each child would start a worker, with more children, without end."""
    child = sys.modules.get("taskq_sls.engine.processes.child")
    if child is not None and child.importing:
        raise ConfigError(
            'a child process of run_in="process" imports this module, which starts a worker; put the start under '
            'if __name__ == "__main__":'
        )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop  # type: ignore[no-any-return]  # uvloop is optional and untyped here

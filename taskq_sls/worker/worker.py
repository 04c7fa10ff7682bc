"""The worker: long polls, the core, and settling, until it is told to stop."""

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
from .event_loop import DefaultExecutor, Escapes, close_runner, watch_signals
from .options import FAULT, STOPPED, STUCK, WorkerOptions
from .session import WorkerRun

if TYPE_CHECKING:
    from ..client.app import App

logger = logging.getLogger("taskq_sls.worker")


LAST_RESORT_SECONDS = 20.0
"""Seconds beyond grace and open polls after which a stopping process is ended although a task blocks its loop."""

FORCED_SECONDS = 2.0
"""Seconds after a second signal until the process is ended, should its loop not answer."""


class Worker(WorkerOptions):
    """Runs tasks of an app's queues until SIGTERM or SIGINT.

    Args:
        app: whose tasks.
        concurrency: most tasks held at once, 1 to 10,000. Default 100; with sync tasks only, the number of threads.
        threads: most sync tasks at once, 1 to 1,000, those in child processes included. Default min(32, 4 x cores).
        queues: names of the queues to consume. Default: all that the app declares.
        burst: end when the queues are drained: nothing visible or delayed, nothing running, and no retry of this
            worker due within 15 minutes.
        max_tasks: end after so many tasks, to be started anew by the supervisor. None: never.
        max_memory: the same above so many megabytes of resident memory.
        grace: seconds that running tasks may take to finish after a stop, 0 or more.
        poll_wait: seconds of a long poll, 1 to 20. A clean stop takes up to this long, since a poll under way may
            still bring messages, which are given back.
        health: (host, port) of the health endpoint, or None.
        report: whether the worker reports itself in the table, one small write a minute. Default: as the app says;
            never where none of its tasks is recorded.

    Raises:
        ConfigError: a value is out of range, or a queue is not declared.
    """

    def __init__(self, app: App, **options: Any) -> None:
        super().__init__(app, **options)
        self._os_signals = self._arrivals = 0
        self._last_resort = ShutdownWatchdog(
            "some code of this worker will not end, and keeps its event loop: the process ends without it",
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
            escapes = Escapes(lambda: self.ask_to_end(FAULT))
            why = escapes.run(runner, serving)
            if escapes.unowned and why != STUCK:
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
        """`run` inside a running loop. SystemExit and KeyboardInterrupt of a task's coroutines end that loop's run.

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
                    # Python's own handlers run even while a task blocks the loop, which asyncio's do not.
                    previous = signal.signal(number, self._on_os_signal)
                    stack.callback(signal.signal, number, previous)
                stack.callback(reset_in_forks(signal.SIGTERM, signal.SIGINT))
                stack.callback(self._last_resort.cancel)
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
        """Stop cleanly; from any thread. The second call stops at once.

        A stop before the first `run` has begun makes that one end at once; a stop after its end does nothing.
        """
        if (loop := self._loop) is None:
            self._stop_early = self._stop_early is not None
            return
        with contextlib.suppress(RuntimeError):  # closed a moment ago: there is nothing left to stop
            loop.call_soon_threadsafe(self._on_signal)

    def ask_to_end(self, why: str) -> None:
        """End cleanly for a reason of the worker's own. On the loop's thread."""
        if self._why is None:
            self._why = why
        if self.owns_process and not self._last_resort.armed:
            self._last_resort.arm(self._stop_seconds)
        if self._stop_asked is not None:
            self._stop_asked.set()

    def outlives_cancel(self) -> bool:
        """True if a cancellation of the worker's own task came from other code than its caller's or its own.

        In a loop that `run` has made, only a second signal cancels that task.
        """
        if not self._owns_loop or self._signals > 1 or self._main is None:
            return False
        self._main.uncancel()
        return True

    @property
    def _stop_seconds(self) -> float:
        """The open polls, the grace period, and what stopping itself may take; then no task may keep the process."""
        return self.grace + self.poll_wait + LAST_RESORT_SECONDS

    def _forget_loop(self) -> None:
        self._loop = self._main = self._stop_asked = None

    def _on_os_signal(self, number: int, frame: FrameType | None) -> None:
        self._os_signals += 1
        self._limit_stop(self._os_signals)
        self.stop()

    def _on_arrival(self, number: int) -> None:
        """The same in another thread, and without the handler, which a task inside of C code keeps waiting."""
        if number in (signal.SIGTERM, signal.SIGINT):
            self._arrivals += 1
            self._limit_stop(self._arrivals)

    def _limit_stop(self, signals: int) -> None:
        self._last_resort.arm(self._stop_seconds if signals == 1 else FORCED_SECONDS)

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self._why = STOPPED
            self.ask_to_end(STOPPED)
        elif self._main is not None:
            logger.warning("stopping at once", extra={"action": "worker_killed"})
            self._main.cancel()


async def _check(app: App, services: Services, queues: Sequence[Queue]) -> None:
    """What is wrong for good is said before the first poll; what may pass is left to the polls."""
    try:
        for queue in queues:
            if not await services.broker.has_dead_letter_queue(queue.name):
                logger.warning(
                    "queue %s has no dead-letter queue: messages that fail for good are kept in the table only",
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
    """A script that starts a worker when it is imported would start one in every child process, without end."""
    child = sys.modules.get("taskq_sls.engine.processes.child")
    if child is not None and child.importing:
        raise ConfigError(
            'a child process of run_in="process" imports this module, and it starts a worker: put that under '
            'if __name__ == "__main__":'
        )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop  # type: ignore[no-any-return]  # uvloop is optional and untyped here

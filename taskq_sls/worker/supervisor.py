"""Starts, restarts, reloads and stops worker processes."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from ..core.forced_end import ShutdownWatchdog
from ..errors import ConfigError
from .worker_process import BAD_INPUT, RECYCLE, SETTLED_SECONDS, STOPPED, STUCK, WorkerProcess

FORCED_SECONDS = 5.0
"""Time in which a supervisor has to end after a second signal, or after its children were killed."""

CHILD_VARIABLE = "TASKQ_WORKER_CHILD"
"""Environment variable of a supervised worker process: its number, from 0."""

logger = logging.getLogger("taskq_sls.supervisor")


class Supervisor:
    """Runs N copies of a command until they are done or it gets a signal.

    SIGTERM and SIGINT are passed on to the children, repeated ones too. Each child has a process group of its own, so
    that Ctrl-C in a terminal reaches it once. Its stdin is a pipe from this process: the pipe's end shows that the
    supervisor was killed.

    Args:
        command: returns the command line for the number of a process, from 0.
        processes: number of processes, 1 or more.
        environment: of the children, beside the number; default that of this process.
        burst: a child that ends with 0 is done. Otherwise it is started again unless all are stopping.
        watch: a directory. When a Python file in it changes, all children are stopped cleanly and started again.
        kill_after: seconds after the first signal at which running children are killed; default never. A supervisor
            that cannot even kill them ends itself `FORCED_SECONDS` later.
        output: the descriptor that the children print to; default the standard output of this process.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        processes: int = 1,
        *,
        environment: Mapping[str, str] | None = None,
        burst: bool = False,
        watch: Path | None = None,
        kill_after: float | None = None,
        output: int | None = None,
    ) -> None:
        self._output = output
        self._command = command
        self._environment = environment
        self._burst = burst
        self._watch = watch
        self._kill_after = kill_after
        self._processes = [WorkerProcess(number) for number in range(processes)]
        # Calls for this thread. A SimpleQueue: a signal handler may interrupt a put, and put again.
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = False
        self._stop_signals: set[int] = set()
        self._kill_at: float | None = None
        self._status = 0
        self._exit_guard = ShutdownWatchdog(
            "the supervisor does not end: its process is ended, which stops the remaining workers",
            action="supervisor_killed",
            logger=logger.name,
        )

    def run(self) -> int:
        """Supervise in the main thread until all children have ended for good.

        Returns:
            0; 2 if a child cannot work as configured; 1 if a child had to be killed, or crashed while stopping.
        """
        stop_watching = threading.Event()
        with _signals_to(self._on_signal):
            try:
                for process in self._processes:
                    self._start(process)
                if self._watch is not None:
                    watch_python_files(self._watch, self._put_reload, stop=stop_watching)
                while any(process.busy for process in self._processes):
                    self._handle_next()
            finally:
                stop_watching.set()
                for process in self._processes:
                    process.kill()
                self._exit_guard.cancel()
        return self._status

    def _on_signal(self, number: int) -> None:
        self._events.put(functools.partial(self._stop, number))
        if self._kill_after is not None:
            # This thread may be blocked in a write to stderr, for want of a reader.
            self._exit_guard.arm(FORCED_SECONDS + (0 if self._exit_guard.armed else self._kill_after))

    def _handle_next(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._events.get(timeout=self._seconds_until_due())()
        now = time.monotonic()
        for process in self._processes:
            if process.start_at is not None and process.start_at <= now:
                self._start(process)
        if self._kill_at is not None and self._kill_at <= now:
            self._kill_at = None
            self._kill_all()

    def _kill_all(self) -> None:
        for process in self._processes:
            if process.child is not None:
                logger.warning(
                    "worker process %d did not stop: killed", process.number, extra=_fields("killed", process)
                )
                self._status = 1
                process.child.kill()

    def _seconds_until_due(self) -> float:
        """Seconds until a process must be started or killed, at most 1."""
        now = time.monotonic()
        # At most 1, since a signal that comes just before the wait begins is handled only after it.
        due = [now + 1.0, *(process.start_at for process in self._processes if process.start_at is not None)]
        if self._kill_at is not None:
            due.append(self._kill_at)
        return max(0.0, min(due) - now)

    def _start(self, process: WorkerProcess) -> None:
        environment = dict(os.environ if self._environment is None else self._environment)
        environment[CHILD_VARIABLE] = str(process.number)
        try:
            child = subprocess.Popen(
                list(self._command(process.number)),
                env=environment,
                stdin=subprocess.PIPE,
                stdout=self._output,
                process_group=0,
            )
        except BlockingIOError as error:  # the limit of processes is reached for now
            pause = process.pause(0.0)
            logger.error(
                "worker process %d cannot be started: %s", process.number, error, extra=_fields("crashed", process)
            )
            process.start_at = time.monotonic() + pause
            return
        process.started(child)
        threading.Thread(
            target=self._wait, args=(process, child), name=f"taskq-wait-{process.number}", daemon=True
        ).start()
        logger.debug("worker process %d started, pid %d", process.number, child.pid, extra=_fields("started", process))

    def _wait(self, process: WorkerProcess, child: subprocess.Popen[bytes]) -> None:
        child.wait()
        self._events.put(functools.partial(self._ended, process, child))

    def _stop(self, number: int) -> None:
        self._stop_signals.add(number)
        if not self._stopping:
            self._stopping = True
            if self._kill_after is not None:
                self._kill_at = time.monotonic() + self._kill_after
        for process in self._processes:
            process.cancel_start()
            process.signal(number)

    def _put_reload(self, files: int) -> None:
        self._events.put(functools.partial(self._reload, files))

    def _reload(self, files: int) -> None:
        if self._stopping:
            return
        logger.info("%d Python files changed: reloading", files, extra={"action": "workers_reloading"})
        for process in self._processes:
            process.backoff.reset()
            if process.child is None:
                process.start_at = time.monotonic()
            elif not process.reloading:  # a second signal would stop it at once
                process.reloading = True
                process.signal(signal.SIGTERM)

    def _ended(self, process: WorkerProcess, child: subprocess.Popen[bytes]) -> None:
        """Start a process again whose child has ended, unless it has no more work or cannot work."""
        status, lived, reloading = child.returncode, process.ended(), process.reloading
        process.reloading = False
        if self._stopping:
            self._check_exit(process, status)
        elif reloading:
            process.start_at = time.monotonic()
        elif status == BAD_INPUT and lived < SETTLED_SECONDS:  # later, code of a task has ended the process
            self._misconfigured(process)
        elif status in _STARTED_AGAIN:
            level, text, action = _STARTED_AGAIN[status]
            logger.log(level, text, process.number, extra=_fields(action, process))
            process.start_at = time.monotonic()
        elif status != STOPPED:
            pause = process.pause(lived)
            logger.error(
                "worker process %d ended with %s after %.0f s: started again in %.1f s",
                process.number,
                _words(status),
                lived,
                pause,
                extra={**_fields("crashed", process), "delay": round(pause, 3)},
            )
            process.start_at = time.monotonic() + pause
        elif not self._burst:
            logger.warning(
                "worker process %d was stopped from outside: started again",
                process.number,
                extra=_fields("restarted", process),
            )
            process.start_at = time.monotonic() + process.pause(lived)

    def _check_exit(self, process: WorkerProcess, status: int) -> None:
        """Remember that a process crashed instead of stopping."""
        # A process that gets the signal before it has set its handlers is ended by it.
        by_signal = {end for number in self._stop_signals for end in (-number, 128 + number)}
        if status not in {STOPPED, RECYCLE} | by_signal and self._status == 0:
            logger.warning(
                "worker process %d ended with %s", process.number, _words(status), extra=_fields("crashed", process)
            )
            self._status = 1

    def _misconfigured(self, process: WorkerProcess) -> None:
        if self._watch is None:
            self._status = BAD_INPUT
            self._stop(signal.SIGTERM)
            return
        logger.error(
            "worker process %d cannot start; waiting for a change", process.number, extra=_fields("bad", process)
        )
        process.waiting = True


_STARTED_AGAIN = {
    RECYCLE: (logging.INFO, "worker process %d is recycled", "recycled"),
    STUCK: (logging.ERROR, "worker process %d ended over code that could not be stopped: started again", "stuck"),
}
"""Exit statuses after which a process is started again at once: level, text and action of the log record."""


@contextlib.contextmanager
def _signals_to(receive: Callable[[int], None]) -> Iterator[None]:
    def handle(number: int, _: FrameType | None) -> None:
        receive(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fields(action: str, process: WorkerProcess) -> dict[str, object]:
    return {
        "action": f"worker_process_{action}",
        "process_number": process.number,
        "process_id": process.child.pid if process.child is not None else None,
    }


def _words(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


STOP_CHECK_MILLISECONDS = 500
"""Time between two checks if the watch of files must end."""


def check_watchable(directory: Path) -> None:
    """Check that a directory can be watched.

    Raises:
        ConfigError: it does not exist, or the package `watchfiles` is not installed.
    """
    try:
        import watchfiles
    except ImportError:
        raise ConfigError("--reload needs the package watchfiles: pip install 'taskq-sls[cli]'") from None
    del watchfiles
    if not directory.is_dir():
        raise ConfigError(f"--reload {str(directory)!r}: this directory does not exist")


def watch_python_files(directory: Path, on_change: Callable[[int], None], *, stop: threading.Event) -> None:
    """Call `on_change` on another thread with the number of files that changed together, until `stop` is set.

    Raises:
        ConfigError: as `check_watchable`.
    """
    check_watchable(directory)
    from watchfiles import PythonFilter, watch

    changes = watch(
        directory,
        watch_filter=PythonFilter(),
        stop_event=stop,
        rust_timeout=STOP_CHECK_MILLISECONDS,
        raise_interrupt=False,
    )

    def report() -> None:
        for changed in changes:
            on_change(len({path for _, path in changed}))

    threading.Thread(target=report, name="taskq-watch", daemon=True).start()

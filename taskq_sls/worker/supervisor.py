"""Worker processes kept running: started, restarted, reloaded and stopped together."""

from __future__ import annotations

import contextlib
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
from typing import NamedTuple

from ..core.forced_end import ShutdownWatchdog
from ..errors import ConfigError
from .worker_process import SETTLED, WorkerProcess

STOPPED, BAD_INPUT, STUCK, FAULT, RECYCLE = 0, 2, 70, 71, 75
"""Exit statuses of a worker process: told to stop or drained; cannot work as configured; a task could not be stopped,
or the event loop stood still; a task's code cancelled or exited more than its attempt; start me anew."""

FORCED_SECONDS = 5.0
"""Seconds that a supervisor has after a second signal, or after its children were killed, to come to its end."""

CHILD_VARIABLE = "TASKQ_WORKER_CHILD"
"""Set in the environment of a worker process that has a supervisor, to its number from 0."""

logger = logging.getLogger("taskq_sls.supervisor")


class _Ended(NamedTuple):
    slot: WorkerProcess
    child: subprocess.Popen[bytes]


class _Signalled(NamedTuple):
    number: int


class _Changed(NamedTuple):
    files: int


_Event = _Ended | _Signalled | _Changed


class Supervisor:
    """Runs N copies of a command until they are done or it is told to stop.

    SIGTERM and SIGINT are passed on to the children, a repeated one too. The children are in process groups of
    their own, so that a terminal's Ctrl-C reaches them once; each holds a pipe to this process as its stdin, whose
    end tells it that its supervisor was killed.

    Args:
        command: the command line of the process with a number from 0.
        processes: how many, 1 or more.
        environment: of the children, beside the number; default this process's.
        burst: a child that ended with 0 is done; otherwise it is started again unless all are stopping.
        watch: a directory; when a Python file in it changes, all children are stopped cleanly and started again.
        kill_after: seconds after the first signal at which children that still run are killed. Default never. A
            supervisor that cannot even do that ends itself a little later.
        output: the descriptor that the children print to; default this process's standard output.
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
        self._slots = [WorkerProcess(number) for number in range(processes)]
        # SimpleQueue, since a signal handler may interrupt a put and put again.
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._stopping = False
        self._stop_signals: set[int] = set()
        self._kill_at: float | None = None
        self._status = 0
        self._last_resort = ShutdownWatchdog(
            "the supervisor does not come to its end: its process ends, which stops the workers that are left",
            action="supervisor_killed",
            logger=logger.name,
        )

    def run(self) -> int:
        """Supervise in the main thread until all children have ended for good.

        Returns:
            0; 2 when a child cannot work as configured; 1 when a child had to be killed or crashed while stopping.
        """
        stop_watching = threading.Event()
        with _passing_on(self._on_signal):
            try:
                for slot in self._slots:
                    self._start(slot)
                if self._watch is not None:
                    watch_python_files(self._watch, lambda files: self._events.put(_Changed(files)), stop=stop_watching)
                while any(slot.busy for slot in self._slots):
                    self._handle_next()
            finally:
                stop_watching.set()
                for slot in self._slots:
                    slot.kill()
                self._last_resort.cancel()
        return self._status

    def _on_signal(self, number: int) -> None:
        self._events.put(_Signalled(number))
        if self._kill_after is not None:
            # This thread may be inside of a write to a stderr that nobody reads.
            self._last_resort.arm(FORCED_SECONDS + (0 if self._last_resort.armed else self._kill_after))

    def _handle_next(self) -> None:
        event: _Event | None
        try:
            event = self._events.get(timeout=self._patience())
        except queue.Empty:
            event = None
        if isinstance(event, _Signalled):
            self._stop(event.number)
        elif isinstance(event, _Ended):
            self._ended(event.slot, event.child)
        elif isinstance(event, _Changed):
            self._reload(event.files)
        now = time.monotonic()
        for slot in self._slots:
            if slot.start_at is not None and slot.start_at <= now:
                self._start(slot)
        if self._kill_at is not None and self._kill_at <= now:
            self._kill_at = None
            for slot in self._slots:
                if slot.child is not None:
                    logger.warning("worker process %d did not stop: killed", slot.number, extra=_fields("killed", slot))
                    self._status = 1
                    slot.child.kill()

    def _patience(self) -> float:
        """Seconds until something is due without an event."""
        now = time.monotonic()
        # A signal that comes just before the wait begins is seen only after it.
        due = [now + 1.0, *(slot.start_at for slot in self._slots if slot.start_at is not None)]
        if self._kill_at is not None:
            due.append(self._kill_at)
        return max(0.0, min(due) - now)

    def _start(self, slot: WorkerProcess) -> None:
        environment = dict(os.environ if self._environment is None else self._environment)
        environment[CHILD_VARIABLE] = str(slot.number)
        try:
            child = subprocess.Popen(
                list(self._command(slot.number)),
                env=environment,
                stdin=subprocess.PIPE,
                stdout=self._output,
                process_group=0,
            )
        except BlockingIOError as error:  # a limit of processes, reached for now
            pause = slot.pause(0.0)
            logger.error("worker process %d cannot be started: %s", slot.number, error, extra=_fields("crashed", slot))
            slot.start_at = time.monotonic() + pause
            return
        slot.started(child)
        threading.Thread(target=self._wait, args=(slot, child), name=f"taskq-wait-{slot.number}", daemon=True).start()
        logger.debug("worker process %d started, pid %d", slot.number, child.pid, extra=_fields("started", slot))

    def _wait(self, slot: WorkerProcess, child: subprocess.Popen[bytes]) -> None:
        child.wait()
        self._events.put(_Ended(slot, child))

    def _stop(self, number: int) -> None:
        self._stop_signals.add(number)
        if not self._stopping:
            self._stopping = True
            if self._kill_after is not None:
                self._kill_at = time.monotonic() + self._kill_after
        for slot in self._slots:
            slot.rest()
            slot.signal(number)

    def _reload(self, files: int) -> None:
        if self._stopping:
            return
        logger.info("%d Python files changed: reloading", files, extra={"action": "workers_reloading"})
        for slot in self._slots:
            slot.backoff.reset()
            if slot.child is None:
                slot.start_at = time.monotonic()
            elif not slot.reloading:  # a second signal would stop it at once
                slot.reloading = True
                slot.signal(signal.SIGTERM)

    def _ended(self, slot: WorkerProcess, child: subprocess.Popen[bytes]) -> None:
        """Decide what becomes of a slot whose child has ended."""
        status, lived, reloading = child.returncode, slot.ended(), slot.reloading
        unfit = status == BAD_INPUT and lived < SETTLED  # later it is a task's code that ended the process
        slot.reloading = False
        if self._stopping:
            # A process that was told before it could listen ends by the signal itself.
            unheard = {end for number in self._stop_signals for end in (-number, 128 + number)}
            if status not in {STOPPED, RECYCLE} | unheard and self._status == 0:
                logger.warning(
                    "worker process %d ended with %s", slot.number, _words(status), extra=_fields("crashed", slot)
                )
                self._status = 1
        elif reloading:
            slot.start_at = time.monotonic()
        elif status == STOPPED:
            if not self._burst:
                logger.warning(
                    "worker process %d was stopped from outside: started again",
                    slot.number,
                    extra=_fields("restarted", slot),
                )
                slot.start_at = time.monotonic() + slot.pause(lived)
        elif status == RECYCLE:
            logger.info("worker process %d is recycled", slot.number, extra=_fields("recycled", slot))
            slot.start_at = time.monotonic()
        elif status == STUCK:
            logger.error(
                "worker process %d ended over code that could not be stopped: started again",
                slot.number,
                extra=_fields("stuck", slot),
            )
            slot.start_at = time.monotonic()
        elif unfit and self._watch is not None:
            logger.error(
                "worker process %d cannot start; waiting for a change", slot.number, extra=_fields("bad", slot)
            )
            slot.waiting = True
        elif unfit:
            self._status = BAD_INPUT
            self._stop(signal.SIGTERM)
        else:
            pause = slot.pause(lived)
            logger.error(
                "worker process %d ended with %s after %.0f s: started again in %.1f s",
                slot.number,
                _words(status),
                lived,
                pause,
                extra={**_fields("crashed", slot), "delay": round(pause, 3)},
            )
            slot.start_at = time.monotonic() + pause


@contextlib.contextmanager
def _passing_on(pass_on: Callable[[int], None]) -> Iterator[None]:
    def handle(number: int, _: FrameType | None) -> None:
        pass_on(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fields(what: str, slot: WorkerProcess) -> dict[str, object]:
    return {
        "action": f"worker_process_{what}",
        "process_number": slot.number,
        "process_id": slot.child.pid if slot.child is not None else None,
    }


def _words(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


LOOK = 500
"""Milliseconds between two looks at whether to stop."""


def check_watchable(directory: Path) -> None:
    """Raise ConfigError unless `directory` exists and the package that watches it is installed."""
    try:
        import watchfiles
    except ImportError:
        raise ConfigError("--reload needs the package watchfiles: pip install 'taskq-sls[cli]'") from None
    del watchfiles
    if not directory.is_dir():
        raise ConfigError(f"--reload {str(directory)!r}: there is no such directory")


def watch_python_files(directory: Path, on_change: Callable[[int], None], *, stop: threading.Event) -> None:
    """Call `on_change` with the number of changed files, from a thread, until `stop` is set.

    Changes that come together are told once.

    Raises:
        ConfigError: as `check_watchable`.
    """
    check_watchable(directory)
    from watchfiles import PythonFilter, watch

    changes = watch(directory, watch_filter=PythonFilter(), stop_event=stop, rust_timeout=LOOK, raise_interrupt=False)

    def tell() -> None:
        for changed in changes:
            on_change(len({path for _, path in changed}))

    threading.Thread(target=tell, name="taskq-watch", daemon=True).start()

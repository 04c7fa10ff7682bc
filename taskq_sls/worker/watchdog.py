"""Watches the worker's event loop and its heartbeat from a thread that takes no lock and logs nothing.

While the heartbeat goes on, nobody takes over the messages of a worker; so somebody has to see that its loop has
stopped: at the lock of a logging handler that an interrupted thread left locked, at a pipe that nobody reads, or in
a callback that does not return.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from types import FrameType

from ..core.forced_end import EXIT_SECONDS, exit_after, write_line
from .heartbeat import Heartbeat
from .loop_watch import LoopWatch, log_call
from .supervisor import STUCK

LOOK_SECONDS = 0.5
"""Seconds between two looks."""

TIMEOUTS = 3
"""Visibility timeouts after which a loop that does not turn is given up."""

LET_GO_SECONDS = 5.0
"""Seconds that the heartbeat may take to return the messages to their queues."""

LOGGER = "taskq_sls.worker"


class Watchdog:
    """Ends a worker whose event loop has not turned for three visibility timeouts, outside of a task's own code.

    Its messages are returned to their queues, leases are left to end, and the stacks of all threads are written to
    stderr. A worker whose heartbeat waits as long inside one call of `logging` is stopped cleanly.

    Args:
        visibility: the shortest visibility timeout of the queues, in seconds.
        ask_to_end: stops the worker cleanly; called on the loop's thread, as soon as it turns.
        ends_process: whether the process is the worker's own. If not, it goes on, and the worker ends when its loop
            turns again.
    """

    def __init__(
        self,
        watch: LoopWatch,
        heartbeat: Heartbeat,
        visibility: float,
        ask_to_end: Callable[[], object],
        ends_process: bool,
    ) -> None:
        self._watch = watch
        self._heartbeat = heartbeat
        self._visibility = visibility
        self._ask_to_end = ask_to_end
        self._ends_process = ends_process
        self._stopped = self._given_up = False
        self._beat_call: FrameType | None = None
        self._beat_stalled = 0.0

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name="taskq-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no more; returns at once."""
        self._stopped = True

    @property
    def live(self) -> bool:
        """True if the loop turns, or runs a task's own code."""
        return not self._given_up and self._watch.stalled < self._visibility

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._stopped:
            time.sleep(LOOK_SECONDS)
            now = time.monotonic()
            # A dictionary of attempts may change while it is read.
            with contextlib.suppress(RuntimeError):
                self._watch.look(now)
            if self._watch.stalled >= TIMEOUTS * self._visibility and not self._stopped:
                self._give_up()
                return
            self._look_at_heartbeat(min(now - looked, 2 * LOOK_SECONDS))
            looked = now

    def _give_up(self) -> None:
        self._given_up = True
        if self._ends_process:
            exit_after(LET_GO_SECONDS + EXIT_SECONDS, STUCK)
        write_line(
            f"the event loop has not turned for {self._watch.stalled:.0f} s, and no task's own code runs there: "
            "this worker lets its messages go and ends",
            action="worker_stalled",
            logger=LOGGER,
            with_stacks=True,
        )
        self._heartbeat.let_go()
        if not self._ends_process:
            self._watch.call_soon(self._ask_to_end)
            return
        until = time.monotonic() + LET_GO_SECONDS
        while not self._heartbeat.ended and time.monotonic() < until:
            time.sleep(0.02)
        os._exit(STUCK)

    def _look_at_heartbeat(self, elapsed: float) -> None:
        call = log_call(self._heartbeat.thread)
        same_call = call is not None and call is self._beat_call
        self._beat_call = call
        self._beat_stalled = self._beat_stalled + elapsed if same_call else 0.0
        if self._beat_stalled >= TIMEOUTS * self._visibility:
            self._beat_stalled = 0.0
            write_line(
                "the heartbeat waits inside a call of logging: this worker stops",
                action="heartbeat_stalled",
                logger=LOGGER,
                with_stacks=True,
            )
            self._watch.call_soon(self._ask_to_end)

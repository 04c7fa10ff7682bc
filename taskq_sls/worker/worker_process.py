"""One supervised worker process: its exit statuses, its present child, and when the next child starts."""

from __future__ import annotations

import subprocess
import time

from ..core.backoff import Backoff

STOPPED, BAD_INPUT, STUCK, FAULT, RECYCLE = 0, 2, 70, 71, 75
"""Exit statuses of a worker process. STOPPED: by a signal, or drained. BAD_INPUT: it cannot work as configured. STUCK: a
task could not be stopped, or the event loop did not turn. FAULT: a task's code cancelled or ended more than its
attempt. RECYCLE: it asks to be started again."""

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0
"""Pauses before a crashed process is started again: the first, which doubles, and the longest."""

SETTLED_SECONDS = 60.0
"""Lifetime after which earlier crashes are forgotten."""


class WorkerProcess:
    """One numbered process, through all its restarts.

    Attributes:
        child: the running child, or None.
        start_at: when the next child starts, by the monotonic clock.
        waiting: it starts again after a change of files.
        reloading: its child stops because of a change of files.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.child: subprocess.Popen[bytes] | None = None
        self.start_at: float | None = None
        self.waiting = False
        self.reloading = False
        self.backoff = Backoff(2 * FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
        self._since = 0.0

    @property
    def busy(self) -> bool:
        """True if a child runs or will be started."""
        return self.child is not None or self.start_at is not None or self.waiting

    def started(self, child: subprocess.Popen[bytes]) -> None:
        self.child, self.start_at, self.waiting = child, None, False
        self._since = time.monotonic()

    def ended(self) -> float:
        """Forget the child. Returns its lifetime in seconds."""
        if self.child is not None and self.child.stdin is not None:
            self.child.stdin.close()
        self.child = None
        return time.monotonic() - self._since

    def pause(self, lived: float) -> float:
        """Seconds to wait, 1 to 30, after the crash of a process that ran for `lived` seconds."""
        if lived >= SETTLED_SECONDS:
            self.backoff.reset()
        return self.backoff.next()

    def cancel_start(self) -> None:
        self.start_at, self.waiting = None, False

    def signal(self, number: int) -> None:
        if self.child is not None:
            self.child.send_signal(number)

    def kill(self) -> None:
        """Kill the child and wait for its end, because the supervisor ends."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.ended()

"""The place of one supervised process: what runs there, and when the next one starts."""

from __future__ import annotations

import subprocess
import time

from ..core.backoff import Backoff

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a crashed process is started again: the shortest, and the longest after many crashes."""

SETTLED = 60.0
"""Seconds of life after which earlier crashes are forgotten."""


class WorkerProcess:
    """The place of one child."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.child: subprocess.Popen[bytes] | None = None
        self.start_at: float | None = None
        self.waiting = False
        self.reloading = False
        self.backoff = Backoff(2 * FIRST_PAUSE, LONGEST_PAUSE)
        self._since = 0.0

    @property
    def busy(self) -> bool:
        """Whether anything is still to come."""
        return self.child is not None or self.start_at is not None or self.waiting

    def started(self, child: subprocess.Popen[bytes]) -> None:
        self.child, self.start_at, self.waiting = child, None, False
        self._since = time.monotonic()

    def ended(self) -> float:
        """Forget the child; how many seconds it lived."""
        if self.child is not None and self.child.stdin is not None:
            self.child.stdin.close()
        self.child = None
        return time.monotonic() - self._since

    def pause(self, lived: float) -> float:
        """Seconds to wait after a crash of a process that lived for `lived` seconds: 1 to 30."""
        if lived >= SETTLED:
            self.backoff.reset()
        return self.backoff.next()

    def rest(self) -> None:
        """Start nothing any more."""
        self.start_at, self.waiting = None, False

    def signal(self, number: int) -> None:
        if self.child is not None:
            self.child.send_signal(number)

    def kill(self) -> None:
        """For the case that supervising itself fails: leave nothing behind."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.ended()

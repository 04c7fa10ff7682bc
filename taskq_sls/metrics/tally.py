"""Counters that change: of one task from one queue in one minute."""

from __future__ import annotations

from ..core.states import State
from .counters import BUCKETS, Counters


class Tally:
    """Counts of one minute so far. Not safe between threads: drivers count on the thread of their loop.

    Args:
        until: epoch seconds at which its minute ends; nothing is counted here from then on.
    """

    __slots__ = (
        "cancelled",
        "duration",
        "expired",
        "failed",
        "histogram",
        "longest",
        "retried",
        "skipped",
        "started",
        "succeeded",
        "until",
        "wait",
        "waits",
    )

    def __init__(self, until: float) -> None:
        self.until = until
        self.started = self.succeeded = self.failed = self.retried = 0
        self.cancelled = self.expired = self.skipped = self.waits = 0
        self.duration = self.longest = self.wait = 0.0
        self.histogram = [0] * BUCKETS

    def end(self, state: State, reason: str | None) -> None:
        """An attempt ended in a state other than SUCCEEDED."""
        if reason == "overlap":
            self.skipped += 1
        elif state is State.FAILED:
            self.failed += 1
        elif state is State.RETRYING:
            self.retried += 1
        elif state is State.CANCELLED:
            self.cancelled += 1
        elif state is State.EXPIRED:
            self.expired += 1

    def close(self) -> Counters:
        """The counters. An attempt that still runs is counted in a later tally."""
        self.until = 0.0
        return Counters(
            self.started,
            self.succeeded,
            self.failed,
            self.retried,
            self.cancelled,
            self.expired,
            self.skipped,
            self.duration,
            self.longest,
            self.waits,
            self.wait,
            tuple(self.histogram),
        )

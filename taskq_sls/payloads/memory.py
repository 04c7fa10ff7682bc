"""Payloads in this process: the twin of the S3 bucket for tests."""

from __future__ import annotations

import math
import threading

from ..core.clock import Clock
from ..errors import PayloadMissing
from .base import PayloadStore
from .layout import DAY, LIFETIMES


class MemoryPayloads(PayloadStore):
    """Objects without a bucket. Safe between threads. What has outlived its lifetime class is gone, by the clock.

    Args:
        clock: what the time is.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[bytes, float]] = {}

    @property
    def name(self) -> str:
        return "memory://payloads"

    async def put(self, key: str, body: bytes) -> None:
        with self._lock:
            self._objects[key] = (body, _ends(key, self._clock.time()))

    async def get(self, key: str) -> bytes:
        with self._lock:
            body, ends = self._objects.get(key, (b"", 0.0))
            if ends <= self._clock.time():
                raise PayloadMissing(f"there is no object {self.name}/{key}")
            return body

    def stored(self) -> list[str]:
        """The keys of the objects that are there, in the order in which they were put."""
        with self._lock:
            now = self._clock.time()
            return [key for key, (_, ends) in self._objects.items() if ends > now]

    def remove(self, key: str) -> None:
        """Lose an object, as a test of that wants it."""
        with self._lock:
            del self._objects[key]


def _ends(key: str, now: float) -> float:
    for prefix, days in LIFETIMES:
        if key.startswith(prefix):
            # S3 rounds up to the next midnight, UTC (S3 user guide, lifecycle rules based on an object's age).
            return math.ceil((now + days * DAY) / DAY) * DAY
    return math.inf

"""Payloads in memory, for tests."""

from __future__ import annotations

import math
import threading

from ..core.clock import Clock
from ..errors import PayloadMissing
from .base import DAY, LIFETIMES, PayloadStore


class MemoryPayloads(PayloadStore):
    """Objects in memory, with the lifetimes of a bucket by `clock`. Safe between threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[bytes, float]] = {}

    @property
    def name(self) -> str:
        return "memory://payloads"

    async def put(self, key: str, body: bytes) -> None:
        with self._lock:
            self._objects[key] = (body, _expires_at(key, self._clock.time()))

    async def get(self, key: str) -> bytes:
        with self._lock:
            body, expires_at = self._objects.get(key, (b"", 0.0))
            if expires_at <= self._clock.time():
                raise PayloadMissing(f"there is no object {self.name}/{key}")
            return body

    def stored(self) -> list[str]:
        """The keys of the live objects, in the order they were put."""
        with self._lock:
            now = self._clock.time()
            return [key for key, (_, expires_at) in self._objects.items() if expires_at > now]

    def remove(self, key: str) -> None:
        """Lose an object, for tests."""
        with self._lock:
            del self._objects[key]


def _expires_at(key: str, now: float) -> float:
    for prefix, days in LIFETIMES:
        if key.startswith(prefix):
            # S3 rounds up to the next midnight, UTC (S3 user guide, lifecycle rules based on an object's age).
            return math.ceil((now + days * DAY) / DAY) * DAY
    return math.inf

"""From single receives to the batch of one invocation."""

from __future__ import annotations

import threading
import time

from ..core.queues import Queue
from .event_records import Record, size_of
from .queue_client import MOST_PER_CALL, Source

NAP = 0.05
"""Seconds between two receives that do not wait."""

MOST_BYTES = 6_000_000
"""The payload of an invocation, a little under Lambda's 6 MB for the frame around the records."""


class Collector:
    """Collects batches as the queue declares them.

    Args:
        source: where messages come from.
        queue: batch size and window.
        wait: WaitTimeSeconds of a receive, 0 to 20.
        stopping: ends the collecting early.
    """

    def __init__(self, source: Source, queue: Queue, wait: int, stopping: threading.Event) -> None:
        self._source = source
        self._queue = queue
        self._wait = wait
        self._stopping = stopping

    def collect(self) -> list[Record]:
        """The next batch: full, or its window over, or 6 MB; empty only when stopping."""
        batch: list[Record] = []
        size = 0
        ends: float | None = None
        while len(batch) < self._queue.batch_size and not self._stopping.is_set():
            remaining = None if ends is None else ends - time.monotonic()
            if remaining is not None and remaining <= 0:
                break
            received = self._receive(self._queue.batch_size - len(batch), remaining, batch)
            if received and ends is None:
                ends = time.monotonic() + self._queue.batch_window
            for index, record in enumerate(received):
                size += size_of(record)
                if batch and size > MOST_BYTES:
                    self._source.give_back(received[index:])
                    return batch
                batch.append(record)
        return batch

    def _receive(self, room: int, remaining: float | None, batch: list[Record]) -> list[Record]:
        most = min(room, MOST_PER_CALL)
        # WaitTimeSeconds knows whole seconds only; the rest of a window is short polls.
        wait = self._wait if remaining is None else min(self._wait, int(remaining))
        try:
            received = self._source.receive(most, wait)
        except Exception:
            if not batch:
                raise
            # What is here already is delivered when its window ends; the next receive will raise again.
            received = []
        if not received and wait == 0:
            self._stopping.wait(NAP if remaining is None else min(NAP, remaining))
        return received

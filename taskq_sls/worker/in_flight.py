"""The messages a worker holds, shared between its event loop and its heartbeat thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

from ..core.delivery import Delivery


class InFlight:
    """Every received message that is not settled yet.

    A beat that is under way may still re-hide a message with the old handle. So who wants to change a message's
    visibility takes it out first and waits for the beat that contains it: no late beat undoes a backoff.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, Delivery] = {}
        self._in_beat: set[str] = set()
        self._leaving: set[str] = set()
        self._after_beat: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Hold these from now on."""
        with self._lock:
            for delivery in deliveries:
                self._held[delivery.receipt] = delivery

    def drop(self, delivery: Delivery) -> None:
        """Hold it no longer; a beat under way does not matter (deleted, or lost)."""
        with self._lock:
            self._held.pop(delivery.receipt, None)
            self._leaving.discard(delivery.receipt)

    def leave(self, deliveries: Iterable[Delivery]) -> None:
        """These are being deleted: still held, but a beat that finds one gone finds nothing wrong."""
        with self._lock:
            self._leaving.update(delivery.receipt for delivery in deliveries)

    async def take_out(self, delivery: Delivery) -> None:
        """Hold it no longer, and wait until no beat can touch it any more."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._held.pop(delivery.receipt, None)
            if delivery.receipt not in self._in_beat:
                return
            future: asyncio.Future[None] = loop.create_future()
            self._after_beat.append((loop, future))
        await future

    # -- the heartbeat's side -----------------------------------------------------------------------------------

    def begin_beat(self, queue: str) -> list[Delivery]:
        """The messages of a queue, marked as being in a beat until `end_beat`."""
        with self._lock:
            batch = [delivery for delivery in self._held.values() if delivery.queue == queue]
            self._in_beat.update(delivery.receipt for delivery in batch)
        return batch

    def end_beat(self, batch: Iterable[Delivery]) -> None:
        """The beat's calls have returned."""
        with self._lock:
            self._in_beat.difference_update(delivery.receipt for delivery in batch)
            waiting, self._after_beat = self._after_beat, []
        for loop, future in waiting:
            try:
                loop.call_soon_threadsafe(_resolve, future)
            except RuntimeError:  # the loop is closed: the worker is gone
                pass

    def holds(self, delivery: Delivery) -> bool:
        """Whether it is still held, and not being deleted."""
        return delivery.receipt in self._held and delivery.receipt not in self._leaving


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

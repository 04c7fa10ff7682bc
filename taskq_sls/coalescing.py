"""Concurrent callers of one event loop share requests, and each gets the answer to its own entry.

Nothing outlives the call that brought it: every caller waits for the answer to its own entry. A full batch goes at
once, a partial one waits for nothing but a request that is under way already; so a single caller waits for nobody.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")
A = TypeVar("A")


class Lane(Generic[T, A]):
    """The entries that wait for a request.

    Args:
        send: makes one request, and answers for each of its entries; what it raises, it raises for each.
        batch: most entries of a request.
        in_flight: most requests at once.
    """

    def __init__(self, send: Callable[[list[T]], Awaitable[list[A]]], batch: int, in_flight: int) -> None:
        self._request = send
        self._batch = batch
        self._most = in_flight
        self._waiting: deque[tuple[T, asyncio.Future[A]]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._flush_soon = False

    async def send(self, entry: T) -> A:
        """Send one entry with whatever else is on its way."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        self._waiting.append((entry, answer))
        if len(self._waiting) >= self._batch:
            self._start(full=True)
        elif not self._running and not self._flush_soon:
            # The callers that are ready to run now come along.
            self._flush_soon = True
            loop.call_soon(self._flush)
        return await answer

    def _flush(self) -> None:
        self._flush_soon = False
        self._start(full=bool(self._running))

    def _start(self, *, full: bool) -> None:
        """Start requests for what waits; with `full`, for full batches only."""
        while self._waiting and len(self._running) < self._most and (len(self._waiting) >= self._batch or not full):
            entries = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            # Who was cancelled before the request began has sent nothing.
            entries = [entry for entry in entries if not entry[1].done()]
            if not entries:
                continue
            # In a context of its own: the first caller's variables are none of the others' business.
            task = asyncio.get_running_loop().create_task(self._run(entries), context=contextvars.Context())
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start(full=False)

    async def _run(self, entries: list[tuple[T, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._request([entry for entry, _ in entries])
        except asyncio.CancelledError:  # the loop is being closed
            for _, future in entries:
                future.cancel()
            raise
        except Exception as error:  # such as a queue that does not exist: for each of them
            for _, future in entries:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(entries, answers, strict=True):
            if not future.done():
                future.set_result(answer)

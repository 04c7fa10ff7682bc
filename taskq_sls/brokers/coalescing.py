"""Sends of many concurrent callers share requests: ``aenqueue`` from a hundred coroutines costs about ten calls.

Nothing outlives the call that brought it: every caller waits for the answer to its own entry. A full batch goes at
once, a partial one waits for nothing but a request that is under way already; so a single caller waits for nobody.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from .base import MAX_BATCH, Answer, Outgoing
from .sqs import SqsBroker

IN_FLIGHT = 8
"""Most requests of one queue under way at once; on FIFO one, which keeps the order of the callers."""

Entry = tuple[Outgoing, "asyncio.Future[Answer]"]
SendMany = Callable[[Sequence[Outgoing]], Awaitable[list[Answer]]]


class CoalescingSqsBroker(SqsBroker):
    """The broker on SQS for one event loop: single sends of concurrent callers are batched."""

    async def send(self, messages: Sequence[Outgoing]) -> list[Answer]:
        if len(messages) != 1:
            return await super().send(messages)
        queue = messages[0].queue
        lane = self._lanes.get(queue)
        if lane is None:
            lane = self._lanes[queue] = SendLane(super().send, 1 if queue.endswith(".fifo") else IN_FLIGHT)
        return [await lane.send(messages[0])]

    @property
    def _lanes(self) -> dict[str, SendLane]:
        lanes: dict[str, SendLane] = self.__dict__.setdefault("_send_lanes", {})
        return lanes


class SendLane:
    """The messages to one queue that wait for a request.

    Args:
        send: sends up to ten messages, and answers for each.
        in_flight: most requests at once.
    """

    def __init__(self, send: SendMany, in_flight: int) -> None:
        self._send = send
        self._most = in_flight
        self._waiting: deque[Entry] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._flush_soon = False

    async def send(self, message: Outgoing) -> Answer:
        """Send one message with whatever else is on its way."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((message, answer))
        if len(self._waiting) >= MAX_BATCH:
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
        while self._waiting and len(self._running) < self._most and (len(self._waiting) >= MAX_BATCH or not full):
            batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            # Who was cancelled before the request began has sent nothing.
            batch = [entry for entry in batch if not entry[1].done()]
            if not batch:
                continue
            # In a context of its own: the first caller's variables are none of the others' business.
            task = asyncio.get_running_loop().create_task(self._request(batch), context=contextvars.Context())
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start(full=False)

    async def _request(self, batch: list[Entry]) -> None:
        try:
            answers = await self._send([message for message, _ in batch])
        except asyncio.CancelledError:  # the loop is being closed
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # such as a queue that does not exist: for each of them
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)

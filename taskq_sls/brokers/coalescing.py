"""Concurrent sends share requests: ``aenqueue`` from a hundred coroutines costs about ten calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from ..core.coalescing import RequestBatcher
from .base import MAX_BATCH, Answer, Outgoing
from .sqs import SqsBroker

MAX_REQUESTS = 8
"""Requests to one standard queue at once; a FIFO queue gets one, which keeps the order of the callers."""

SendMany = Callable[[Sequence[Outgoing]], Awaitable[list[Answer]]]


class CoalescingSqsBroker(SqsBroker):
    """The broker on SQS for one event loop: messages sent at the same time share batches."""

    async def send(self, messages: Sequence[Outgoing]) -> list[Answer]:
        if len(messages) != 1:
            return await super().send(messages)
        queue = messages[0].queue
        batcher = self._batchers.get(queue)
        if batcher is None:
            batcher = self._batchers[queue] = SendBatcher(super().send, 1 if queue.endswith(".fifo") else MAX_REQUESTS)
        return [await batcher.send(messages[0])]

    @property
    def _batchers(self) -> dict[str, SendBatcher]:
        batchers: dict[str, SendBatcher] = self.__dict__.setdefault("_send_batchers", {})
        return batchers


class SendBatcher(RequestBatcher[Outgoing, Answer]):
    """The messages that wait for a request to one queue.

    Args:
        send: sends up to ten messages and returns an answer for each.
        in_flight: most requests at once.
    """

    def __init__(self, send: SendMany, in_flight: int) -> None:
        super().__init__(send, MAX_BATCH, in_flight)

"""Sends of many concurrent callers share requests: ``aenqueue`` from a hundred coroutines costs about ten calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from ..core.coalescing import RequestBatcher
from .base import MAX_BATCH, Answer, Outgoing
from .sqs import SqsBroker

IN_FLIGHT = 8
"""Most requests of one queue under way at once; on FIFO one, which keeps the order of the callers."""

SendMany = Callable[[Sequence[Outgoing]], Awaitable[list[Answer]]]


class CoalescingSqsBroker(SqsBroker):
    """The broker on SQS for one event loop: single sends of concurrent callers are batched."""

    async def send(self, messages: Sequence[Outgoing]) -> list[Answer]:
        if len(messages) != 1:
            return await super().send(messages)
        queue = messages[0].queue
        lane = self._lanes.get(queue)
        if lane is None:
            lane = self._lanes[queue] = SendBatcher(super().send, 1 if queue.endswith(".fifo") else IN_FLIGHT)
        return [await lane.send(messages[0])]

    @property
    def _lanes(self) -> dict[str, SendBatcher]:
        lanes: dict[str, SendBatcher] = self.__dict__.setdefault("_send_lanes", {})
        return lanes


class SendBatcher(RequestBatcher[Outgoing, Answer]):
    """The messages to one queue that wait for a request.

    Args:
        send: sends up to ten messages, and answers for each.
        in_flight: most requests at once.
    """

    def __init__(self, send: SendMany, in_flight: int) -> None:
        super().__init__(send, MAX_BATCH, in_flight)

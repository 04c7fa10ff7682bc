"""Concurrent sends share requests: ``aenqueue`` from a hundred coroutines costs about ten calls."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.coalescing import RequestBatcher
from .base import MAX_BATCH, Answer, Outgoing
from .sqs import SqsBroker

MAX_REQUESTS = 8
"""Requests to one standard queue at once; a FIFO queue gets one, which keeps the order of the callers."""


class CoalescingSqsBroker(SqsBroker):
    """The broker on SQS for one event loop: messages sent at the same time share batches."""

    async def send(self, messages: Sequence[Outgoing]) -> list[Answer]:
        if len(messages) != 1:
            return await super().send(messages)
        queue = messages[0].queue
        batcher = self._batchers.get(queue)
        if batcher is None:
            batcher = self._batchers[queue] = RequestBatcher(
                super().send, MAX_BATCH, 1 if queue.endswith(".fifo") else MAX_REQUESTS
            )
        return [await batcher.send(messages[0])]

    @property
    def _batchers(self) -> dict[str, RequestBatcher[Outgoing, Answer]]:
        batchers: dict[str, RequestBatcher[Outgoing, Answer]] = self.__dict__.setdefault("_send_batchers", {})
        return batchers

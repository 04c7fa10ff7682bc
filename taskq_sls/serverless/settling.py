"""Outcomes of an invocation, carried out before it has to answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from ..client.services import Services
from ..core.clock import Clock
from ..core.delivery import DeadLetter, Delivery, Done, Outcome, Release, RetryIn
from ..engine.settling import change_visibility, hide_faults, reschedule, send_to_dlq, visibility_seconds

logger = logging.getLogger("taskq_sls.serverless")

ANSWER_NEED = 0.2
"""Seconds before the function's deadline at which it answers, whatever is still under way: after a kill the whole
batch would come again."""

T = TypeVar("T")


class Settling:
    """Changes visibilities, sends dead-letter copies and makes schedules; Lambda itself deletes what is done."""

    def __init__(self, services: Services, clock: Clock) -> None:
        self._services = services
        self._clock = clock
        self._hide_faults = hide_faults()

    async def carry_out(
        self, deliveries: Sequence[Delivery], outcomes: Sequence[Outcome], deadline: float | None
    ) -> list[str]:
        """Answers the ids of the records that stay in the queue.

        Args:
            deadline: epoch seconds at which the process is killed, or None.
        """
        stay: list[str] = []
        hides: list[tuple[Delivery, int]] = []
        letters: list[tuple[Delivery, DeadLetter]] = []
        put_offs: list[tuple[Delivery, RetryIn]] = []
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            if isinstance(outcome, Done):
                continue
            if isinstance(outcome, DeadLetter):
                letters.append((delivery, outcome))
                continue
            if isinstance(outcome, RetryIn) and outcome.later is not None:
                put_offs.append((delivery, outcome))
                continue
            stay.append(delivery.message_id)
            if isinstance(outcome, RetryIn | Release):
                hides.append((delivery, visibility_seconds(outcome)))
        if letters:
            buried = await self._in_time(deadline, send_to_dlq(self._services.broker, letters), [False] * len(letters))
            stay += [delivery.message_id for (delivery, _), done in zip(letters, buried, strict=True) if not done]
        if put_offs:
            calls = reschedule(self._services.schedules, put_offs)
            accepted = await self._in_time(deadline, calls, [False] * len(put_offs))
            left = [entry for entry, done in zip(put_offs, accepted, strict=True) if not done]
            stay += [delivery.message_id for delivery, _ in left]
            hides += [(delivery, visibility_seconds(outcome)) for delivery, outcome in left]
        if hides:
            await self._in_time(deadline, change_visibility(self._services.broker, hides, self._hide_faults), None)
        return list(dict.fromkeys(stay))

    async def _in_time(self, deadline: float | None, calls: Coroutine[Any, Any, T], otherwise: T) -> T:
        """What the calls answer; `otherwise`, if they do not before the function has to."""
        left = None if deadline is None else max(0.0, deadline - ANSWER_NEED - self._clock.time())
        try:
            async with asyncio.timeout(left):
                return await calls
        except TimeoutError:
            logger.error(
                "the deadline came before all messages were hidden or copied: they stay, and come again",
                extra={"action": "settle_fault"},
            )
            return otherwise
